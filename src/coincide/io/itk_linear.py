"""ITK's linear transforms: from their parameters to a matrix, LPS mm."""

# ruff: noqa: ARG001 - the functions of the table below share one signature

from __future__ import annotations

import numpy as np

from coincide.errors import TransformError
from coincide.transforms.linear import Affine


def linear(kind: str, parameters: np.ndarray, fixed: np.ndarray, dim: int) -> Affine | None:
    """The linear transform ITK calls `kind`, RAS+ mm; None if that is no linear transform.

    Args:
        kind: the class's name, as `"AffineTransform"`.
        parameters: ITK's parameters, LPS mm.
        fixed: ITK's fixed parameters: the centre of rotation, where there is one, LPS mm.
        dim: 2 or 3.

    Raises:
        TransformError: the wrong number of parameters.
    """
    if kind not in KINDS:
        return None
    try:
        matrix, shift, centre = KINDS[kind](parameters, fixed, dim)
        return from_lps(matrix, shift, np.zeros(dim) if centre is None else centre)
    except (ValueError, IndexError) as error:
        raise TransformError(
            f"{kind} in {dim}-D with {len(parameters)} parameters and {len(fixed)} fixed ones cannot be "
            f"right ({error})."
        ) from error


def from_lps(matrix: np.ndarray, shift: np.ndarray, centre: np.ndarray) -> Affine:
    """`x ↦ matrix (x − centre) + centre + shift` in LPS mm as an `Affine` in RAS+ mm."""
    dim = len(shift)
    turn = lps_turn(dim)
    out = np.eye(dim + 1)
    out[:dim, :dim] = turn[:, None] * matrix * turn
    out[:dim, dim] = turn * (shift + centre - matrix @ centre)
    return Affine(out, turn * centre)


def to_lps(affine: Affine) -> tuple[np.ndarray, np.ndarray]:
    """The parameters (matrix by rows, translation) and fixed ones (centre) of ITK's `AffineTransform`."""
    dim = affine.dim
    turn = lps_turn(dim)
    matrix = turn[:, None] * affine.matrix[:dim, :dim] * turn
    centre = turn * affine.centre
    shift = turn * affine.matrix[:dim, dim] - centre + matrix @ centre
    return np.concatenate([matrix.ravel(), shift]), centre


def lps_turn(dim: int) -> np.ndarray:
    """The signs that turn RAS+ into LPS and back: x and y change, z, where there is one, stays."""
    return np.array([-1.0, -1.0, 1.0])[:dim]


def _centre(fixed: np.ndarray, dim: int) -> np.ndarray | None:
    return fixed[:dim] if len(fixed) >= dim else None


def _matrix(p, fixed, dim):
    return p[: dim * dim].reshape(dim, dim), _exactly(p, dim * dim + dim)[dim * dim :], _centre(fixed, dim)


def _centred_matrix(p, fixed, dim):
    n = dim * dim
    return p[:n].reshape(dim, dim), _exactly(p, n + 2 * dim)[n + dim :], p[n : n + dim]


def _translation(p, fixed, dim):
    return np.eye(dim), _exactly(p, dim), None


def _identity(p, fixed, dim):
    return np.eye(dim), np.zeros(dim), None


def _scale(p, fixed, dim):
    return np.diag(_exactly(p, dim)), np.zeros(dim), _centre(fixed, dim)


def _log_scale(p, fixed, dim):
    return np.diag(np.exp(_exactly(p, dim))), np.zeros(dim), _centre(fixed, dim)


def _euler_2d(p, fixed, dim):
    return _turn_2d(p[0]), _exactly(p, 3)[1:], _centre(fixed, dim)


def _centred_euler_2d(p, fixed, dim):
    return _turn_2d(p[0]), _exactly(p, 5)[3:], p[1:3]


def _similarity_2d(p, fixed, dim):
    return p[0] * _turn_2d(p[1]), _exactly(p, 4)[2:], _centre(fixed, dim)


