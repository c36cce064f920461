"""The linear transform that lays one set of points on another best: closed forms, no iteration."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from coincide.errors import PointsError, unknown

Model = Literal["translation", "rigid", "similarity", "affine"]

_THIN = 1e-4
"""A cloud thinner than this share of its length counts as flat: coordinates in files are rounded about so."""


def fewest(model: Model, dim: int) -> int:
    """The fewest pairs of points that settle `model` in `dim` dimensions."""
    return {"translation": 1, "rigid": dim, "similarity": dim, "affine": dim + 1}[model]


def fit_linear(source, target, model: Model = "affine", weights=None) -> np.ndarray:
    """The matrix `M` of `model` with the least `Σ wᵢ |targetᵢ − M sourceᵢ|²`, in closed form.

    Rigid and similarity never reflect (Umeyama 1991, doi:10.1109/34.88573); an affine one may.

    Args:
        source: `(number, dim)` points, mm; of the fixed world where the result is to be a `Transform`.
        target: `(number, dim)` their partners, row by row, mm; of the moving world likewise.
        model: `"translation"`, `"rigid"`, `"similarity"` or `"affine"`.
        weights: `(number,)`, 0 or more; a point of weight 0 does not count. All alike where left out.

    Returns:
        `(dim+1, dim+1)` homogeneous matrix, source mm → target mm.

    Raises:
        PointsError: the sets do not fit each other, or hold too few points or too degenerate ones (all in one
            place, on a line, in a plane) to settle the model.
        OptionError: an unknown model.
    """
    if model not in get_args(Model):
        raise unknown("model", str(model), get_args(Model))
    source, target, weights = _checked(source, target, weights, model)
    dim = source.shape[1]
    # einsum, not a matrix product: BLAS adds in an order that depends on the number of threads
    middle, goal = (np.einsum("n,na->a", weights, points) for points in (source, target))
    apart, wanted = source - middle, target - goal
    matrix = np.eye(dim + 1)
    if model == "affine":
        matrix[:dim, :dim] = _stretch(apart, wanted, weights)
    elif model != "translation":
        matrix[:dim, :dim] = _turn(apart, wanted, weights, model == "similarity")
    matrix[:dim, dim] = goal - np.einsum("ij,j->i", matrix[:dim, :dim], middle)
    return matrix


def _checked(source, target, weights, model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sets in float64 without the points of weight 0, and weights that add up to 1."""
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if source.ndim != 2 or source.shape != target.shape or source.shape[1] not in (2, 3):
        raise PointsError(
            f"a fit needs two sets of (number, 2) or (number, 3) points that correspond row by row, found shapes "
            f"{source.shape} and {target.shape}."
        )
    weights = np.ones(len(source)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != source.shape[:1] or not np.isfinite(weights).all() or (weights < 0).any():
        raise PointsError(
            f"a fit of {len(source)} points needs as many weights, finite and 0 or more, found shape {weights.shape}."
        )
    counted = weights > 0
    source, target, weights = source[counted], target[counted], weights[counted]
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise PointsError("the points of a fit hold NaN or infinite coordinates. Leave those points out.")
    needed = fewest(model, source.shape[1])
    if len(source) < needed:
        raise PointsError(
            f"{len(source)} pairs of points (of weight above 0), expected at least {needed} for a {model} fit in "
            f"{source.shape[1]}-D. Give more points, or fit a simpler model."
        )
    return source, target, weights / weights.sum()


def _turn(apart: np.ndarray, wanted: np.ndarray, weights: np.ndarray, scaled: bool) -> np.ndarray:
    """The rotation, times the scale where `scaled`, between sets of points about their centres."""
    spreads = [np.einsum("n,na,na->", weights, points, points) for points in (apart, wanted)]
    u, lengths, vt = np.linalg.svd(np.einsum("n,na,nb->ab", weights, wanted, apart))
    signs = np.ones(len(lengths))
    signs[-1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    # the rotation is the only best one where this is above 0
    if lengths[-2] + signs[-1] * lengths[-1] <= _THIN**2 * np.sqrt(spreads[0] * spreads[1]):
        shape = "in one place" if apart.shape[1] == 2 else "in one place or on one line"
        raise PointsError(
            f"the {len(apart)} points do not settle a rotation: those of one set lie {shape}, or the two sets do not "
            "resemble each other. Give points that are spread out and correspond, or fit a translation."
        )
    rotation = np.einsum("ik,k,kj->ij", u, signs, vt)
    return rotation * (signs @ lengths / spreads[0]) if scaled else rotation


def _stretch(apart: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The matrix between sets of points about their centres, by least squares."""
    values, axes = np.linalg.eigh(np.einsum("n,na,nb->ab", weights, apart, apart))
    if values[0] <= _THIN**2 * values[-1]:
        shape = "line" if apart.shape[1] == 2 else "plane"
        raise PointsError(
            f"the {len(apart)} points do not settle an affine fit: they lie on one {shape} (or in one place). Give "
            "points that are spread out in every direction, or fit a rigid or similarity model."
        )
    crossed = np.einsum("n,na,nb->ab", weights, wanted, apart)
    return np.einsum("ab,bk,k,ck->ac", crossed, axes, 1 / values, axes)
