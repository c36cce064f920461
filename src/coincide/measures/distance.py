"""Distances in mm: between the surfaces of labels, and between landmarks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from coincide.errors import DimensionError
from coincide.grid import Grid
from coincide.measures.overlap import matching, present
from coincide.ops._parallel import get_threads
from coincide.points import Points, matched
from coincide.transforms.base import Transform


class SurfaceDistance(NamedTuple):
    """How far apart two surfaces are, mm.

    Args:
        hd95: the larger of the two directed 95th percentiles of the distances from one surface to the other.
        assd: mean of the distances from both surfaces' points to the other surface.
        hd: Hausdorff distance, the largest of them.
    """

    hd95: float
    assd: float
    hd: float


def surface_distances(
    fixed: np.ndarray, moved: np.ndarray, grid: Grid, labels=None
) -> dict[int, SurfaceDistance | None]:
    """Distances between the surfaces of each label in two maps.

    A surface is the set of voxels of the label with a neighbour across a face that is not of it (or with the
    end of the grid there), taken as points in world mm; so oblique and sheared grids are measured rightly.

    Args:
        fixed: integer label map.
        moved: integer label map on the same grid.
        grid: where the voxels lie.
        labels: which labels to score; where left out, those present in both maps.

    Returns:
        For each label its distances, or None where one map lacks it.

    Raises:
        LabelError: the maps differ in shape, or do not hold integers.
        DimensionError: the maps do not lie on the grid.
    """
    fixed, moved = matching(fixed, moved)
    if fixed.shape != grid.shape:
        raise DimensionError(f"label maps of shape {fixed.shape} do not lie on a grid of {grid.shape}.")
    if labels is None:
        labels = np.intersect1d(present(fixed), present(moved))
    ours, theirs = _Surfaces(fixed), _Surfaces(moved)

    def between(label: int) -> SurfaceDistance | None:
        return _between(ours.of(label), theirs.of(label), grid)

    names = [int(label) for label in labels]
    with ThreadPoolExecutor(get_threads()) as pool:
        return dict(zip(names, pool.map(between, names)))


def target_registration_error(
    fixed: Points, moving: Points, transform: Transform | None = None
) -> np.ndarray:
    """Distance of each landmark, carried from the fixed into the moving world, from its partner, mm, `(number,)`.

    Args:
        fixed: landmarks in fixed-world mm.
        moving: the same landmarks in moving-world mm; they correspond as `points.matched` tells.
        transform: fixed-world mm → moving-world mm; the identity where left out.

    Raises:
        PointsError: the two sets cannot be paired.
    """
    fixed, moving = matched(fixed, moving)
    carried = fixed.world if transform is None else transform(fixed.world)
    return np.linalg.norm(carried - moving.world, axis=1)


class _Surfaces:
    """Flat indices of the border voxels of every label, sorted by label."""

    def __init__(self, labels: np.ndarray) -> None:
        self.shape = labels.shape
        index = np.flatnonzero(_borders(labels))
        values = labels.ravel()[index]
        order = np.argsort(values, kind="stable")
        self.index, self.values = index[order], values[order]

    def of(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Flat and multi-axis `(number, dim)` indices of a label's border voxels."""
        low, high = (np.searchsorted(self.values, label, side) for side in ("left", "right"))
        flat = self.index[low:high]
        return flat, np.stack(np.unravel_index(flat, self.shape), axis=1)


def _borders(labels: np.ndarray) -> np.ndarray:
    border = np.zeros(labels.shape, dtype=bool)
    for axis in range(labels.ndim):
        along, edge = np.moveaxis(labels, axis, 0), np.moveaxis(border, axis, 0)
        differs = along[1:] != along[:-1]
        edge[1:] |= differs
        edge[:-1] |= differs
        edge[0] = edge[-1] = True
    border &= labels != 0
    return border


def _between(one: tuple, other: tuple, grid: Grid) -> SurfaceDistance | None:
    if not (len(one[0]) and len(other[0])):
        return None
    there, back = _directed(one, other, grid), _directed(other, one, grid)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    assd = (there.sum() + back.sum()) / (len(there) + len(back))
    return SurfaceDistance(float(hd95), float(assd), float(max(there.max(), back.max())))


def _directed(source: tuple, target: tuple, grid: Grid) -> np.ndarray:
    """Distance of each source point from the nearest target point, mm."""
    from scipy.spatial import KDTree

    distance = np.zeros(len(source[0]))
    apart = ~np.isin(source[0], target[0], assume_unique=True)
    if apart.any():
        tree = KDTree(grid.world(target[1]), balanced_tree=False, compact_nodes=False)
        distance[apart] = tree.query(grid.world(source[1][apart]))[0]
    return distance
