"""Separable smoothing: Gaussian and box filters."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits


def gaussian_weights(sigma: float, truncate: float = 3.0) -> np.ndarray:
    """Weights of a sampled Gaussian of `sigma` voxels, summing to one, float32; `[1]` where sigma is next to zero."""
    if sigma < 0.05:
        return np.ones(1, np.float32)
    radius = max(1, math.ceil(truncate * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def gaussian(
    image: Tensor, sigma, truncate: float = 3.0, edge: bool = True, out: Tensor | None = None
) -> Tensor:
    """Gaussian filter of `image` `(channel, *shape)`.

    Args:
        image: what to smooth.
        sigma: in voxels, a number or one per axis.
        truncate: where the kernel is cut, in sigmas.
        edge: whether the border value goes on outside (else zeros do, and values near the border fall).
        out: where to put the result, not `image` itself.
    """
    sigmas = np.broadcast_to(np.asarray(sigma, dtype=np.float64), (image.ndim - 1,))
    return fir(image, [gaussian_weights(float(s), truncate) for s in sigmas], edge, out)


def box(image: Tensor, radius: int) -> Tensor:
    """Sum of `image` `(channel, *shape)` over windows of `2·radius + 1` voxels an axis, zeros outside.

    It is its own adjoint.
    """
    ones = np.ones(2 * radius + 1, np.float32)
    return fir(image, [ones] * (image.ndim - 1), edge=False)


def fir(image: Tensor, weights: list[np.ndarray], edge: bool, out: Tensor | None = None) -> Tensor:
    """Correlation of `image` `(channel, *shape)` with an odd-sized kernel per axis."""
    if not fits(image):
        return fir_reference(image, weights, edge)
    out = torch.empty_like(image) if out is None else out
    if image.ndim == 3:
        # a picture is a volume whose middle axis has length one
        weights = [weights[0], np.ones(1, np.float32), weights[1]]
    run(_fir_3d, image.shape[0] * image.shape[1], as_volume(image), *weights, edge, as_volume(out))
    return out


def as_volume(image: Tensor) -> np.ndarray:
    """`(channel, *shape)` as an array `(channel, i, j, k)` that shares memory, with `j = 1` for pictures."""
    array = image.numpy()
    return array if array.ndim == 4 else array[:, :, None, :]


def fir_reference(image: Tensor, weights: list[np.ndarray], edge: bool) -> Tensor:
    """`fir` in plain torch: any device, any floating type, differentiable."""
    for axis, w in enumerate(weights, start=1):
        radius, n = len(w) // 2, image.shape[axis]
        total = torch.zeros_like(image)
        for offset, weight in zip(range(-radius, radius + 1), w.tolist()):
            position = torch.arange(n, device=image.device) + offset
            shifted = image.index_select(axis, position.clamp(0, n - 1))
            if not edge:
                keep = ((position >= 0) & (position < n)).to(image.dtype)
                shifted = shifted * keep.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
            total = total + weight * shifted
        image = total
    return image


# Four taps at a time, so that what is summed so far is read and written seldom: the last of an odd number of pairs is
# given twice, once with weight zero. Shifted rows are views: with `row[k + shift]` the compiler must look out for
# negative indices, and gives up vectors (five times slower).


@kernel
def fir_rows(source, w, edge, target):
    """Filter a plane `(j, k)` along j with an odd number of weights."""
    nj, nk = source.shape
    r = len(w) // 2
    none = np.float32(0)
    for j in range(nj):
        for k in range(nk):
            target[j, k] = w[r] * source[j, k]
        for t in range(1, r + 1, 2):
            s = min(t + 1, r)
            a = w[r - t] if edge or j >= t else none
            b = w[r + t] if edge or j + t < nj else none
            c = w[r - s] if s > t and (edge or j >= s) else none
            d = w[r + s] if s > t and (edge or j + s < nj) else none
            ja, jb, jc, jd = max(j - t, 0), min(j + t, nj - 1), max(j - s, 0), min(j + s, nj - 1)
            for k in range(nk):
                target[j, k] += (a * source[ja, k] + b * source[jb, k]) + (
                    c * source[jc, k] + d * source[jd, k]
                )


@kernel
def fir_columns(source, w, edge, padded, target):
    """Filter a plane `(j, k)` along k; `padded` is a scratch row of at least nk + len(w) - 1."""
    nj, nk = source.shape
    r = len(w) // 2
    for j in range(nj):
        first = source[j, 0] if edge else np.float32(0)
        last = source[j, nk - 1] if edge else np.float32(0)
        for t in range(r):
            padded[t] = first
            padded[r + nk + t] = last
        for k in range(nk):
            padded[r + k] = source[j, k]
            target[j, k] = w[r] * source[j, k]
        for t in range(1, r + 1, 2):
            s = min(t + 1, r)
            on = np.float32(s - t)
            a, b, c, d = w[r - t], w[r + t], on * w[r - s], on * w[r + s]
            pa, pb, pc, pd = padded[r - t :], padded[r + t :], padded[r - s :], padded[r + s :]
            for k in range(nk):
                target[j, k] += (a * pa[k] + b * pb[k]) + (c * pc[k] + d * pd[k])


@kernel
def fir_planes(image, i, w, edge, plane):
    """Plane `i` of a volume filtered along its first axis."""
    ni, nj, nk = image.shape
    r = len(w) // 2
    none = np.float32(0)
    for j in range(nj):
        for k in range(nk):
            plane[j, k] = w[r] * image[i, j, k]
        for t in range(1, r + 1, 2):
            s = min(t + 1, r)
            a = w[r - t] if edge or i >= t else none
            b = w[r + t] if edge or i + t < ni else none
            c = w[r - s] if s > t and (edge or i >= s) else none
            d = w[r + s] if s > t and (edge or i + s < ni) else none
            ia, ib, ic, id_ = max(i - t, 0), min(i + t, ni - 1), max(i - s, 0), min(i + s, ni - 1)
            for k in range(nk):
                plane[j, k] += (a * image[ia, j, k] + b * image[ib, j, k]) + (
                    c * image[ic, j, k] + d * image[id_, j, k]
                )


@kernel
def _fir_3d(low, high, image, wi, wj, wk, edge, out):
    _, ni, nj, nk = image.shape
    a, b = np.empty((nj, nk), np.float32), np.empty((nj, nk), np.float32)
    padded = np.empty(nk + len(wk), np.float32)
    for p in range(low, high):
        c, i = p // ni, p % ni
        fir_planes(image[c], i, wi, edge, a)
        fir_rows(a, wj, edge, b)
        fir_columns(b, wk, edge, padded, out[c, i])
