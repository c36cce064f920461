"""How well a transform and its inverse undo each other."""

from __future__ import annotations

import numpy as np
import torch

from coincide.grid import Grid
from coincide.measures.lattice import BLOCK
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement
from coincide.transforms.velocity import Velocity

LIMIT = 1_000_000


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
        limit: at most about so many voxels each way, taken at even distances; None for every one.

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
    chosen = np.arange(grid.size) if mask is None else np.flatnonzero(mask.numpy())
    if limit is not None and len(chosen) > limit:
        # an odd step does not stay in the same columns of a grid of even size
        chosen = chosen[:: -(-len(chosen) // limit) | 1]
    return chosen


def _there_and_back(there: Transform, back: Transform, chosen: np.ndarray, start: Grid, end: Grid) -> dict:
    to_index = start.inverse_affine[:-1, :-1]
    in_mm, in_voxels = [], []
    for low in range(0, len(chosen), BLOCK):
        index = np.stack(np.unravel_index(chosen[low : low + BLOCK], start.shape), axis=1)
        points = start.world(index)
        away, inside = _followed(there, points)
        inside &= end.inside(away)
        returned, inside_too = _followed(back, away[inside])
        residual = (returned - points[inside])[inside_too]
        in_mm.append(_lengths(residual).astype(np.float32))
        in_voxels.append(_lengths(np.einsum("nj,ij->ni", residual, to_index)).astype(np.float32))
    mm, voxels = np.concatenate(in_mm or [[]]), np.concatenate(in_voxels or [[]])
    if not len(mm):
        return {}
    return {**_spread(mm, "mm"), **_spread(voxels, "voxels"), "points": len(mm)}


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ni,ni->n", vectors, vectors))


def _spread(residual: np.ndarray, unit: str) -> dict[str, float]:
    return {
        f"mean_{unit}": float(residual.mean(dtype=np.float64)),
        f"p999_{unit}": float(np.percentile(residual, 99.9)),
        f"max_{unit}": float(residual.max()),
    }


def _followed(transform: Transform, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the points go, and whether each stays inside every displacement field on its way."""
    inside = np.ones(len(points), dtype=bool)
    for part in reversed(transform.parts()):
        if isinstance(part, Displacement | Velocity):
            inside &= part.grid.inside(points)
        points = part(points)
    return points, inside
