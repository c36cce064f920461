"""Parts of the brain that keypoints are the middles of: cells around sites that lie evenly in it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from coincide.data.synthesis.structures import LAST, STRUCTURES

_ELLIPSOIDS = np.array([((0, -17, 14), (64, 84, 56)), ((0, -66, -38), (46, 26, 20))], float)
"""Centres and radii (mm) of about what the made-up brains fill: cerebrum and cerebellum."""
_OUTSIDE = ("eye", "lens", "pituitary", "spinal cord")


@lru_cache(maxsize=8)
def sites(number: int) -> np.ndarray:
    """`number` (even) places spread evenly in the brain, `(number, 3)` mm of the head's own world, left half first.

    The right half mirrors the left. Source: Lloyd's rounds, doi:10.1109/TIT.1982.1056489.
    """
    rng = np.random.default_rng(0)
    points = rng.uniform((-70, -110, -65), (0, 75, 75), (30_000, 3))
    depth = [(((points - centre) / radii) ** 2).sum(1) for centre, radii in _ELLIPSOIDS]
    points = points[np.minimum(*depth) < 1]
    found = points[: number // 2].copy()
    for _ in range(40):
        nearest = ((points[:, None] - found) ** 2).sum(2).argmin(1)
        found = np.stack([points[nearest == n].mean(0) for n in range(len(found))])
    return np.concatenate([found, found * (-1, 1, 1)])


def cells(labels: Tensor, world: Tensor, number: int) -> Tensor:
    """The cell of each voxel, from 1; 0 where there is no brain.

    Args:
        labels: `(batch, *shape)` structures of the made-up anatomies.
        world: `(batch, *shape, 3)` mm of the head's own world.
        number: of cells.

    Returns:
        `(batch, *shape)` int64.
    """
    near = torch.as_tensor(sites(number), dtype=world.dtype, device=world.device)
    # |x − s|² less |x|², which is the same for all sites
    apart = near.square().sum(1) - 2 * world @ near.mT
    inside = torch.as_tensor(_brain(), device=labels.device)[labels]
    return torch.where(inside, apart.argmin(-1) + 1, 0)


@lru_cache(maxsize=1)
def _brain() -> np.ndarray:
    """Whether a label is of the brain."""
    table = np.zeros(LAST, bool)
    for name, structure in STRUCTURES.items():
        inside = 20 <= structure.label < 100 and not name.endswith(_OUTSIDE)
        table[structure.label] = inside
    return table
