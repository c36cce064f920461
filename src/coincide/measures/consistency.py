"""How well a transform and its inverse undo each other."""

from __future__ import annotations

import numpy as np
import torch

from coincide.grid import Grid
from coincide.ops import follow
from coincide.transforms.base import Transform
from coincide.transforms.route import route

LIMIT = 500_000
"""So many voxels each way settle the mean and the 99.9 % to three digits."""


def inverse_residual(
    transform: Transform,
    inverse: Transform,
    fixed: Grid,
    moving: Grid,
    *,
    fixed_mask: torch.Tensor | None = None,
    moving_mask: torch.Tensor | None = None,
    limit: int | None = LIMIT,
) -> dict:
    """How far points end from where they started, through one map and back through the other.

    Counted are the points that map inside the other image's field of view and, on the way, inside every
    displacement field they meet; elsewhere neither map says anything about the anatomy.

    Args:
        transform: fixed-world mm → moving-world mm.
        inverse: moving-world mm → fixed-world mm.
        fixed: the fixed image's grid, whose voxels go through `transform`, then `inverse`.
        moving: the moving image's grid, whose voxels go through `inverse`, then `transform`.
        fixed_mask: `(*shape)` bool, which of the fixed voxels; all where left out.
        moving_mask: likewise for the moving ones.
        limit: at most about so many voxels each way, taken at even distances; all numbers, the largest too, are of
            these alone. None for every one.

    Returns:
        `forward` (fixed → moving → fixed) and `backward`, each with `mean`, `p999` and `max` in `_mm` and in
        `_voxels` (of the grid the points started from), and `points`, how many were counted; and, beside
        these, the larger of the two for every number. A way no point of which can be counted is absent.
    """
    ways = {
        "forward": _there_and_back(transform, inverse, _chosen(fixed, fixed_mask, limit), fixed, moving),
        "backward": _there_and_back(inverse, transform, _chosen(moving, moving_mask, limit), moving, fixed),
    }
    ways = {name: numbers for name, numbers in ways.items() if numbers}
    worst = {}
    for numbers in ways.values():
        for key, value in numbers.items():
            if key != "points":
                worst[key] = max(value, worst.get(key, 0.0))
    return {**worst, **ways}


def _chosen(grid: Grid, mask: torch.Tensor | None, limit: int | None) -> np.ndarray:
    """Flat indices of the voxels to start from."""
    number = grid.size if mask is None else int(mask.sum())
    # an odd step does not stay in the same columns of a grid of even size
    step = 1 if limit is None or number <= limit else -(-number // limit) | 1
    return np.arange(0, number, step) if mask is None else np.flatnonzero(mask.numpy())[::step]


def _there_and_back(there: Transform, back: Transform, chosen: np.ndarray, start: Grid, end: Grid) -> dict:
    away, returned = route(there.parts(), start, end), route(back.parts(), end, start)
    to_mm = follow.padded(start.affine[:-1, :-1], start.dim)
    residual, counted = np.empty((2, len(chosen)), np.float32), np.ones(len(chosen), dtype=bool)

    def work(low: int, high: int, points: np.ndarray) -> None:
        follow.chosen_voxels(chosen[low:high], start.shape, points)
        origin, inside = points.copy(), counted[low:high]
        away(points, inside)
        follow.within(points, end.shape, inside)
        returned(points, inside)
        points -= origin
        follow.lengths(points, residual[0, low:high])
        follow.turn(points, to_mm)
        follow.lengths(points, residual[1, low:high])

    follow.each_block(len(chosen), work)
    if not counted.any():
        return {}
    voxels, mm = residual[:, counted]
    return {**_spread(mm, "mm"), **_spread(voxels, "voxels"), "points": len(mm)}


def _spread(residual: np.ndarray, unit: str) -> dict[str, float]:
    return {
        f"mean_{unit}": float(residual.mean(dtype=np.float64)),
        f"p999_{unit}": float(np.percentile(residual, 99.9)),
        f"max_{unit}": float(residual.max()),
    }