def _centred_similarity_2d(p, fixed, dim):
    return p[0] * _turn_2d(p[1]), _exactly(p, 6)[4:], p[2:4]


def _euler_3d(p, fixed, dim):
    zyx = len(fixed) > 3 and bool(fixed[3])
    return _turn_3d(p[:3], zyx), _exactly(p, 6)[3:], _centre(fixed, dim)


def _centred_euler_3d(p, fixed, dim):
    zyx = len(fixed) > 0 and bool(fixed[-1])
    return _turn_3d(p[:3], zyx), _exactly(p, 9)[6:], p[3:6]


def _versor_only(p, fixed, dim):
    return _versor(_exactly(p, 3)), np.zeros(3), _centre(fixed, dim)


def _versor_rigid(p, fixed, dim):
    return _versor(p[:3]), _exactly(p, 6)[3:], _centre(fixed, dim)


def _similarity_3d(p, fixed, dim):
    return p[6] * _versor(p[:3]), _exactly(p, 7)[3:6], _centre(fixed, dim)


def _scale_versor(p, fixed, dim):
    # ITK adds the scales, less one, to the rotation's diagonal: no product of the two
    return _versor(p[:3]) + np.diag(_exactly(p, 9)[6:] - 1), p[3:6], _centre(fixed, dim)


def _scale_skew_versor(p, fixed, dim):
    skew = np.zeros((3, 3))
    skew[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] = _exactly(p, 15)[9:]
    return _versor(p[:3]) + np.diag(p[6:9] - 1) + skew, p[3:6], _centre(fixed, dim)


def _quaternion_rigid(p, fixed, dim):
    return _rotation(p[:4] / np.linalg.norm(p[:4])), _exactly(p, 7)[4:], _centre(fixed, dim)


def _exactly(p: np.ndarray, number: int) -> np.ndarray:
    if len(p) != number:
        raise ValueError(f"expected {number} parameters")
    return p


def _turn_2d(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _turn_3d(angles: np.ndarray, zyx: bool) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x if zyx else about_z @ about_x @ about_y


def _versor(xyz: np.ndarray) -> np.ndarray:
    squared = float(xyz @ xyz)
    # rounding may have carried a half turn's axis past unit length
    xyz = xyz / np.sqrt(squared) if squared > 1 else xyz
    return _rotation(np.append(xyz, np.sqrt(max(0.0, 1 - float(xyz @ xyz)))))


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """The rotation of a unit quaternion `(x, y, z, w)`."""
    x, y, z, w = quaternion
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * skew + 2 * skew @ skew


KINDS = {
    "AffineTransform": _matrix,
    "CenteredAffineTransform": _centred_matrix,
    "CenteredEuler3DTransform": _centred_euler_3d,
    "CenteredRigid2DTransform": _centred_euler_2d,
    "CenteredSimilarity2DTransform": _centred_similarity_2d,
    "Euler2DTransform": _euler_2d,
    "Euler3DTransform": _euler_3d,
    "FixedCenterOfRotationAffineTransform": _matrix,
    "IdentityTransform": _identity,
    "MatrixOffsetTransformBase": _matrix,
    "QuaternionRigidTransform": _quaternion_rigid,
    "Rigid2DTransform": _euler_2d,
    "ScaleLogarithmicTransform": _log_scale,
    "ScaleSkewVersor3DTransform": _scale_skew_versor,
    "ScaleTransform": _scale,
    "ScaleVersor3DTransform": _scale_versor,
    "Similarity2DTransform": _similarity_2d,
    "Similarity3DTransform": _similarity_3d,
    "TranslationTransform": _translation,
    "VersorRigid3DTransform": _versor_rigid,
    "VersorTransform": _versor_only,
}
"""ITK's linear classes: how each makes a matrix, a translation and a centre of its parameters."""
