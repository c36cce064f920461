"""Sums of radial functions about many centres, and the dense equations their coefficients come from."""

from __future__ import annotations

from typing import Literal

import numpy as np

from coincide.ops._parallel import kernel, run

BLOCK = 256
_NOTHING = 40.0
"""Gaussians past this exponent, 4e-18, add nothing to a sum."""

Kernel = Literal["thin_plate", "gaussian"]


def radial_sum(
    points: np.ndarray, centres: np.ndarray, coefficients: np.ndarray, kind: Kernel, width: float = 1.0
) -> np.ndarray:
    """`Σ_k φ(|p − c_k|) w_k` at every point, bit for bit the same for any number of threads.

    Args:
        points: `p`, `(number, dim)`, 2-D or 3-D; for Gaussians of any number of dimensions.
        centres: `c`, `(centres, dim)`.
        coefficients: `w`, `(centres, columns)`.
        kind: `"thin_plate"`: `r² log r` in 2-D, `−r` in 3-D; `"gaussian"`: `exp(−r² / 2 width²)`.
        width: of the Gaussian, in the unit of the points.

    Returns:
        `(number, columns)` float64.
    """
    places = [np.ascontiguousarray(p, dtype=np.float64) for p in (points, centres)]
    sums = np.zeros((len(points), coefficients.shape[1]))
    blocks = -(-len(points) // BLOCK)
    weights = np.ascontiguousarray(coefficients, dtype=np.float64)
    if blocks and len(centres):
        compiled = _gaussian if kind == "gaussian" else _THIN_PLATE[points.shape[1]]
        shape = (0.5 / width**2,) if kind == "gaussian" else ()
        run(compiled, blocks, *places, weights, *shape, sums)
    return sums


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution of a dense system, by elimination with row pivots.

    LAPACK's own adds in an order that depends on the number of threads; this does not.

    Args:
        matrix: `(n, n)`.
        right: `(n, columns)`.

    Raises:
        numpy.linalg.LinAlgError: the matrix is singular.
    """
    work = np.ascontiguousarray(np.concatenate([matrix, right], axis=1), dtype=np.float64)
    if not _eliminate(work, len(matrix)):
        raise np.linalg.LinAlgError("the matrix is singular")
    return work[:, len(matrix) :]


@kernel
def _thin_plate_2d(low, high, points, centres, weights, out):
    columns = weights.shape[1]
    for p in range(low * BLOCK, min(high * BLOCK, len(points))):
        for k in range(len(centres)):
            x, y = points[p, 0] - centres[k, 0], points[p, 1] - centres[k, 1]
            square = x * x + y * y
            if square > 0.0:
                value = 0.5 * square * np.log(square)
                for c in range(columns):
                    out[p, c] += value * weights[k, c]


@kernel
def _thin_plate_3d(low, high, points, centres, weights, out):
    columns = weights.shape[1]
    for p in range(low * BLOCK, min(high * BLOCK, len(points))):
        for k in range(len(centres)):
            x, y, z = points[p, 0] - centres[k, 0], points[p, 1] - centres[k, 1], points[p, 2] - centres[k, 2]
            value = -np.sqrt(x * x + y * y + z * z)
            for c in range(columns):
                out[p, c] += value * weights[k, c]


@kernel
def _gaussian(low, high, points, centres, weights, factor, out):
    columns, dim = weights.shape[1], points.shape[1]
    for p in range(low * BLOCK, min(high * BLOCK, len(points))):
        for k in range(len(centres)):
            square = 0.0
            for d in range(dim):
                apart = points[p, d] - centres[k, d]
                square += apart * apart
            if square * factor < _NOTHING:
                value = np.exp(-square * factor)
                for c in range(columns):
                    out[p, c] += value * weights[k, c]


@kernel
def _eliminate(work, n):
    """Gauss–Jordan elimination of `work` `(n, n + columns)` in place; whether every pivot was there."""
    columns = work.shape[1]
    largest = np.abs(work[:, :n]).max()
    for i in range(n):
        pivot = i
        for row in range(i + 1, n):
            if abs(work[row, i]) > abs(work[pivot, i]):
                pivot = row
        if not abs(work[pivot, i]) > 1e-14 * largest:
            return False
        for c in range(i, columns):
            work[i, c], work[pivot, c] = work[pivot, c], work[i, c]
        scale = 1.0 / work[i, i]
        for c in range(i, columns):
            work[i, c] *= scale
        for row in range(n):
            factor = work[row, i]
            if row != i and factor != 0.0:
                for c in range(i, columns):
                    work[row, c] -= factor * work[i, c]
    return True


_THIN_PLATE = {2: _thin_plate_2d, 3: _thin_plate_3d}
