"""A stationary velocity field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from coincide.errors import DimensionError, TransformError
from coincide.grid import Grid
from coincide.ops.field import exponentiate
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_voxels, to_world


@dataclass(frozen=True, eq=False)
class Velocity(Transform):
    """Where a point of the fixed world has flowed after unit time along a velocity `v` that does not change.

    Fixed-world mm to moving-world mm. The flow is computed once, on the field's own grid, by scaling and
    squaring; from then on it is the `displacement`, and behaves like one outside the field of view. Its
    inverse flows back along `−v`.

    Args:
        vectors: `v`, `(dim, *grid.shape)` float32 tensor, world mm per unit time.
        grid: where the vectors stand.

    Raises:
        DimensionError: vectors and grid do not fit.
        TransformError: a vector is not finite.
    """

    vectors: torch.Tensor
    grid: Grid

    def __post_init__(self) -> None:
        vectors = torch.as_tensor(self.vectors).to(torch.float32)
        if tuple(vectors.shape) != (self.grid.dim, *self.grid.shape):
            raise DimensionError(
                f"a velocity field needs vectors of shape {(self.grid.dim, *self.grid.shape)}, "
                f"found {tuple(vectors.shape)}."
            )
        if not bool(torch.isfinite(vectors).all()):
            raise TransformError("the velocity field holds NaN or infinite vectors.")
        object.__setattr__(self, "vectors", vectors)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.grid.dim

    @cached_property
    def displacement(self) -> Displacement:
        """The flow after unit time as a displacement field on the same grid: what files hold."""
        voxels = exponentiate(to_voxels(self.vectors, self.grid))
        return Displacement(to_world(voxels, self.grid), self.grid)

    def _map(self, points: np.ndarray) -> np.ndarray:
        return self.displacement._map(points)

    def inverse(self) -> Velocity:
        """The flow back along `−v`, moving-world mm to fixed-world mm."""
        return Velocity(-self.vectors, self.grid)
