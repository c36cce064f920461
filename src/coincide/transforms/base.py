"""What a transform is: a map from fixed world millimetres to moving world millimetres."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from coincide.errors import DimensionError


class Transform(ABC):
    """A map from points of the fixed world to points of the moving world, in mm.

    That is the direction resampling needs: the value of the warped image at a fixed point is the value of the
    moving image at the mapped point. Carrying *points* from the moving image to the fixed one takes the inverse.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""

    @abstractmethod
    def _map(self, points: np.ndarray) -> np.ndarray:
        """Map float64 `(number, dim)` fixed-world mm to moving-world mm."""

    @abstractmethod
    def inverse(self) -> Transform:
        """The map from moving-world mm to fixed-world mm.

        Raises:
            TransformError: there is none (a singular matrix, a folded field).
        """

    def __call__(self, points) -> np.ndarray:
        """Map `points`, `(..., dim)` fixed-world mm, to moving-world mm of the same shape, in float64.

        Raises:
            DimensionError: the points have another number of coordinates than the transform.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.shape[-1:] != (self.dim,):
            raise DimensionError(
                f"a {self.dim}-D transform maps points of shape (..., {self.dim}), found {points.shape}."
            )
        return self._map(points.reshape(-1, self.dim)).reshape(points.shape)

    def parts(self) -> tuple[Transform, ...]:
        """The elementary transforms whose composition this is, outermost (applied last) first."""
        return (self,)

    def __matmul__(self, other: Transform) -> Transform:
        """The composition: `(a @ b)(x) == a(b(x))`."""
        from coincide.transforms.chain import chain

        return chain(self, other)
