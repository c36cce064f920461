"""Radiographs: what is left of X-rays that went through layers of matter."""

from __future__ import annotations

import numpy as np

ATTENUATION = {"bone": 0.05, "marrow": 0.032, "soft": 0.02, "fat": 0.017}
"""About how much a millimetre of each matter takes away at the energies of diagnostic X-rays, one over mm."""


def radiograph(
    rng: np.random.Generator, layers: np.ndarray, matters: tuple[str, ...], detail: np.ndarray
) -> np.ndarray:
    """A picture `(*shape)` float32 of rays that meet `layers`, 0 to 1, bone bright or dark.

    Args:
        rng: for energy, exposure and polarity.
        layers: `(layer, *shape)` mm of each matter along the rays.
        matters: which they are.
        detail: `(*shape)`, by which bone is grainy.
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
    return left if rng.random() < 0.5 else 1 - left
