"""What imaging does to a picture, and how much of it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.data.synthesis import acquisition
from coincide.data.synthesis.noise import smooth_noise
from coincide.errors import OptionError, unknown
from coincide.ops.smooth import gaussian


@dataclass(frozen=True)
class Artefacts:
    """Ranges of what imaging does to a picture of brightness 0 to 1. A draw is even between none and the most.

    Args:
        blur: voxels, the largest standard deviation; every picture.
        bias: largest standard deviation of the log of a slowly varying gain; every picture.
        gamma: standard deviation of the log of the exponent that brightness is raised to; every picture.
        noise: largest standard deviation of the noise in the brightest places; every picture.
        noises: its kinds, each as likely as the others: `gaussian`, `rician`, `speckle` or `quantum`.
        rate: how often each of the following comes.
        thick: voxels, the largest distance between slices along one axis.
        motion: voxels, how far the patient moves between the lines of k-space.
        ringing: the largest share of k-space left out at the ends of an axis (Gibbs).
        crop: the largest share of the field of view missing at each of its sides.
    """

    blur: float = 0.8
    bias: float = 0.3
    gamma: float = 0.25
    noise: float = 0.06
    noises: tuple[str, ...] = ("gaussian", "rician", "speckle", "quantum")
    rate: float = 0.2
    thick: float = 4.0
    motion: float = 2.0
    ringing: float = 0.6
    crop: float = 0.2

    def __post_init__(self) -> None:
        for name in self.noises:
            if name not in acquisition.NOISES:
                raise unknown("noise", name, acquisition.NOISES)
        limits = {"rate": 1.0, "ringing": 0.95, "crop": 0.4}
        for name in ("blur", "bias", "gamma", "noise", "rate", "thick", "motion", "ringing", "crop"):
            if not 0 <= getattr(self, name) <= limits.get(name, np.inf):
                most = f"to {limits[name]}" if name in limits else "or more"
                raise OptionError(f"{name} of the artefacts is {getattr(self, name)}, expected 0 {most}.")
        if not self.noises and self.noise:
            raise OptionError("the artefacts name no kind of noise; set noise to 0 for none.")


def imaged(
    rng: np.random.Generator, artefacts: Artefacts, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """`picture` `(*shape)` float32 with artefacts, 0 to 1, and the field of view where it is cropped (bool)."""
    happens = rng.random(4) < artefacts.rate
    axis = int(rng.integers(picture.ndim))
    picture = gaussian(torch.from_numpy(picture)[None], rng.uniform(0, artefacts.blur))[0].numpy()
    if happens[0] and artefacts.thick > 1:
        picture = acquisition.thick_slices(picture, axis, rng.uniform(1, artefacts.thick))
    if happens[1] and artefacts.motion:
        picture = acquisition.moved(rng, picture, axis, rng.uniform(0, artefacts.motion))
    if happens[2] and artefacts.ringing:
        picture = acquisition.ringing(picture, axis, rng.uniform(0, artefacts.ringing))
    if artefacts.bias:
        gain = smooth_noise(rng, picture.shape, np.asarray(picture.shape) / 3)[0]
        picture = picture * np.exp(np.float32(rng.uniform(0, artefacts.bias)) * gain)
    picture = stretched(picture)
    if artefacts.gamma:
        picture = picture ** np.float32(np.exp(rng.normal(0, artefacts.gamma)))
    if artefacts.noise:
        kind = artefacts.noises[int(rng.integers(len(artefacts.noises)))]
        picture = acquisition.NOISES[kind](rng, picture, rng.uniform(0, artefacts.noise))
    inside = (
        acquisition.field_of_view(rng, picture.shape, artefacts.crop)
        if happens[3] and artefacts.crop
        else None
    )
    picture = stretched(picture)
    return (picture if inside is None else picture * inside), inside


def stretched(picture: np.ndarray) -> np.ndarray:
    """`picture` from its 0.1 to its 99.9 percentile mapped to 0 to 1, and cut off there; constant ones become 0."""
    sample = picture.reshape(-1)[:: max(1, picture.size // 50_000)]
    low, high = np.percentile(sample, (0.1, 99.9))
    return np.clip((picture - low) / np.float32(max(high - low, 1e-6)), 0, 1).astype(np.float32)
