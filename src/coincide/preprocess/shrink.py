"""Images at a coarser spacing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample_affine, sample_affine_cubic
from coincide.ops.smooth import gaussian

_FINE = 1.6
"""Source voxels a step of the target from which the smoothing that comes first leaves nothing to lose."""


def coarse_grid(grid: Grid, spacing: float) -> Grid:
    """A grid over the same field of view with voxels of `spacing` mm, or the grid's own where that is coarser."""
    return grid.orthogonalised(np.maximum(grid.spacing, spacing * 0.999))


def resample_smooth(
    data: Tensor, source: Grid, target: Grid, matrix: np.ndarray | None = None, cubic: bool = False
) -> Tensor:
    """`data` `(channel, *shape)` of `source` on `target`, smoothed first as far as `target` is coarser.

    Args:
        data: values on `source`.
        source: their grid.
        target: the grid wanted.
        matrix: homogeneous, world mm of `target` to world mm of `source`; the identity where left out.
        cubic: interpolate by a cubic B-spline where `target` is about as fine as the source and its voxels lie between
            the source's, so that what linear interpolation smooths away, more or less from place to place, stays.
    """
    world = np.eye(source.dim + 1) if matrix is None else matrix
    index = source.inverse_affine @ world @ target.affine
    # how many source voxels one step of the target covers, along each source axis
    steps = np.abs(index[:-1, :-1]).max(axis=1)
    sigma = 0.5 * np.sqrt(np.maximum(steps**2 - 1, 0))
    if sigma.max() > 0.05:
        data = gaussian(data.contiguous(), sigma, truncate=2.5)
    if cubic and steps.max() < _FINE and np.abs(index - np.rint(index)).max() > 1e-3:
        return sample_affine_cubic(data, index, target.shape)
    return sample_affine(data.contiguous(), index, target.shape, "edge")


def shrink(image: Image, spacing: float, grid: Grid | None = None) -> Image:
    """The image, and its mask, at about `spacing` mm (on `grid` where given); never finer than it is."""
    target = coarse_grid(image.grid, spacing) if grid is None else grid
    data = resample_smooth(image.data, image.grid, target)
    mask = None
    if image.mask is not None:
        share = resample_smooth(image.mask.to(torch.float32)[None], image.grid, target)[0]
        mask = share > 0.5
        mask = mask if bool(mask.any()) else share > 0
        mask = mask if bool(mask.any()) else None
    return Image(data, target, image.kind, mask, image.name)
