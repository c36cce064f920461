"""How a transform stretches, shrinks and folds space."""

from __future__ import annotations

import numpy as np
import torch

from coincide.grid import Grid
from coincide.measures.lattice import lattice
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
    forward, central, least = (_inside(m, mask) for m in maps)
    positive = central[central > 0].astype(np.float64)
    return {
        "folding_forward_percent": _percent(forward <= 0),
        "folding_central_percent": _percent(central <= 0),
        "folding_any_percent": _percent(least <= 0),
        "min_jacobian": float(least.min()),
        "sd_log_jacobian": float(np.log(positive).std()) if positive.size else 0.0,
    }


def _inside(values: torch.Tensor, mask: torch.Tensor | None) -> np.ndarray:
    return values.numpy().ravel() if mask is None else values.numpy()[mask.numpy()]


def _percent(flags: np.ndarray) -> float:
    return 100.0 * float(np.count_nonzero(flags)) / flags.size
