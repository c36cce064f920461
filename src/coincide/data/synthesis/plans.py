"""From something painted in three dimensions to an anatomy: whole, as a slice, or as seen through by X-rays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coincide.data.synthesis._paint_kernels import see_through
from coincide.data.synthesis.anatomy import Anatomy, detail
from coincide.data.synthesis.canvas import Canvas
from coincide.data.synthesis.structures import LAST, STRUCTURES
from coincide.grid import Grid


@dataclass(frozen=True, eq=False)
class Plan:
    """An anatomy as it is painted.

    Args:
        corners: `(2, 3)` mm, RAS+, lowest and highest.
        paint: paints it.
        slices: mm, `(3, 2)`, between which places slices across x, y and z show something.
        fits: whether it is shrunk until it fits into the field of view.
    """

    corners: np.ndarray
    paint: Callable[[Canvas], None]
    slices: np.ndarray
    fits: bool = False

    def __call__(self, rng: np.random.Generator, grid: Grid) -> Anatomy:
        """The anatomy for pictures on `grid`; in 2-D one slice of it."""
        low, high = self.corners
        step = float(grid.spacing.min())
        scale = self._scale(grid, high - low)
        if grid.dim == 3:
            low, high = self._window(rng, grid, scale)
            canvas = Canvas(_box(low, high, step / scale), rng)
            self.paint(canvas)
            return _anatomy(rng, canvas.labels, step)
        axis = int(rng.integers(3))
        low, high = low.copy(), high.copy()
        low[axis] = high[axis] = rng.uniform(*self.slices[axis])
        canvas = Canvas(_box(low, high, step / scale), rng)
        self.paint(canvas)
        return _anatomy(rng, np.ascontiguousarray(canvas.labels.squeeze(axis)), step)

    def film(self, rng: np.random.Generator, grid: Grid) -> Anatomy:
        """What X-rays along y, or in a third of the draws along x, meet; `grid` is 2-D."""
        axis = 1 if rng.random() < 2 / 3 else 0
        scale = self._scale(grid, np.delete(self.corners[1] - self.corners[0], axis))
        # thickness is smooth: it wants no fine lattice, and along the rays hardly any
        flat = 1.5 * float(grid.spacing.min())
        step = np.full(3, flat / scale)
        step[axis] = max(step[axis], 10.0)
        canvas = Canvas(_box(self.corners[0], self.corners[1], step), rng)
        self.paint(canvas)
        return _seen_through(rng, canvas.labels, axis, step[axis], flat)

    def _scale(self, grid: Grid, extent: np.ndarray) -> float:
        room = float((np.asarray(grid.shape) * grid.spacing).min())
        return min(1.0, 1.05 * room / float(np.sort(extent)[-2])) if self.fits else 1.0

    def _window(self, rng: np.random.Generator, grid: Grid, scale: float) -> np.ndarray:
        """The corners, cut in z to a stretch about as long as the field of view is wide."""
        low, high = self.corners.copy()
        room = 1.5 * float((np.asarray(grid.shape) * grid.spacing).max()) / scale
        if self.fits and room < high[2] - low[2]:
            low[2] = rng.uniform(low[2], high[2] - room)
            high[2] = low[2] + room
        return np.stack([low, high])


def _box(low: np.ndarray, high: np.ndarray, spacing) -> Grid:
    shape = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1
    return Grid.from_spacing(tuple(shape), spacing, low)


def _anatomy(rng: np.random.Generator, labels: np.ndarray, step: float, **layers) -> Anatomy:
    origin = -(np.asarray(labels.shape) - 1) / 2 * step
    grid = Grid.from_spacing(labels.shape, step, origin)
    return Anatomy(labels, grid, detail(rng, grid), **layers)


def _seen_through(
    rng: np.random.Generator, labels: np.ndarray, axis: int, deep: float, step: float
) -> Anatomy:
    shares = {"bone": ("bone",), "marrow": ("marrow",), "fat": ("fat", "skin"), "soft": ()}
    tissue = {s.label: s.tissue for s in STRUCTURES.values()}
    rank, table = np.zeros(LAST, np.int8), np.zeros((len(shares), LAST), np.float32)
    for label, name in tissue.items():
        kind = next((k for k, names in shares.items() if name in names), "soft")
        table[list(shares).index(kind), label] = deep * (name not in ("air", "lung"))
        # what a reader of films would call the pixel: bone before lung before the rest
        rank[label] = {"bone": 4, "lung": 3, "muscle": 2}.get(name, 1)
    shape = tuple(np.delete(labels.shape, axis))
    layers, flat = np.zeros((len(shares), *shape), np.float32), np.zeros(shape, np.int16)
    see_through(np.ascontiguousarray(np.moveaxis(labels, axis, 1)), table, rank, layers, flat)
    return _anatomy(rng, flat, step, layers=layers, matters=tuple(shares))
