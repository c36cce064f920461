"""A transform seen from every voxel of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.ops import follow
from coincide.ops.blocks import BLOCK
from coincide.ops.jacobian import Determinants, determinants
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_voxels
from coincide.transforms.linear import Affine
from coincide.transforms.route import route
from coincide.transforms.velocity import Velocity


@dataclass(frozen=True, eq=False)
class Lattice:
    """A transform at the voxels `i` of a grid, as `world(i + field[i])` followed by an affine.

    Args:
        grid: where the voxels lie, fixed world.
        field: displacements in voxels along the grid's axes, `(dim, *shape)` float32; None for none.
        affine: `(dim + 1, dim + 1)`, world mm → world mm, applied after them.
    """

    grid: Grid
    field: Tensor | None
    affine: np.ndarray

    def determinants(self) -> Determinants:
        """Jacobian determinants of the whole transform."""
        scale = float(np.linalg.det(self.affine[:-1, :-1]))
        if self.field is None:
            return Determinants(*(torch.full(self.grid.shape, scale) for _ in range(3)))
        field = self.field
        if scale < 0:  # mirror the first axis in the field instead, so that the least stays the least
            scale, field = -scale, field.clone()
            along = torch.arange(len(field[0]), dtype=field.dtype).reshape(-1, *[1] * (self.grid.dim - 1))
            field[0] = -2 * along - field[0]
        found = determinants(field)
        for values in found:
            values.numpy()[...] *= scale
        return found

    def inside(self, target: Grid) -> Tensor:
        """Which voxels map inside the field of view of `target`, the moving grid, `(*shape)` bool."""
        inside = np.ones(self.grid.size, dtype=bool)
        matrix = follow.padded(target.inverse_affine @ self.affine @ self.grid.affine, self.grid.dim)

        def work(low: int, high: int, points: np.ndarray) -> None:
            self._moved(low, high, points)
            follow.turn(points, matrix)
            follow.within(points, target.shape, inside[low:high])

        follow.each_block(self.grid.size, work)
        return torch.from_numpy(inside).reshape(self.grid.shape)

    def longest(self, mask: Tensor | None = None) -> float:
        """The longest way a voxel is moved, mm; inside the `mask`, where one is given."""
        counted = None if mask is None else mask.numpy().ravel()
        matrix = follow.padded(self.affine @ self.grid.affine, self.grid.dim)
        still = follow.padded(self.grid.affine, self.grid.dim)
        longest = np.zeros(-(-self.grid.size // BLOCK), np.float32)

        def work(low: int, high: int, points: np.ndarray) -> None:
            origin = np.empty_like(points)
            follow.voxels(low, self.grid.shape, origin)
            follow.turn(origin, still)
            self._moved(low, high, points)
            follow.turn(points, matrix)
            points -= origin
            lengths = np.empty(high - low, np.float32)
            follow.lengths(points, lengths)
            lengths = lengths if counted is None else lengths[counted[low:high]]
            longest[low // BLOCK] = lengths.max(initial=0)

        follow.each_block(self.grid.size, work)
        return float(longest.max())

    def _moved(self, low: int, high: int, points: np.ndarray) -> None:
        """Fill `points` with where the field takes the voxels `low` to `high`, as index positions of the grid."""
        follow.voxels(low, self.grid.shape, points)
        if self.field is not None:
            points[: self.grid.dim] += self.field.reshape(self.grid.dim, -1)[:, low:high].numpy()


def lattice(transform: Transform, grid: Grid) -> Lattice:
    """A transform (fixed-world mm → moving-world mm) at every voxel of a `grid` of the fixed world.

    A field that stands on this grid is taken as it is; any other is sampled. Linear parts that come after
    every other are kept apart.
    """
    parts, affine = transform.parts(), np.eye(grid.dim + 1)
    while parts and isinstance(parts[0], Affine):
        affine, parts = affine @ parts[0].matrix, parts[1:]
    if not parts:
        return Lattice(grid, None, affine)
    inner = parts[0].displacement if isinstance(parts[0], Velocity) else parts[0]
    if len(parts) == 1 and isinstance(inner, Displacement) and inner.grid.matches(grid):
        return Lattice(grid, to_voxels(inner.vectors.cpu(), grid), affine)
    way = route(parts, grid, grid)
    field = np.empty((grid.dim, *grid.shape), dtype=np.float32)
    flat = field.reshape(grid.dim, -1)

    def work(low: int, high: int, points: np.ndarray) -> None:
        follow.voxels(low, grid.shape, points)
        still = points[: grid.dim].copy()
        way(points)
        np.subtract(points[: grid.dim], still, out=flat[:, low:high], casting="same_kind")

    follow.each_block(grid.size, work)
    return Lattice(grid, torch.from_numpy(field), affine)
