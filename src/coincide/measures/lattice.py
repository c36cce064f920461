"""A transform seen from every voxel of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.ops.jacobian import Determinants, determinants
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_voxels
from coincide.transforms.linear import Affine
from coincide.transforms.velocity import Velocity

BLOCK = 1 << 19
"""Points worked on at a time: some 50 MB of float64."""


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
        return Determinants(*(scale * values for values in determinants(field)))

    def inside(self, target: Grid) -> Tensor:
        """Which voxels map inside the field of view of `target`, the moving grid, `(*shape)` bool."""
        matrix = target.inverse_affine @ self.affine @ self.grid.affine
        inside = torch.ones(self.grid.shape, dtype=torch.bool)
        for row, size in zip(matrix, target.shape):
            index = _lines(row, self.grid.shape)
            if self.field is not None:
                for weight, component in zip(row.tolist(), self.field):
                    index = torch.add(index, component, alpha=weight) if weight else index
            inside &= (index >= -0.5) & (index <= size - 0.5)
        return inside

    def longest(self, mask: Tensor | None = None) -> float:
        """The longest way a voxel is moved, mm; inside the `mask`, where one is given."""
        flat = np.arange(self.grid.size) if mask is None else np.flatnonzero(mask.numpy())
        matrix = self.affine @ self.grid.affine
        still = (matrix - self.grid.affine)[:-1]
        field = None if self.field is None else self.field.reshape(self.grid.dim, -1).numpy()
        longest = 0.0
        for low in range(0, len(flat), BLOCK):
            part = flat[low : low + BLOCK]
            moved = still[:, :-1] @ np.stack(np.unravel_index(part, self.grid.shape)) + still[:, -1:]
            if field is not None:
                moved += matrix[:-1, :-1] @ field[:, part]
            longest = max(longest, float(np.square(moved).sum(0).max()))
        return longest**0.5


def lattice(transform: Transform, grid: Grid) -> Lattice:
    """A transform (fixed-world mm → moving-world mm) at every voxel of a `grid` of the fixed world.

    A field that stands on this grid is taken as it is; any other transform is sampled, in blocks.
    """
    *outer, inner = transform.parts()
    if isinstance(inner, Velocity):
        inner = inner.displacement
    linear = [part.matrix for part in (*outer, inner) if isinstance(part, Affine)]
    affine = np.eye(grid.dim + 1)
    for matrix in linear:
        affine = affine @ matrix
    if len(linear) == len(outer) + 1:
        return Lattice(grid, None, affine)
    if len(linear) == len(outer) and isinstance(inner, Displacement) and inner.grid.matches(grid):
        return Lattice(grid, to_voxels(inner.vectors.cpu(), grid), affine)
    field = np.empty((grid.dim, *grid.shape), dtype=np.float32)
    planes = max(1, BLOCK * grid.shape[0] // grid.size)
    for low in range(0, grid.shape[0], planes):
        high = min(low + planes, grid.shape[0])
        points = grid.cropped([low, *[0] * (grid.dim - 1)], [high, *grid.shape[1:]]).points()
        moved = (transform(points) - points) @ grid.inverse_affine[:-1, :-1].T
        field[:, low:high] = np.moveaxis(moved, -1, 0)
    return Lattice(grid, torch.from_numpy(field), np.eye(grid.dim + 1))


def _lines(row: np.ndarray, shape) -> Tensor:
    """`row · (i, 1)` at every index `i` of a lattice, float32."""
    dim = len(shape)
    total = torch.full([1] * dim, float(row[dim]), dtype=torch.float64)
    for axis, size in enumerate(shape[:-1]):
        total = total + float(row[axis]) * torch.arange(size, dtype=torch.float64).reshape(
            [size if a == axis else 1 for a in range(dim)]
        )
    last = float(row[dim - 1]) * torch.arange(shape[-1], dtype=torch.float64)
    return total.float() + last.float()
