"""Resampling an image through a transform, once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coincide.errors import DimensionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops import follow
from coincide.ops._sample_kernels import BLOCK, POINTWISE, fits
from coincide.ops.sample import sampler
from coincide.transforms.base import Transform
from coincide.transforms.route import Route, route

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
    data = data.contiguous()
    out = np.empty((image.channels, *grid.shape), dtype=data.numpy().dtype)
    if interpolation == "nearest" or (interpolation == "linear" and fits(data)):
        _along(route(transform.parts(), grid, image.grid), grid, data.numpy(), interpolation, out)
    else:
        look_up = sampler(data, interpolation, "zero")
        for low, high in slabs(grid):
            out[:, low:high] = look_up(positions(transform, grid, low, high, image.grid)).numpy()
    return Image(torch.from_numpy(out), grid, image.kind if keeps_type else "intensity", None, image.name)


def _along(way: Route, grid: Grid, image: np.ndarray, interpolation: str, out: np.ndarray) -> None:
    """Look the image up where the voxels of `grid` go, block by block."""
    flat = out.reshape(len(out), -1)
    linear = POINTWISE[f"linear_{grid.dim}d"]

    def work(low: int, high: int, points: np.ndarray) -> None:
        follow.voxels(low, grid.shape, points)
        way(points)
        values = np.empty((len(image), high - low), dtype=image.dtype)
        if interpolation == "nearest":
            follow.nearest(image, points, values)
        else:
            linear(0, -(-(high - low) // BLOCK), image, points[: grid.dim], True, values)
        flat[:, low:high] = values

    follow.each_block(grid.size, work)


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
    way, plane = route(transform.parts(), grid, moving), grid.size // grid.shape[0]
    out = np.empty((grid.dim, high - low, *grid.shape[1:]))
    flat = out.reshape(grid.dim, -1)

    def work(first: int, last: int, points: np.ndarray) -> None:
        follow.voxels(low * plane + first, grid.shape, points)
        way(points)
        flat[:, first:last] = points[: grid.dim]

    follow.each_block(flat.shape[1], work)
    return torch.from_numpy(out)
