"""An anatomy, before anything has been pictured of it, and the kinds that can be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coincide.data.synthesis.noise import smooth_noise
from coincide.grid import Grid


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What there is to be pictured.

    Args:
        labels: `(*shape)` int16 structures.
        grid: where they lie; its world is the anatomy's own, mm.
        detail: `(1, *shape)` float32 of about unit variance, structure too fine for labels, which pictures of the
            same anatomy share.
        layers: `(layer, *shape)` float32, for radiographs: mm of each matter along the rays; empty otherwise.
        matters: the tissue of each layer.
    """

    labels: np.ndarray
    grid: Grid
    detail: np.ndarray
    layers: np.ndarray | None = None
    matters: tuple[str, ...] = ()


Maker = Callable[[np.random.Generator, Grid], Anatomy]
"""Makes an anatomy for pictures on a grid, of which it takes dimension, spacing and, where it has no size of its own,
extent."""


def detail(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Texture at two scales that pictures of one anatomy share, `(1, *grid.shape)`."""
    coarse, fine = (smooth_noise(rng, grid.shape, s) for s in (6.0 / grid.spacing, 2.0))
    return 0.8 * coarse + 0.6 * fine
