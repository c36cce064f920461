"""Weighted sums over two images, and the maps that are linear in them: what MSE and NCC are made of.

Everything here is pointwise, so images are seen as flat arrays, cut into blocks of fixed size. Partial sums
are kept for each block and added in the blocks' order: one result, bit for bit, on any number of threads.
A loop that sums must not write as well: whether such a loop runs as vectors, and so the order of its sum, is
decided anew each time, by where the arrays happen to lie in memory.
"""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel, run

BLOCK = 65536
_CHUNK = 2048


def blocks(voxels: int) -> int:
    """Number of blocks that `voxels` voxels are cut into."""
    return max(1, -(-voxels // BLOCK))


def total(weights: np.ndarray) -> float:
    """Sum of the weights `(N)`, in float64 and in a fixed order."""
    return float(np.sum(weights, dtype=np.float64))


def moments(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Σw, Σwa, Σwb, Σwaa, Σwbb, Σwab of two flat float32 images `(N)`, in float64."""
    partial = np.empty((blocks(a.size), 6))
    run(_moments_kernel, len(partial), a, b, weights, partial)
    return tuple(float(x) for x in partial.sum(axis=0))


def linear_map(
    a, b, weights, factors: tuple[float, float, float], scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """`w·(p·a + q·b + r)` for `factors = (p, q, r)`, and `scale·w`; float32 arrays `(N)`."""
    mapped, scaled = np.empty_like(a), np.empty_like(a)
    run(_linear_map_kernel, blocks(a.size), a, b, weights, *factors, scale, mapped, scaled)
    return mapped, scaled


def squared_difference(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Σ w (a − b)² over float32 images `(C, N)` and weights `(N)`, in float64."""
    partial = np.empty(blocks(weights.size))
    run(_square_kernel, len(partial), a, b, weights, partial)
    return float(partial.sum())


def squared_difference_gradient(a, b, weights, scale: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Σ w (a − b)² as in `squared_difference`; `scale·w·(a − b)`, `(C, N)`; `scale·w`, `(N)`."""
    partial = np.empty(blocks(weights.size))
    gradient, scaled = np.empty_like(a), np.empty_like(weights)
    run(_square_gradient_kernel, len(partial), a, b, weights, np.float32(scale), gradient, scaled, partial)
    return float(partial.sum()), gradient, scaled


@kernel
def _moments_kernel(low, high, a, b, weights, out):
    for block in range(low, high):
        s0 = s1 = s2 = s3 = s4 = s5 = 0.0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, a.size)):
            x, y, w = np.float64(a[i]), np.float64(b[i]), np.float64(weights[i])
            wx, wy = w * x, w * y
            s0 += w
            s1 += wx
            s2 += wy
            s3 += wx * x
            s4 += wy * y
            s5 += wx * y
        out[block, 0], out[block, 1], out[block, 2] = s0, s1, s2
        out[block, 3], out[block, 4], out[block, 5] = s3, s4, s5


@kernel
def _linear_map_kernel(low, high, a, b, weights, p, q, r, scale, mapped, scaled):
    for i in range(low * BLOCK, min(high * BLOCK, a.size)):
        w = np.float64(weights[i])
        mapped[i] = w * (p * a[i] + q * b[i] + r)
        scaled[i] = w * scale


@kernel
def _square_kernel(low, high, a, b, weights, out):
    for block in range(low, high):
        sum_ = 0.0
        for c in range(a.shape[0]):
            for i in range(block * BLOCK, min((block + 1) * BLOCK, weights.size)):
                d = a[c, i] - b[c, i]
                sum_ += np.float64(weights[i] * d * d)
        out[block] = sum_


@kernel
def _square_gradient_kernel(low, high, a, b, weights, scale, gradient, scaled, out):
    for block in range(low, high):
        sum_ = 0.0
        end = min((block + 1) * BLOCK, weights.size)
        for first in range(block * BLOCK, end, _CHUNK):
            last = min(first + _CHUNK, end)
            for i in range(first, last):
                scaled[i] = weights[i] * scale
            for c in range(a.shape[0]):
                for i in range(first, last):
                    d = a[c, i] - b[c, i]
                    sum_ += np.float64(weights[i] * d * d)
                for i in range(first, last):
                    gradient[c, i] = scaled[i] * (a[c, i] - b[c, i])
        out[block] = sum_
