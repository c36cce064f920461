"""How sure a registration is of where each point goes: what its map of standard deviations says where it is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample
from coincide.points import Points
from coincide.transforms.base import Transform

_WITHIN = 1.96
"""Standard deviations on either side that hold 95 % of a Gaussian."""


def deviations(uncertainty: Image, points: np.ndarray) -> np.ndarray:
    """Standard deviation of where `points` `(…, dim)`, fixed-world mm, go, along each axis of the fixed world, mm.

    Args:
        uncertainty: a channel an axis, mm, on a grid of its own; beyond it the border's values go on.
        points: where it is asked.

    Returns:
        `(…, dim)`.
    """
    index = np.moveaxis(uncertainty.grid.index(points), -1, 0)
    found = sample(uncertainty.data, torch.from_numpy(index.astype(np.float32)), "linear", "edge")
    return np.moveaxis(found.numpy(), 0, -1)


def deviation_map(uncertainty: Image, grid: Grid) -> Image:
    """One standard deviation of where each voxel of `grid` goes, over all directions, mm; one channel.

    Args:
        uncertainty: as for `deviations`.
        grid: of the fixed world.
    """
    length = np.linalg.norm(deviations(uncertainty, grid.points()), axis=-1)
    return Image(torch.from_numpy(length.astype(np.float32))[None], grid, name="uncertainty")


def measure_uncertainty(
    uncertainty: Image,
    grid: Grid,
    mask: torch.Tensor | None = None,
    landmarks: tuple[Points, Points] | None = None,
    inverse: Transform | None = None,
) -> dict[str, Any]:
    """What is stated over the fixed image, and whether the landmarks bear it out.

    Args:
        uncertainty: as for `deviations`.
        grid: of the fixed image.
        mask: its voxels that count.
        landmarks: the fixed ones and their partners in the moving world, mm, row by row.
        inverse: moving-world mm → fixed-world mm; the identity where left out.

    Returns:
        `mean_mm`, `median_mm`, `p95_mm` and `max_mm` of one standard deviation over all directions; with landmarks,
        `landmarks_within_percent`, the share of their errors (fixed-world mm, each axis for itself) inside the stated
        95 % interval:
        about 95 where it is true, less where the result is surer of itself than it should be.
    """
    length = deviation_map(uncertainty, grid).data[0].numpy()
    length = length.ravel() if mask is None else length[mask.numpy()]
    found = {
        "mean_mm": float(length.mean()),
        "median_mm": float(np.median(length)),
        "p95_mm": float(np.percentile(length, 95)),
        "max_mm": float(length.max()),
    }
    if landmarks is not None:
        here, there = landmarks
        # what is stated holds along the axes of the fixed world, which a linear part turns and stretches
        apart = (there.world if inverse is None else inverse(there.world)) - here.world
        within = np.abs(apart) <= _WITHIN * deviations(uncertainty, here.world)
        found["landmarks_within_percent"] = 100 * float(within.mean())
    return found
