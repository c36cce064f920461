"""A cubic B-spline on a lattice of control points, as ITK defines it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import DimensionError, TransformError
from coincide.grid import Grid
from coincide.ops.jacobian import determinants
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement

FINENESS = 4
"""Samples per control-point distance of the field that stands in for the spline when it is inverted."""


@dataclass(frozen=True, eq=False)
class BSpline(Transform):
    """`x ↦ x + Σ c_k β³(x − k)`, fixed-world mm to moving-world mm.

    The spline is defined where all its `4**dim` control points exist: from the second control point to the
    last but one along every axis. Outside, points stay where they are. Both are what ITK's `BSplineTransform`
    of order 3 does.

    Args:
        coefficients: `(dim, *grid.shape)` float64 tensor, world mm.
        grid: where the control points stand, at least four along every axis.

    Raises:
        DimensionError: coefficients and grid do not fit, or an axis has fewer than four control points.
        TransformError: a coefficient is not finite.
    """

    coefficients: torch.Tensor
    grid: Grid

    def __post_init__(self) -> None:
        coefficients = torch.as_tensor(self.coefficients).to(torch.float64)
        if tuple(coefficients.shape) != (self.grid.dim, *self.grid.shape):
            raise DimensionError(
                f"a B-spline needs coefficients of shape {(self.grid.dim, *self.grid.shape)}, "
                f"found {tuple(coefficients.shape)}."
            )
        if min(self.grid.shape) < 4:
            raise DimensionError(
                f"a cubic B-spline needs at least 4 control points along every axis, found {self.grid.shape}."
            )
        if not bool(torch.isfinite(coefficients).all()):
            raise TransformError("the B-spline holds NaN or infinite coefficients.")
        object.__setattr__(self, "coefficients", coefficients)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.grid.dim

    def _map(self, points: np.ndarray) -> np.ndarray:
        from scipy import ndimage  # here: it takes longer to import than all that every run needs of coincide

        index = self.grid.index(points)
        inside = np.all((index >= 1) & (index <= np.asarray(self.grid.shape) - 2), axis=-1)
        mapped = points.copy()
        for axis, coefficients in enumerate(self.coefficients.numpy()):
            mapped[inside, axis] += ndimage.map_coordinates(
                coefficients, index[inside].T, order=3, mode="mirror", prefilter=False
            )
        return mapped

    def displacement(self, fineness: int = FINENESS) -> Displacement:
        """The spline sampled as a displacement field over the region where it is defined.

        Args:
            fineness: samples per control-point distance.
        """
        affine = self.grid.affine.copy()
        affine[:-1, :-1] /= fineness
        affine[:-1, -1] = self.grid.world(np.ones(self.dim))
        grid = Grid(tuple((n - 3) * fineness + 1 for n in self.grid.shape), affine)
        vectors = self(grid.points()) - grid.points()
        return Displacement(torch.from_numpy(np.moveaxis(vectors, -1, 0)), grid)

    def inverse(self) -> Displacement:
        """The inverse, moving-world mm to fixed-world mm, as a field sampled four times a control point.

        Raises:
            TransformError: the spline folds.
        """
        field = self.displacement()
        least = float(determinants(field.voxel_vectors()).least.min())
        if least <= 0:
            raise TransformError(
                f"the B-spline folds (smallest Jacobian determinant {least:.3g}, expected above 0): it "
                "has no inverse. Register with stronger regularity."
            )
        return field.inverse()
