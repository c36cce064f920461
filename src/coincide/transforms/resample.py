"""Resampling an image through a transform, once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coincide.errors import DimensionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample_affine, sampler
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine

Interpolation = Literal["auto", "linear", "cubic", "nearest", "label"]

_BLOCK = 2_000_000


def resample(image: Image, transform: Transform, grid: Grid, interpolation: Interpolation = "auto") -> Image:
    """The moving `image` on `grid` of the fixed world, in one interpolation through the whole `transform`.

    Args:
        image: in the moving world.
        transform: fixed-world mm → moving-world mm.
        grid: of the fixed world.
        interpolation: `"auto"` is linear for intensities and the smooth label vote for labels; `"cubic"` is an
            interpolating B-spline of order 3. Labels keep their integer type with `"nearest"` and `"label"`.

    Returns:
        An image on `grid`; zero where it would lie outside of the moving image.

    Raises:
        DimensionError: image, transform and grid differ in dimension.
    """
    if not image.dim == transform.dim == grid.dim:
        raise DimensionError(
            f"cannot resample a {image.dim}-D image through a {transform.dim}-D transform onto a {grid.dim}-D grid."
        )
    if interpolation == "auto":
        interpolation = "label" if image.kind == "label" else "linear"
    keeps_type = interpolation in ("nearest", "label")
    data = image.data if keeps_type or image.data.is_floating_point() else image.data.to(torch.float32)
    look_up = sampler(data.contiguous(), interpolation, "zero")
    out = np.empty((image.channels, *grid.shape), dtype=data.numpy().dtype)
    for low, high in slabs(grid):
        index = positions(transform, grid, low, high, image.grid)
        out[:, low:high] = look_up(index).numpy()
    return Image(torch.from_numpy(out), grid, image.kind if keeps_type else "intensity", None, image.name)


def slabs(grid: Grid):
    """`(low, high)` of blocks of planes of `grid` that hold about two million voxels each."""
    planes = max(1, _BLOCK * grid.shape[0] // grid.size)
    for low in range(0, grid.shape[0], planes):
        yield low, min(low + planes, grid.shape[0])


def positions(transform: Transform, grid: Grid, low: int, high: int, moving: Grid | None = None) -> Tensor:
    """Where the voxels of planes `low` to `high` of `grid` go.

    Returns:
        `(dim, high - low, …)` float64, in moving-world mm, or in index positions of `moving` where it is given.
    """
    slab = grid.cropped([low] + [0] * (grid.dim - 1), [high, *grid.shape[1:]])
    last = [] if moving is None else [Affine(moving.inverse_affine)]
    # as long as only linear parts have been met, where a voxel goes is a matrix; then it is a dense array
    matrix, points = slab.affine, None
    for part in [*reversed(transform.parts()), *last]:
        if points is None and isinstance(part, Affine):
            matrix = part.matrix @ matrix
        elif points is None:
            points = _lattice(matrix, slab.shape)
            if isinstance(part, Displacement):
                index = part.grid.inverse_affine @ matrix
                points += sample_affine(part.vectors.contiguous(), index, slab.shape, "zero")
            else:
                points = _apply(part, points)
        else:
            points = _apply(part, points)
    return _lattice(matrix, slab.shape) if points is None else points


def _lattice(matrix: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """`matrix · (index, 1)` for every index, `(dim, *shape)` float64."""
    axes = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij", sparse=True)
    rows = [sum(m * a for m, a in zip(row[:-1], axes)) + row[-1] for row in matrix[:-1]]
    return torch.from_numpy(np.stack([np.broadcast_to(r, shape) for r in rows]))


def _apply(part: Transform, points: Tensor) -> Tensor:
    if isinstance(part, Affine):
        # spelt out: a matrix product may add in an order that depends on the number of threads
        rows = part.matrix[:-1].tolist()
        return torch.stack([sum(m * x for m, x in zip(row, points)) + row[-1] for row in rows])
    mapped = part._map(points.flatten(1).T.contiguous().numpy())
    return torch.from_numpy(np.ascontiguousarray(mapped.T)).reshape(points.shape)
