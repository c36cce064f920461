"""What imaging does to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.data.synthesis.noise import smooth_noise
from coincide.ops.smooth import gaussian


@dataclass(frozen=True)
class Artefacts:
    """Ranges of what imaging does to a picture of brightness 0 to 1; each is 0 or off for none.

    Args:
        blur: voxels, the largest standard deviation.
        bias: largest standard deviation of the log of a bias field, features of a quarter of the image.
        noise: largest standard deviation of Gaussian noise.
        gamma: standard deviation of the log of the exponent that brightness is raised to.
    """

    blur: float = 0.8
    bias: float = 0.3
    noise: float = 0.06
    gamma: float = 0.25


def imaged(rng: np.random.Generator, artefacts: Artefacts, picture: np.ndarray) -> np.ndarray:
    """`picture` `(*shape)` float32 with artefacts."""
    shape = picture.shape
    picture = gaussian(torch.from_numpy(picture)[None], rng.uniform(0, artefacts.blur))[0].numpy()
    bias = smooth_noise(rng, shape, np.asarray(shape) / 4)[0]
    picture = picture * np.exp(rng.uniform(0, artefacts.bias) * bias)
    picture = picture + np.float32(rng.uniform(0, artefacts.noise)) * rng.standard_normal(
        shape, dtype=np.float32
    )
    low, high = np.percentile(picture[::2], (0.1, 99.9))
    picture = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
    return picture ** np.float32(np.exp(rng.normal(0, artefacts.gamma)))
