"""The thin-plate spline: the smoothest map that carries landmarks onto their partners, or near them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import DimensionError, PointsError, TransformError
from coincide.grid import Grid
from coincide.ops.jacobian import determinants
from coincide.ops.radial import radial_sum, solve
from coincide.transforms.base import Transform
from coincide.transforms.chain import chain
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine

_ORDER = {2: 2, 3: 1}
"""The power of a length by which the kernel grows when all lengths do: `r² log r` in 2-D, `r` in 3-D."""
_SAMPLES = {2: 128, 3: 48}
"""Samples along the longest side of the field that stands in for a spline without a grid of its own."""
_THIN = 1e-4
"""A cloud of landmarks thinner than this share of its length settles no affine part."""


@dataclass(frozen=True, eq=False)
class ThinPlate(Transform):
    """`x ↦ matrix x + Σ_k w_k φ(|x − c_k|)`, fixed-world mm to moving-world mm, everywhere.

    `φ` is `r² log r` in 2-D and `−r` in 3-D, the functions of least bending (Bookstein 1989,
    doi:10.1109/34.24792). Files and the inverse take the spline `sampled` on its `grid`.

    Args:
        centres: `c`, `(number, dim)` fixed-world mm.
        coefficients: `w`, `(number, dim)`, moving-world mm per unit of `φ`.
        matrix: `(dim+1, dim+1)` homogeneous, the linear part.
        grid: of the fixed world, where the spline is sampled when a field must stand in for it; one around the
            centres where left out.

    Raises:
        DimensionError: centres, coefficients and matrix do not fit each other.
        TransformError: a value is not finite.
    """

    centres: np.ndarray
    coefficients: np.ndarray
    matrix: np.ndarray
    grid: Grid | None = None

    def __post_init__(self) -> None:
        centres, coefficients, matrix = (
            np.array(a, dtype=np.float64) for a in (self.centres, self.coefficients, self.matrix)
        )
        dim = matrix.shape[0] - 1
        if (
            centres.ndim != 2
            or centres.shape[1] != dim
            or not len(centres)
            or coefficients.shape != centres.shape
        ):
            raise DimensionError(
                f"a {dim}-D thin-plate spline needs centres and coefficients of shape (number, {dim}), found "
                f"{centres.shape} and {coefficients.shape}."
            )
        if not (np.isfinite(centres).all() and np.isfinite(coefficients).all()):
            raise TransformError("the thin-plate spline holds NaN or infinite values.")
        for name, values in (("centres", centres), ("coefficients", coefficients)):
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        object.__setattr__(self, "matrix", Affine(matrix).matrix)
        object.__setattr__(self, "grid", _around(centres) if self.grid is None else self.grid)

    @property
    def dim(self) -> int:
        return self.matrix.shape[0] - 1

    @property
    def linear(self) -> Affine:
        """The linear part."""
        return Affine(self.matrix)

    def _map(self, points: np.ndarray) -> np.ndarray:
        bent = radial_sum(points, self.centres, self.coefficients, "thin_plate")
        return self.linear._map(points) + bent

    def sampled(self, grid: Grid | None = None) -> Transform:
        """The spline as its linear part after a displacement field: what files hold, and what can be inverted.

        Exact at the voxels of `grid`; round it the bending fades away and leaves the linear part.

        Args:
            grid: of the fixed world, with axes at right angles; the spline's own where left out.

        Raises:
            TransformError: the linear part is singular.
        """
        grid = self.grid if grid is None else grid
        assert grid is not None  # set when the spline was made
        return chain(self.linear, bending(self, self.linear, grid))

    def inverse(self) -> Transform:
        """The inverse, moving-world mm to fixed-world mm, of the `sampled` spline.

        Raises:
            TransformError: the spline folds on its grid, or its linear part is singular.
        """
        assert self.grid is not None
        field = bending(self, self.linear, self.grid)
        least = float(determinants(field.voxel_vectors()).least.min())
        if least <= 0:
            raise TransformError(
                f"the thin-plate spline folds (smallest Jacobian determinant {least:.3g}, expected above 0): it has "
                "no inverse. Fit it with more stiffness, and look for landmarks that are exchanged or misplaced."
            )
        return field.inverse() @ self.linear.inverse()


def bending(transform: Callable[[np.ndarray], np.ndarray], linear: Affine, grid: Grid) -> Displacement:
    """What `transform` does before its `linear` part, as a field on `grid` and on a margin where it fades to zero.

    Args:
        transform: fixed-world mm → moving-world mm, of points `(…, dim)`; defined beyond the grid too.
        linear: its linear part, so that `linear @ bending` is `transform` on the grid.
        grid: with axes at right angles.

    Raises:
        TransformError: the linear part is singular.
    """
    back = linear.inverse()

    def bent(points: np.ndarray) -> np.ndarray:
        return back(transform(points)) - points

    # wide enough that the fading, a slope of at most 1.5 times border over margin, folds nothing
    longest = float(np.linalg.norm(bent(_border(grid)) / grid.spacing.min(), axis=-1).max())
    # (but what bends by more than its size folds anyhow, and must not fill the memory)
    margin = min(int(np.ceil(2.5 * longest)) + 2, max(grid.shape) // 2 + 2)
    wide = grid.cropped([-margin] * grid.dim, np.asarray(grid.shape) + margin)
    vectors = torch.empty((grid.dim, *wide.shape), dtype=torch.float32)
    for plane in range(wide.shape[0]):
        part = wide.cropped([plane] + [0] * (grid.dim - 1), [plane + 1, *wide.shape[1:]])
        vectors[:, plane] = torch.from_numpy(np.moveaxis(bent(part.points())[0], -1, 0))
    for axis, n in enumerate(wide.shape):
        position = torch.arange(n, dtype=torch.float32)
        ramp = (torch.minimum(position, n - 1 - position) / margin).clamp(max=1.0)
        weight = ramp * ramp * (3 - 2 * ramp)
        vectors *= weight.reshape([-1 if a == axis + 1 else 1 for a in range(grid.dim + 1)])
    return Displacement(vectors, wide)


def fit_thin_plate(
    source, target, stiffness: float = 0.0, weights=None, grid: Grid | None = None
) -> ThinPlate:
    """The thin-plate spline through landmarks, or, with some stiffness, near them.

    Args:
        source: `(number, dim)` landmarks, fixed-world mm.
        target: `(number, dim)` their partners, row by row, moving-world mm.
        stiffness: price of bending against missing the landmarks, free of units: 0 passes through every one, about
            0.01 to 0.1 evens out errors of their placement, a large one leaves the affine fit.
        weights: `(number,)`, above 0, how exactly each is to be met (with a stiffness above 0); alike where left out.
        grid: as in `ThinPlate`.

    Raises:
        PointsError: the sets do not fit each other, or hold too few points, or all on a line or in a plane, or two
            at one place (without stiffness).
    """
    frame = _Frame.of(source, stiffness, weights)
    target = _partners(target, frame)
    solved = solve(frame.matrix, np.concatenate([target, np.zeros((frame.dim + 1, frame.dim))]))
    number, dim = len(target), frame.dim
    coefficients = solved[:number] / frame.size ** _ORDER[dim]
    matrix = np.eye(dim + 1)
    matrix[:dim, :dim] = solved[number + 1 :].T / frame.size
    # the spline is the same in any unit of length but for what the logarithm of the unit adds, a shift; so the
    # shift is whatever brings the mean of the landmarks to where the solution has it
    fitted = ThinPlate(frame.source, coefficients, matrix, grid)
    at_landmarks = target - np.einsum("n,na->na", frame.diagonal, solved[:number])
    matrix[:dim, dim] = (at_landmarks - fitted(frame.source)).mean(0)
    return ThinPlate(frame.source, coefficients, matrix, grid)


def left_out(source, target, stiffness: float = 0.0, weights=None) -> np.ndarray:
    """How far each landmark lies from where a spline fitted to all the others puts it, `(number, dim)` mm.

    In closed form (Rippa 1999, doi:10.1023/A:1018975909870); arguments and errors as in `fit_thin_plate`, but for
    one landmark more, as each must do without itself.
    """
    frame = _Frame.of(source, stiffness, weights, spare=1)
    target = _partners(target, frame)
    number = len(target)
    inverse = solve(frame.matrix, np.eye(len(frame.matrix)))[:number, :number]
    alone = np.diag(inverse)
    if np.abs(alone).min() < 1e-12 * np.abs(inverse).max():
        raise PointsError(
            "without one of the landmarks the others do not settle an affine part: they lie on one line (in 3-D: in "
            "one plane). Give more landmarks, spread out in every direction."
        )
    return np.einsum("nm,ma->na", inverse, target) / alone[:, None]


@dataclass(frozen=True, eq=False)
class _Frame:
    """The equations of a spline, in the unit of the landmarks' mean distance from their centre.

    Args:
        source: `(number, dim)` mm.
        size: that distance, mm.
        diagonal: `(number,)`, what the stiffness adds to the kernel's own.
        matrix: `(number + dim + 1,)` squared.
    """

    source: np.ndarray
    size: float
    diagonal: np.ndarray
    matrix: np.ndarray

    @property
    def dim(self) -> int:
        return self.source.shape[1]

    @classmethod
    def of(cls, source, stiffness: float, weights, spare: int = 0) -> _Frame:
        source, weights = _checked(source, stiffness, weights, spare)
        number, dim = source.shape
        apart = source - source.mean(0)
        size = float(np.sqrt((apart**2).sum(1).mean()))
        apart = apart / size
        kernel = radial_sum(apart, apart, np.eye(number), "thin_plate")
        _refuse_twins(apart, stiffness)
        diagonal = stiffness * weights.mean() / weights
        linear = np.concatenate([np.ones((number, 1)), apart], axis=1)
        matrix = np.block([[kernel + np.diag(diagonal), linear], [linear.T, np.zeros((dim + 1, dim + 1))]])
        return cls(source, size, diagonal, matrix)


def _checked(source, stiffness: float, weights, spare: int) -> tuple[np.ndarray, np.ndarray]:
    source = np.asarray(source, dtype=np.float64)
    if source.ndim != 2 or source.shape[1] not in (2, 3) or not np.isfinite(source).all():
        raise PointsError(f"landmarks are finite (number, 2) or (number, 3) positions, found {source.shape}.")
    number, dim = source.shape
    if number < dim + 1 + spare:
        raise PointsError(
            f"{number} landmarks, expected at least {dim + 1 + spare} for a thin-plate spline in {dim}-D. Give more, "
            "or fit a rigid or similarity transform."
        )
    lengths = np.linalg.svd(source - source.mean(0), compute_uv=False)
    if lengths[-1] <= _THIN * lengths[0]:
        shape = "line" if dim == 2 else "plane"
        raise PointsError(
            f"the {number} landmarks lie on one {shape}: they settle no thin-plate spline. Give some off the {shape}, "
            "or fit a rigid or similarity transform."
        )
    if not (np.isfinite(stiffness) and stiffness >= 0):
        raise PointsError(f"the stiffness must be 0 or more, found {stiffness}.")
    weights = np.ones(number) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != (number,) or not np.isfinite(weights).all() or (weights <= 0).any():
        raise PointsError(f"{number} landmarks need as many weights above 0, found shape {weights.shape}.")
    return source, weights


def _partners(target, frame: _Frame) -> np.ndarray:
    target = np.asarray(target, dtype=np.float64)
    if target.shape != frame.source.shape or not np.isfinite(target).all():
        raise PointsError(
            f"landmarks of shape {frame.source.shape} need as many finite partners, found {target.shape}."
        )
    return target


def _refuse_twins(apart: np.ndarray, stiffness: float) -> None:
    """Without stiffness, two landmarks at one place cannot both be met."""
    from scipy.spatial import KDTree

    twins = KDTree(apart).query_pairs(1e-7) if stiffness < 1e-9 else set()
    if twins:
        one, other = min(twins)
        raise PointsError(
            f"landmarks {one + 1} and {other + 1} (of {len(apart)}) lie at one place, so no spline passes through both "
            "partners. Leave one out, or allow some stiffness."
        )


def _around(centres: np.ndarray) -> Grid:
    """A grid over the centres and a quarter of their extent on every side."""
    low, high = centres.min(0), centres.max(0)
    extent = float((high - low).max())
    low, high = low - 0.25 * extent, high + 0.25 * extent
    spacing = max(1.5 * extent, 1e-6) / _SAMPLES[centres.shape[1]]
    return Grid.from_spacing(tuple(np.ceil((high - low) / spacing).astype(int) + 1), spacing, low)


def _border(grid: Grid) -> np.ndarray:
    """World positions of the grid's outermost voxels, mm, `(number, dim)`."""
    faces = []
    for axis in range(grid.dim):
        for end in (0, grid.shape[axis] - 1):
            start, stop = np.zeros(grid.dim, dtype=int), np.array(grid.shape)
            start[axis], stop[axis] = end, end + 1
            faces.append(grid.cropped(start, stop).points().reshape(-1, grid.dim))
    return np.concatenate(faces)
