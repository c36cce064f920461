"""Pairs as tensors that batch."""

from __future__ import annotations

import torch
from torch import Tensor

from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.linear import identity
from coincide.transforms.resample import positions


def tensors(pair: Pair, truth: Transform | None) -> dict[str, Tensor]:
    """What is known of a pair.

    Returns:
        `fixed`, `moving`: `(channel, *shape)` float32. `fixed_labels`, `moving_labels`: `(1, *shape)` int64.
        `fixed_points`, `moving_points`: `(number, dim)` float32, world mm. `displacement`: `(dim, *shape)` float32, mm,
        the truth less the place itself at every voxel of the fixed image. Those only that are known.
    """
    found = {"fixed": pair.fixed.data, "moving": pair.moving.data}
    for name in ("fixed_labels", "moving_labels"):
        labels = getattr(pair, name)
        if labels is not None:
            found[name] = labels.data.long()
    if pair.landmarks is not None:
        for role, points in zip(("fixed_points", "moving_points"), pair.landmarks):
            found[role] = torch.tensor(points.world, dtype=torch.float32)
    if truth is not None:
        grid = pair.fixed.grid
        here, there = (positions(way, grid, 0, grid.shape[0]) for way in (identity(grid.dim), truth))
        found["displacement"] = (there - here).to(torch.float32)
    return found
