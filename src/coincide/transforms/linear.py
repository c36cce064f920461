"""Linear transforms: identity, rigid, similarity, affine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.errors import TransformError
from coincide.transforms.base import Transform


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """`x ↦ matrix[:n, :n] x + matrix[:n, n]`, fixed-world mm to moving-world mm.

    Args:
        matrix: `(n+1, n+1)` homogeneous matrix, RAS+ mm on both sides.
        centre: `(n,)` fixed-world point that files name as the centre of rotation; it changes no value.

    Raises:
        TransformError: the matrix is of the wrong size, not finite, or its last row is not `0 … 0 1`.
    """

    matrix: np.ndarray
    centre: np.ndarray | None = None

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
            raise TransformError(
                f"a linear transform needs a finite 3x3 or 4x4 matrix, found {matrix.tolist()}."
            )
        n = matrix.shape[0] - 1
        if np.abs(matrix[n] - np.eye(n + 1)[n]).max() > 1e-9:
            raise TransformError(
                f"the last row of a linear transform must be 0 … 0 1, found {matrix[n].tolist()}."
            )
        centre = np.zeros(n) if self.centre is None else np.array(self.centre, dtype=np.float64)
        matrix.setflags(write=False)
        centre.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "centre", centre)

    @property
    def dim(self) -> int:
        return self.matrix.shape[0] - 1

    def _map(self, points: np.ndarray) -> np.ndarray:
        return np.einsum("...j,ij->...i", points, self.matrix[:-1, :-1]) + self.matrix[:-1, -1]

    def inverse(self) -> Affine:
        determinant = np.linalg.det(self.matrix[:-1, :-1])
        if abs(determinant) < 1e-12:
            raise TransformError(
                f"the matrix is singular (determinant {determinant:.3g}): it has no inverse."
            )
        centre = None if self.centre is None else self._map(self.centre[None])[0]
        return Affine(np.linalg.inv(self.matrix), centre)

    @property
    def determinant(self) -> float:
        """How much the transform scales volumes, with the sign of its handedness."""
        return float(np.linalg.det(self.matrix[:-1, :-1]))


def identity(dim: int) -> Affine:
    """The transform that leaves every point where it is."""
    return Affine(np.eye(dim + 1))


def rotation_matrix(angles_deg) -> np.ndarray:
    """Rotation by `angles_deg`: one angle in 2-D (counter-clockwise); three in 3-D, as Rz·Ry·Rx about the axes."""
    angles = np.deg2rad(np.atleast_1d(np.asarray(angles_deg, dtype=np.float64)))
    if angles.size == 1:
        c, s = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[c, -s], [s, c]])
    cos, sin = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    ry = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    rz = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    return rz @ ry @ rx


def about(linear: np.ndarray, shift, centre) -> Affine:
    """`x ↦ linear (x − centre) + centre + shift`, all in world mm."""
    linear, centre = np.asarray(linear, dtype=np.float64), np.asarray(centre, dtype=np.float64)
    n = len(centre)
    matrix = np.eye(n + 1)
    matrix[:n, :n] = linear
    matrix[:n, n] = centre + np.asarray(shift, dtype=np.float64) - linear @ centre
    return Affine(matrix, centre)


def translation(shift) -> Affine:
    """`x ↦ x + shift`, mm."""
    shift = np.asarray(shift, dtype=np.float64)
    return about(np.eye(len(shift)), shift, np.zeros(len(shift)))


def rigid(angles_deg, shift, centre) -> Affine:
    """Rotation by `angles_deg` about `centre` (mm), then a `shift` (mm); angles as in `rotation_matrix`."""
    return about(rotation_matrix(angles_deg), shift, centre)


def similarity(angles_deg, shift, scale: float, centre) -> Affine:
    """Rotation by `angles_deg` and scaling by `scale` about `centre` (mm), then a `shift` (mm)."""
    return about(scale * rotation_matrix(angles_deg), shift, centre)
