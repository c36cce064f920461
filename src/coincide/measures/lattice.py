"""A transform seen from every voxel of a grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_voxels
from coincide.transforms.linear import Affine, identity

BLOCK = 1 << 19
"""Points worked on at a time: some 50 MB of float64."""


def slabs(grid: Grid) -> Iterator[slice]:
    """Slices of the first axis, about `BLOCK` voxels each, that together cover the grid."""
    planes = max(1, BLOCK * grid.shape[0] // grid.size)
    for low in range(0, grid.shape[0], planes):
        yield slice(low, min(low + planes, grid.shape[0]))


def voxel_field(transform: Transform, grid: Grid) -> Tensor:
    """The transform's displacement at every voxel, in voxels along the grid's axes, float32 `(dim, *shape)`.

    Args:
        transform: fixed-world mm → moving-world mm.
        grid: on which voxels of the fixed world.
    """
    *outer, inner = transform.parts()
    if isinstance(inner, Affine):
        outer, inner = [*outer, inner], None
    if all(isinstance(part, Affine) for part in outer) and (inner is None or _stands_on(inner, grid)):
        field = torch.zeros(grid.dim, *grid.shape) if inner is None else to_voxels(inner.vectors.cpu(), grid)
        affine = identity(grid.dim).matrix
        for part in outer:
            affine = affine @ part.matrix
        matrix = grid.inverse_affine @ affine @ grid.affine
        return field if np.array_equal(affine, np.eye(grid.dim + 1)) else _moved(field, matrix)
    field = np.empty((grid.dim, *grid.shape), dtype=np.float32)
    for slab in slabs(grid):
        part = grid.cropped([slab.start, *[0] * (grid.dim - 1)], [slab.stop, *grid.shape[1:]])
        points = part.points()
        field[:, slab] = np.moveaxis((transform(points) - points) @ grid.inverse_affine[:-1, :-1].T, -1, 0)
    return torch.from_numpy(field)


def overlap(field: Tensor | None, grid: Grid, target: Grid) -> Tensor:
    """Which voxels of `grid` map inside the field of view of `target`, `(*shape)` bool.

    Args:
        field: displacement from `voxel_field`, voxels of `grid`; None for the identity.
        grid: where the voxels lie, fixed world.
        target: the moving image's grid.
    """
    matrix = target.inverse_affine @ grid.affine
    inside = torch.ones(grid.shape, dtype=torch.bool)
    for component, size in enumerate(target.shape):
        index = _lines(matrix[component], grid.shape)
        if field is not None:
            for axis in range(grid.dim):
                index = index + float(matrix[component, axis]) * field[axis]
        inside &= (index >= -0.5) & (index <= size - 0.5)
    return inside


def longest(field: Tensor, grid: Grid, mask: Tensor | None = None) -> float:
    """Length in mm of the longest vector of a `field` in voxels, inside the mask."""
    # |A u|² = uᵀ (AᵀA) u, without a copy of the field in mm
    gram = grid.affine[:-1, :-1].T @ grid.affine[:-1, :-1]
    squared = torch.zeros(grid.shape)
    for i in range(grid.dim):
        for j in range(i, grid.dim):
            weight = float(gram[i, j]) * (1 if i == j else 2)
            if weight:
                squared += weight * field[i] * field[j]
    return float((squared if mask is None else squared[mask]).max().clamp(min=0).sqrt())


def _stands_on(part: Transform, grid: Grid) -> bool:
    return isinstance(part, Displacement) and part.grid.matches(grid)


def _moved(field: Tensor, matrix: np.ndarray) -> Tensor:
    """The field of `i ↦ M(i + u(i))`, all in voxels."""
    out = torch.empty_like(field)
    for component in range(len(field)):
        slopes = matrix[component].copy()
        slopes[component] -= 1
        out[component] = _lines(slopes, field.shape[1:])
        for axis in range(len(field)):
            out[component] += float(matrix[component, axis]) * field[axis]
    return out


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
