"""Radiographs: what is left of X-rays that went through layers of matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.ops.smooth import gaussian

ATTENUATION = {"bone": 0.05, "marrow": 0.032, "soft": 0.02, "fat": 0.017, "metal": 0.35}
"""About how much a millimetre of each matter takes away at the energies of diagnostic X-rays, one over mm."""


FOG = 25.0
"""Millimetres over which scattered rays spread, as the standard deviation of a Gaussian."""


@dataclass(frozen=True)
class Rays:
    """What radiographs of limbs may show beyond bones and flesh drawn flat; nothing of it unless asked for.

    Args:
        solid: share of the hands and knees that are built in three dimensions, bend in their joints and are projected.
        bent: how far the joints of those bend at the most, 0 to 1: to a loose fist, or a knee by 90°.
        implants: share of those with metal: nails, plates with screws, knees that are replaced; rings.
        scatter: scattered rays, the most, as a share of those that come straight.
        collimated: share of the series whose rays a diaphragm cuts off, round or square, soft at its edge.

    Raises:
        OptionError: a share that is none, or less than no scatter.
    """

    solid: float = 0.0
    bent: float = 0.6
    implants: float = 0.0
    scatter: float = 0.0
    collimated: float = 0.0

    def __post_init__(self) -> None:
        for name in ("solid", "bent", "implants", "collimated"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} of the rays is {getattr(self, name)}, expected 0 to 1.")
        if not 0 <= self.scatter < np.inf:
            raise OptionError(f"scatter of the rays is {self.scatter}, expected 0 or more.")


def radiograph(
    rng: np.random.Generator,
    layers: np.ndarray,
    matters: tuple[str, ...],
    detail: np.ndarray,
    scatter: float = 0.0,
    fog: float = 0.0,
) -> np.ndarray:
    """A picture `(*shape)` float32 of rays that meet `layers`, 0 to 1, bone bright or dark.

    Args:
        rng: for energy, exposure and polarity.
        layers: `(layer, *shape)` mm of each matter along the rays.
        matters: which they are.
        detail: `(*shape)`, by which bone is grainy.
        scatter: rays that come from all around, as a share of those that come straight.
        fog: pixels over which they spread.
    """
    taken = np.zeros(detail.shape, np.float32)
    for matter, layer in zip(matters, layers):
        usual = ATTENUATION[matter] * np.exp(rng.normal(0, 0.25))
        grain = (
            1 + np.float32(rng.uniform(0, 0.15)) * detail if matter in ("bone", "marrow") else np.float32(1)
        )
        taken += np.float32(usual) * layer * grain
    # the exposure is set so that what lies behind the thicker half of the body still shows
    thick = float(np.quantile(taken[taken > 0], 0.8)) if (taken > 0).any() else 1.0
    left = np.exp(-taken * np.float32(rng.uniform(0.3, 2.0) / thick))
    if scatter:
        around = gaussian(torch.from_numpy(left)[None], fog)[0].numpy()
        left = (left + np.float32(scatter) * around) / np.float32(1 + scatter)
    return left if rng.random() < 0.5 else 1 - left
