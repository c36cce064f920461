"""Compiled sampling, 2-D and 3-D; what each does is said in `sample.py`."""

from __future__ import annotations

import numpy as np
import torch

from coincide.ops._parallel import kernel, run


def fits(image: torch.Tensor) -> bool:
    """Whether the compiled kernels can take `image`: float32 on the CPU, contiguous, outside autograd."""
    return (
        image.dtype == torch.float32
        and image.device.type == "cpu"
        and image.is_contiguous()
        and not (image.requires_grad and torch.is_grad_enabled())
    )


def run_flat(compiled, image: np.ndarray, index: np.ndarray, outside, out: np.ndarray) -> None:
    """Run a pointwise kernel over blocks of points."""
    blocks = -(-index.shape[1] // BLOCK)
    run(compiled, blocks, image, np.ascontiguousarray(index), outside, out)


BLOCK = 4096


@kernel
def split(x, n):
    """Left neighbour and weight of the right one, for a position clamped to the lattice."""
    # in this order a NaN ends at 0: no index may ever come from one
    x = min(max(0.0, x), n - 1.0)
    i = min(int(x), max(n - 2, 0))
    return i, np.float32(x - i)


@kernel
def _linear_3d(low, high, image, index, zero, out):
    channels, ni, nj, nk = image.shape
    for p in range(low * BLOCK, min(high * BLOCK, index.shape[1])):
        x, y, z = index[0, p], index[1, p], index[2, p]
        out_of = x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5 or z < -0.5 or z > nk - 0.5
        if (zero and out_of) or x != x or y != y or z != z:
            for n in range(channels):
                out[n, p] = 0
            continue
        i, a = split(x, ni)
        j, b = split(y, nj)
        k, c = split(z, nk)
        i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
        for n in range(channels):
            f = image[n]
            v0 = (f[i, j, k] * (1 - c) + f[i, j, k1] * c) * (1 - b) + (
                f[i, j1, k] * (1 - c) + f[i, j1, k1] * c
            ) * b
            v1 = (f[i1, j, k] * (1 - c) + f[i1, j, k1] * c) * (1 - b) + (
                f[i1, j1, k] * (1 - c) + f[i1, j1, k1] * c
            ) * b
            out[n, p] = v0 * (1 - a) + v1 * a


@kernel
def _linear_2d(low, high, image, index, zero, out):
    channels, ni, nj = image.shape
    for p in range(low * BLOCK, min(high * BLOCK, index.shape[1])):
        x, y = index[0, p], index[1, p]
        out_of = x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5
        if (zero and out_of) or x != x or y != y:
            for n in range(channels):
                out[n, p] = 0
            continue
        i, a = split(x, ni)
        j, b = split(y, nj)
        i1, j1 = min(i + 1, ni - 1), min(j + 1, nj - 1)
        for n in range(channels):
            f = image[n]
            out[n, p] = (f[i, j] * (1 - b) + f[i, j1] * b) * (1 - a) + (
                f[i1, j] * (1 - b) + f[i1, j1] * b
            ) * a


@kernel
def cubic_weights(t, w):
    """The four cubic B-spline weights at fraction `t`."""
    w[0] = (1 - t) ** 3 / 6
    w[1] = (4 - 6 * t**2 + 3 * t**3) / 6
    w[2] = (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6
    w[3] = t**3 / 6


@kernel
def _mirror(i, n):
    if n == 1:
        return 0
    i = abs(i) % (2 * n - 2)
    return 2 * n - 2 - i if i >= n else i


@kernel
def _cubic_3d(low, high, image, index, zero, out):
    channels, ni, nj, nk = image.shape
    wi, wj, wk = np.empty(4), np.empty(4), np.empty(4)
    for p in range(low * BLOCK, min(high * BLOCK, index.shape[1])):
        x, y, z = index[0, p], index[1, p], index[2, p]
        out_of = x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5 or z < -0.5 or z > nk - 0.5
        if (zero and out_of) or x != x or y != y or z != z:
            for n in range(channels):
                out[n, p] = 0
            continue
        i, a = split(x, ni)
        j, b = split(y, nj)
        k, c = split(z, nk)
        cubic_weights(a, wi)
        cubic_weights(b, wj)
        cubic_weights(c, wk)
        for n in range(channels):
            total = 0.0
            for di in range(4):
                ii = _mirror(i + di - 1, ni)
                for dj in range(4):
                    jj = _mirror(j + dj - 1, nj)
                    row = 0.0
                    for dk in range(4):
                        row += wk[dk] * image[n, ii, jj, _mirror(k + dk - 1, nk)]
                    total += wi[di] * wj[dj] * row
            out[n, p] = total


@kernel
def _cubic_2d(low, high, image, index, zero, out):
    channels, ni, nj = image.shape
    wi, wj = np.empty(4), np.empty(4)
    for p in range(low * BLOCK, min(high * BLOCK, index.shape[1])):
        x, y = index[0, p], index[1, p]
        out_of = x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5
        if (zero and out_of) or x != x or y != y:
            for n in range(channels):
                out[n, p] = 0
            continue
        i, a = split(x, ni)
        j, b = split(y, nj)
        cubic_weights(a, wi)
        cubic_weights(b, wj)
        for n in range(channels):
            total = 0.0
            for di in range(4):
                ii = _mirror(i + di - 1, ni)
                row = 0.0
                for dj in range(4):
                    row += wj[dj] * image[n, ii, _mirror(j + dj - 1, nj)]
                total += wi[di] * row
            out[n, p] = total


@kernel
def vote(labels, weights, count):
    """The label with the largest summed weight among the first `count`; of equals, the one that came first."""
    best, best_weight = labels[0], -1.0
    for a in range(count):
        total = 0.0
        for b in range(count):
            if labels[b] == labels[a]:
                total += weights[b]
        if total > best_weight + 1e-12:
            best, best_weight = labels[a], total
    return best


@kernel
def _label_3d(low, high, image, index, zero, out):
    channels, ni, nj, nk = image.shape
    labels, weights = np.empty(8, np.int32), np.empty(8)
    for p in range(low * BLOCK, min(high * BLOCK, index.shape[1])):
        x, y, z = index[0, p], index[1, p], index[2, p]
        out_of = x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5 or z < -0.5 or z > nk - 0.5
        if (out_of or x != x or y != y or z != z) and zero >= 0:
            for n in range(channels):
                out[n, p] = zero
            continue
        i, a = split(x, ni)
        j, b = split(y, nj)
        k, c = split(z, nk)
        for n in range(channels):
            count = 0
            for corner in range(8):
                di, dj, dk = corner >> 2, (corner >> 1) & 1, corner & 1
                w = (a if di else 1 - a) * (b if dj else 1 - b) * (c if dk else 1 - c)
                if w > 0:
                    labels[count] = image[n, min(i + di, ni - 1), min(j + dj, nj - 1), min(k + dk, nk - 1)]
                    weights[count] = w
                    count += 1
            out[n, p] = vote(labels, weights, count)


@kernel
def _label_2d(low, high, image, index, zero, out):
    channels, ni, nj = image.shape
    labels, weights = np.empty(4, np.int32), np.empty(4)
    for p in range(low * BLOCK, min(high * BLOCK, index.shape[1])):
        x, y = index[0, p], index[1, p]
        out_of = x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5
        if (out_of or x != x or y != y) and zero >= 0:
            for n in range(channels):
                out[n, p] = zero
            continue
        i, a = split(x, ni)
        j, b = split(y, nj)
        for n in range(channels):
            count = 0
            for corner in range(4):
                di, dj = corner >> 1, corner & 1
                w = (a if di else 1 - a) * (b if dj else 1 - b)
                if w > 0:
                    labels[count] = image[n, min(i + di, ni - 1), min(j + dj, nj - 1)]
                    weights[count] = w
                    count += 1
            out[n, p] = vote(labels, weights, count)


@kernel
def _affine_3d(low, high, image, m, zero, out):
    channels, ni, nj, nk = image.shape
    for u in range(low, high):
        for v in range(out.shape[2]):
            x0 = m[0, 0] * u + m[0, 1] * v + m[0, 3]
            y0 = m[1, 0] * u + m[1, 1] * v + m[1, 3]
            z0 = m[2, 0] * u + m[2, 1] * v + m[2, 3]
            for w in range(out.shape[3]):
                x, y, z = x0 + m[0, 2] * w, y0 + m[1, 2] * w, z0 + m[2, 2] * w
                if zero and (
                    x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5 or z < -0.5 or z > nk - 0.5
                ):
                    for n in range(channels):
                        out[n, u, v, w] = 0
                    continue
                i, a = split(x, ni)
                j, b = split(y, nj)
                k, c = split(z, nk)
                i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
                for n in range(channels):
                    f = image[n]
                    v0 = (f[i, j, k] * (1 - c) + f[i, j, k1] * c) * (1 - b) + (
                        f[i, j1, k] * (1 - c) + f[i, j1, k1] * c
                    ) * b
                    v1 = (f[i1, j, k] * (1 - c) + f[i1, j, k1] * c) * (1 - b) + (
                        f[i1, j1, k] * (1 - c) + f[i1, j1, k1] * c
                    ) * b
                    out[n, u, v, w] = v0 * (1 - a) + v1 * a


@kernel
def _affine_2d(low, high, image, m, zero, out):
    channels, ni, nj = image.shape
    for u in range(low, high):
        for v in range(out.shape[2]):
            x = m[0, 0] * u + m[0, 1] * v + m[0, 2]
            y = m[1, 0] * u + m[1, 1] * v + m[1, 2]
            if zero and (x < -0.5 or x > ni - 0.5 or y < -0.5 or y > nj - 0.5):
                for n in range(channels):
                    out[n, u, v] = 0
                continue
            i, a = split(x, ni)
            j, b = split(y, nj)
            i1, j1 = min(i + 1, ni - 1), min(j + 1, nj - 1)
            for n in range(channels):
                f = image[n]
                out[n, u, v] = (f[i, j] * (1 - b) + f[i, j1] * b) * (1 - a) + (
                    f[i1, j] * (1 - b) + f[i1, j1] * b
                ) * a


POINTWISE = {
    "linear_2d": _linear_2d,
    "linear_3d": _linear_3d,
    "cubic_2d": _cubic_2d,
    "cubic_3d": _cubic_3d,
    "label_2d": _label_2d,
    "label_3d": _label_3d,
}
AFFINE = {2: _affine_2d, 3: _affine_3d}
