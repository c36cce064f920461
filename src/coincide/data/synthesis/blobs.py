"""Shapes that are made of noise alone: what a network learns from them is tied to no anatomy."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis.anatomy import Anatomy, detail
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.structures import LAST
from coincide.grid import Grid


def blobs(rng: np.random.Generator, grid: Grid) -> Anatomy:
    """Between 4 and 16 labels, from `LAST` on, each where its own smooth noise is the largest of all.

    The noise has two scales, drawn anew each time, between a quarter and a sixteenth of the field of view. In half of
    the draws all of it lies within a rough ball, with nothing around it.
    """
    extent = float(min((n - 1) * s for n, s in zip(grid.shape, grid.spacing)))
    wide = extent / rng.uniform(4, 8)
    number = int(rng.integers(4, 17))
    best = np.full(grid.shape, -np.inf, np.float32)
    labels = np.zeros(grid.shape, np.int16)
    for label in range(number):
        field = smooth_noise(rng, grid.shape, wide / grid.spacing)[0]
        larger = field > best
        np.copyto(best, field, where=larger)
        labels[larger] = LAST + label
    if rng.random() < 0.5:
        labels[~_ball(rng, grid, extent)] = 0
    return Anatomy(labels, grid, detail(rng, grid))


def _ball(rng: np.random.Generator, grid: Grid, extent: float) -> np.ndarray:
    middle = (np.asarray(grid.shape) - 1) / 2
    radii = rng.uniform(0.55, 0.95, grid.dim) * extent / 2 / grid.spacing
    lattice = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
    square = sum(((axis - m) / r) ** 2 for axis, m, r in zip(lattice, middle, radii))
    return np.sqrt(square) + 0.12 * smooth_noise(rng, grid.shape, 0.2 * extent / grid.spacing)[0] < 1
