"""From a map that bends space to a transform that files hold, that does not fold, and its inverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coincide.grid import Grid
from coincide.ops.field import inverse
from coincide.ops.memory import DEFORMED, require
from coincide.regularity.folding import unfold
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_world
from coincide.transforms.linear import Affine
from coincide.transforms.thin_plate import bending

_MOST = {2: 1_000_000, 3: 2_000_000}
"""Voxels of a field beyond which a finer one costs much and, as such maps are smooth, brings nothing."""


@dataclass(frozen=True, eq=False)
class Fielded:
    """A map as a displacement field.

    Args:
        transform: fixed-world mm → moving-world mm, a linear part after a field.
        inverse: moving-world mm → fixed-world mm.
        mended: voxels of the field that folded and were smoothed until they did not.
    """

    transform: Transform
    inverse: Transform
    mended: int


def fielded(
    bends: Callable[[np.ndarray], np.ndarray], linear: Affine, grid: Grid, least_jacobian: float
) -> Fielded:
    """`bends` sampled on `grid`, smoothed where it folds, with its inverse.

    Args:
        bends: fixed-world mm → moving-world mm, of points `(…, dim)`.
        linear: its linear part, to which it fades beyond the grid.
        grid: of the fixed world, with axes at right angles.
        least_jacobian: the smallest determinant, relative to the linear part, that the result may have.

    Raises:
        TransformError: the linear part is singular.
    """
    return settled(bending(bends, linear, grid), linear, least_jacobian)


def settled(field: Displacement, linear: Affine, least_jacobian: float) -> Fielded:
    """`linear` after a `field`, smoothed where that folds, with its inverse; arguments and errors as in `fielded`."""
    voxels, mended = unfold(field.voxel_vectors(), least_jacobian)
    if mended:
        field = Displacement(to_world(voxels, field.grid), field.grid)
    backward = Displacement(to_world(inverse(voxels), field.grid), field.grid)
    return Fielded(linear @ field, backward @ linear.inverse(), mended)


def field_grid(grid: Grid, spacing: float = 0.0) -> Grid:
    """A grid with axes at right angles over the field of view of `grid`, for a smooth field.

    Args:
        grid: of the fixed image.
        spacing: mm; 0 takes that of `grid`, or a larger one that suffices.

    Raises:
        ResourceError: memory would not suffice for a field as fine as that.
    """
    if spacing:
        fine = grid.orthogonalised(spacing)
        require(
            DEFORMED * fine.size,
            f"a field of {fine.size:,} voxels of {spacing:g} mm",
            "Take a larger spacing, or leave it out.",
        )
        return fine
    largest = (grid.size * grid.voxel_volume / _MOST[grid.dim]) ** (1 / grid.dim)
    return grid.orthogonalised(np.maximum(grid.spacing, largest))
