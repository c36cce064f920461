"""Heads and brains as anatomies, whole or as one slice."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis.anatomy import Anatomy, detail
from coincide.data.synthesis.canvas import Canvas
from coincide.data.synthesis.head import BRAIN, EXTENT, paint_head
from coincide.grid import Grid


def head(rng: np.random.Generator, grid: Grid) -> Anatomy:
    """A whole head; in 2-D one slice of it."""
    return _painted(rng, grid, EXTENT, True)


def brain(rng: np.random.Generator, grid: Grid) -> Anatomy:
    """A brain without its head, as after skull stripping; in 2-D one slice of it."""
    return _painted(rng, grid, BRAIN, False)


def _painted(rng: np.random.Generator, grid: Grid, extent: np.ndarray, whole: bool) -> Anatomy:
    low, high = extent
    spacing = float(grid.spacing.min())
    if grid.dim == 3:
        canvas = Canvas(_box(low, high, spacing), rng)
        paint_head(canvas, whole)
        flat = _box(low - (low + high) / 2, high - (low + high) / 2, spacing)
        return Anatomy(canvas.labels, flat, detail(rng, flat))
    axis = int(rng.integers(3))
    depth = rng.uniform(*np.array([(-50.0, 50.0), (-85.0, 60.0), (-40.0, 65.0)])[axis])
    thin_low, thin_high = low.copy(), high.copy()
    thin_low[axis] = thin_high[axis] = depth
    canvas = Canvas(_box(thin_low, thin_high, spacing), rng)
    paint_head(canvas, whole)
    labels = np.ascontiguousarray(canvas.labels.squeeze(axis))
    rest = np.delete((low - high) / 2, axis)
    flat = Grid.from_spacing(labels.shape, spacing, rest)
    return Anatomy(labels, flat, detail(rng, flat))


def _box(low: np.ndarray, high: np.ndarray, spacing: float) -> Grid:
    shape = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1
    return Grid.from_spacing(tuple(shape), spacing, low)
