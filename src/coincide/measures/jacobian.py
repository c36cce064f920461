"""How a transform stretches, shrinks and folds space."""

from __future__ import annotations

import numpy as np
import torch

from coincide.grid import Grid
from coincide.measures.lattice import lattice
from coincide.ops.blocks import over_blocks
from coincide.ops.jacobian import Determinants
from coincide.transforms.base import Transform


def jacobian_maps(transform: Transform, grid: Grid) -> Determinants:
    """Jacobian determinants of a transform at every voxel, by forward, central and one-sided differences.

    They are those of the whole map, its linear part included: above 1 where the moving image is larger than
    the fixed one, 0 or less where the map folds.

    Args:
        transform: fixed-world mm → moving-world mm.
        grid: on which voxels of the fixed world.
    """
    return lattice(transform, grid).determinants()


def folding(maps: Determinants, mask: torch.Tensor | None = None) -> dict[str, float]:
    """Numbers that tell whether a map is one to one, and how unevenly it stretches.

    Args:
        maps: from `jacobian_maps`.
        mask: `(*shape)` bool, the voxels that count; all where left out.

    Returns:
        `folding_forward_percent`, `folding_central_percent` and `folding_any_percent`, the share of voxels
        whose determinant is 0 or less by forward differences, by central ones, and by any combination of
        one-sided ones; `min_jacobian`, the smallest of all of those; `sd_log_jacobian` over the voxels whose
        central determinant is positive.
    """
    flat = [values.reshape(-1).numpy() for values in maps]
    inside = None if mask is None else mask.reshape(-1).numpy()

    def work(low: int, high: int) -> tuple:
        part = [v[low:high] for v in flat]
        part = part if inside is None else [v[inside[low:high]] for v in part]
        logs = np.log(part[1][part[1] > 0].astype(np.float64))
        mean = float(logs.mean()) if logs.size else 0.0
        folded = (np.count_nonzero(v <= 0) for v in part)
        return (
            part[0].size,
            *folded,
            part[2].min(initial=np.inf),
            logs.size,
            mean,
            np.square(logs - mean).sum(),
        )

    size, forward, central, least, smallest, number, means, squares = np.array(
        over_blocks(flat[0].size, work)
    ).T
    # the blocks' spreads about their own means, and the spread of those
    about = np.average(means, weights=number) if number.any() else 0.0
    spread = (squares.sum() + (number * np.square(means - about)).sum()) / max(number.sum(), 1)
    return {
        "folding_forward_percent": 100.0 * float(forward.sum() / size.sum()),
        "folding_central_percent": 100.0 * float(central.sum() / size.sum()),
        "folding_any_percent": 100.0 * float(least.sum() / size.sum()),
        "min_jacobian": float(smallest.min()),
        "sd_log_jacobian": float(np.sqrt(spread)),
    }
