"""Distances from a boundary, with the sign of the side, between voxels."""

from __future__ import annotations

import numpy as np

from coincide.features.surface import Levels, Surface
from coincide.grid import Grid

_NEAR = 2.0
"""Distances up to so many distances between a surface's points are taken along its normals."""


def distances(surface: Surface, grid: Grid, levels: Levels | None = None) -> np.ndarray:
    """How far the voxels of `grid` lie from a surface, mm, `(*grid.shape)`.

    Args:
        surface: with one point or more.
        grid: in the same world.
        levels: says which side is which: distances inside are positive then, outside negative.
    """
    from scipy.spatial import KDTree

    world = grid.points().reshape(-1, grid.dim)
    apart, nearest = KDTree(surface.points).query(world)
    across = np.abs(np.einsum("na,na->n", world - surface.points[nearest], surface.normals[nearest]))
    gap = float(surface.areas.sum() / len(surface)) ** (1 / max(grid.dim - 1, 1))
    # next to the surface the nearest of its points lies aside, and only what lies across counts
    near = (apart < _NEAR * gap) & np.any(surface.normals, axis=1)[nearest]
    found = np.where(near, across, apart)
    if levels is not None:
        found = np.where(levels.inside(world), found, -found)
    return found.reshape(grid.shape)
