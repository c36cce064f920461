"""Images as keypoint detectors see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.memory import require
from coincide.ops.sample import sample_affine
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import resample_smooth
from coincide.transforms.linear import Affine

_BYTES = 80
"""Memory per voxel, at most: the levels of one octave of a scale space, and their differences."""


@dataclass(frozen=True, eq=False)
class Seen:
    """An image as a detector sees it: on an upright lattice of the world with equal distances along all axes.

    Handedness and orientation of the file's axes, and voxels that are no cubes, are gone: detectors know voxels only.

    Args:
        values: `(*shape)`, 0 to 1 for nearly all.
        mask: `(*shape)` where the image is known and counts.
        grid: where the voxels lie, mm.
    """

    values: np.ndarray
    mask: np.ndarray
    grid: Grid


def see(image: Image, spacing: float, matrix: np.ndarray) -> Seen:
    """`image` as a detector sees it, through `matrix` (homogeneous, start-world mm → image-world mm).

    Raises:
        ResourceError: memory would not suffice for voxels so small.
    """
    corners = Affine(matrix).inverse()(image.grid.corners)
    low, high = corners.min(0), corners.max(0)
    shape = np.maximum(np.ceil((high - low) / spacing - 1e-6).astype(int) + 1, 1)
    number = int(np.prod(shape.astype(float)))
    require(
        _BYTES * number,
        f"looking for keypoints on {number:,} voxels of {spacing:g} mm",
        "Give a larger spacing.",
    )
    grid = Grid.from_spacing(tuple(shape), spacing, (low + high) / 2 - (shape - 1) * spacing / 2)
    data = resample_smooth(normalise(image).data, image.grid, grid, matrix)
    known = np.ones(image.grid.shape, np.float32) if image.mask is None else image.mask.numpy()
    index = image.grid.inverse_affine @ matrix @ grid.affine
    mask = sample_affine(_channel(known), index, grid.shape, "zero")[0].numpy() > 0.5
    return Seen(data[0].numpy(), mask, grid)


def _channel(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]
