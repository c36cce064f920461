"""A dense displacement field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import DimensionError, TransformError
from coincide.grid import Grid
from coincide.ops.field import inverse
from coincide.ops.sample import sample
from coincide.transforms.base import Transform


@dataclass(frozen=True, eq=False)
class Displacement(Transform):
    """`x ↦ x + u(x)`, fixed-world mm to moving-world mm, `u` linear between the voxels of its own grid.

    Outside the field of view (further than half a voxel past the outermost voxel centres) the displacement is
    zero, and in that last half voxel it is that of the border: what ITK does, so that every tool agrees on every
    point. Fields made by coincide fall to zero at their border.

    Args:
        vectors: `(dim, *grid.shape)` float32 tensor, world mm.
        grid: where the vectors stand; its axes are at right angles, as ITK files need.

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
                f"a displacement field needs vectors of shape {(self.grid.dim, *self.grid.shape)}, "
                f"found {tuple(vectors.shape)}."
            )
        # both extremes are NaN where any vector is, and this makes no array as large as the field
        if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(vectors)):
            raise TransformError("the displacement field holds NaN or infinite vectors.")
        object.__setattr__(self, "vectors", vectors)

    @property
    def dim(self) -> int:
        return self.grid.dim

    def _map(self, points: np.ndarray) -> np.ndarray:
        index = torch.from_numpy(np.ascontiguousarray(self.grid.index(points).T))
        return points + sample(self.vectors, index, outside="zero").numpy().T

    def inverse(self) -> Displacement:
        return Displacement(invert_world(self.vectors, self.grid), self.grid)

    def voxel_vectors(self) -> torch.Tensor:
        """The vectors in voxels along the grid's index axes, `(dim, *shape)`."""
        return to_voxels(self.vectors, self.grid)


def to_voxels(vectors: torch.Tensor, grid: Grid) -> torch.Tensor:
    """World vectors (mm) as index vectors (voxels), both `(dim, *shape)`."""
    return _turn(vectors, grid.inverse_affine[:-1, :-1])


def to_world(vectors: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Index vectors (voxels) as world vectors (mm), both `(dim, *shape)`."""
    return _turn(vectors, grid.affine[:-1, :-1])


def _turn(vectors: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    # spelt out: a matrix product may add in an order that depends on the number of threads
    turned = torch.zeros_like(vectors)
    for out, row in zip(turned, matrix):
        for factor, component in zip(row.tolist(), vectors):
            if factor:
                out.add_(component, alpha=factor)
    return turned


def invert_world(vectors: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The vectors (mm) of the inverse of `x ↦ x + u(x)`, on the same grid."""
    return to_world(inverse(to_voxels(vectors, grid)), grid)
