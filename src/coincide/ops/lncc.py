"""Local normalised cross-correlation and its exact gradient.

With window sums over the mask, `A` the local covariance, `B` and `C` the local variances of the fixed and the
warped image, the value is minus the mean over the mask of `B/(B + ε) · (A + ε)² / ((B + ε)(C + ε))`: the squared
correlation of the two images as if both carried one more common signal of variance ε, times a weight of the
fixed image alone. The ε keeps air and flat tissue quiet, and the gradient finite; and as the second factor is at
most 1, and is 1 where the images agree, nothing is better than the fixed image itself. (Without the ε beside `A`,
windows of weak contrast ask for more of it, and at the right answer the gradient does not vanish.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits
from coincide.ops.moments import total
from coincide.ops.smooth import as_volume, box, fir_columns, fir_planes, fir_rows


@dataclass(frozen=True)
class Windows:
    """What depends on the fixed image alone: image, mask, and window count, mean and variance, all `(1, *shape)`."""

    fixed: Tensor
    mask: Tensor
    count: Tensor
    mean: Tensor
    variance: Tensor
    radius: int
    epsilon: float
    total: float


def windows(fixed: Tensor, mask: Tensor | None, radius: int, epsilon: float) -> Windows:
    """Window statistics of `fixed` `(1, *shape)` over `mask` `(*shape)`, bool or weights; None counts every voxel."""
    fixed = fixed.contiguous()
    weight = torch.ones_like(fixed) if mask is None else mask.to(fixed.dtype)[None].contiguous()
    count = box(weight, radius)
    safe = count.clamp(min=1e-6)
    mean = box(fixed * weight, radius) / safe
    variance = (box(fixed * fixed * weight, radius) / safe - mean * mean).clamp(min=0)
    # torch adds in another order on another number of threads
    number = total(weight.cpu().numpy().ravel())
    return Windows(fixed, weight, count, mean, variance, radius, epsilon, max(number, 1.0))


def lncc_reference(warped: Tensor, w: Windows) -> Tensor:
    """The value as a differentiable scalar, in plain torch; `warped` `(1, *shape)`."""
    safe = w.count.clamp(min=1e-6)
    mean = box(warped * w.mask, w.radius) / safe
    variance = (box(warped * warped * w.mask, w.radius) / safe - mean * mean).clamp(min=0)
    covariance = box(w.fixed * warped * w.mask, w.radius) / safe - w.mean * mean + w.epsilon
    squared = w.variance * covariance**2 / ((w.variance + w.epsilon) ** 2 * (variance + w.epsilon))
    return -(squared * w.mask).sum() / w.total


def lncc(warped: Tensor, w: Windows, gradient: bool = True) -> tuple[float, Tensor | None, Tensor | None]:
    """Value, gradient and curvature of minus the mean squared local correlation.

    Args:
        warped: `(1, *shape)`.
        w: the fixed image's `windows`.
        gradient: leave out to get the value alone.

    Returns:
        The value, `dvalue/dwarped` `(1, *shape)`, and a non-negative curvature `(1, *shape)`: the second derivative
        of the local least-squares fit, as Gauss–Newton needs.
    """
    if not (fits(warped) and fits(w.fixed)):
        return _lncc_autograd(warped, w, gradient)
    planes = warped.shape[1]
    p, q, r = (torch.empty_like(warped) for _ in range(3))
    sums = np.zeros(planes)
    arrays = [as_volume(x)[0] for x in (w.fixed, warped, w.mask, w.count, w.mean, w.variance)]
    run(_coefficients, planes, *arrays, w.radius, w.epsilon, *(as_volume(x)[0] for x in (p, q, r)), sums)
    value = -float(sums.sum()) / w.total
    if not gradient:
        return value, None, None
    slope, curvature = torch.empty_like(warped), torch.empty_like(warped)
    run(
        _slope,
        planes,
        *arrays[:3],
        *(as_volume(x)[0] for x in (p, q, r)),
        w.radius,
        1.0 / w.total,
        as_volume(slope)[0],
        as_volume(curvature)[0],
    )
    return value, slope, curvature


def _lncc_autograd(warped: Tensor, w: Windows, gradient: bool):
    leaf = warped.detach().requires_grad_(gradient)
    value = lncc_reference(leaf, w)
    if not gradient:
        return float(value.detach()), None, None
    (slope,) = torch.autograd.grad(value, leaf)
    with torch.no_grad():
        safe = w.count.clamp(min=1e-6)
        mean = box(warped * w.mask, w.radius) / safe
        variance = (box(warped * warped * w.mask, w.radius) / safe - mean * mean).clamp(min=0) + w.epsilon
        covariance = box(w.fixed * warped * w.mask, w.radius) / safe - w.mean * mean + w.epsilon
        q = 2 * w.variance * covariance**2 / ((w.variance + w.epsilon) ** 2 * variance**2) * w.mask / safe
        curvature = box(q, w.radius) * w.mask / w.total
    return float(value.detach()), slope, curvature


@kernel
def _coefficients(low, high, fixed, warped, mask, count, mean, variance, radius, epsilon, p, q, r, sums):
    ni, nj, nk = fixed.shape
    ones = np.ones(2 * radius + 1, np.float32)
    s = np.empty((3, nj, nk), np.float32)
    t = np.empty((nj, nk), np.float32)
    padded = np.empty(nk + 2 * radius + 1, np.float32)
    eps = np.float32(epsilon)
    for i in range(low, high):
        for n in range(3):
            for j in range(nj):
                for k in range(nk):
                    s[n, j, k] = 0
        for ii in range(max(i - radius, 0), min(i + radius + 1, ni)):
            for j in range(nj):
                f_row, w_row, m_row = fixed[ii, j], warped[ii, j], mask[ii, j]
                s0, s1, s2 = s[0, j], s[1, j], s[2, j]
                for k in range(nk):
                    wm = w_row[k] * m_row[k]
                    s0[k] += wm
                    s1[k] += wm * w_row[k]
                    s2[k] += wm * f_row[k]
        for n in range(3):
            fir_rows(s[n], ones, False, t)
            fir_columns(t, ones, False, padded, s[n])
        for j in range(nj):
            for k in range(nk):
                n_inv = np.float32(1) / max(count[i, j, k], np.float32(1e-6))
                m = mask[i, j, k]
                f_mean = mean[i, j, k]
                w_mean = s[0, j, k] * n_inv
                c = max(s[1, j, k] * n_inv - w_mean * w_mean, np.float32(0)) + eps
                a = s[2, j, k] * n_inv - f_mean * w_mean + eps
                b = variance[i, j, k] + eps
                ratio = variance[i, j, k] * a / (b * b * c)
                pp = np.float32(2) * ratio * m * n_inv
                qq = pp * a / c
                p[i, j, k] = pp
                q[i, j, k] = qq
                r[i, j, k] = qq * w_mean - pp * f_mean
                t[j, k] = ratio * a * m
        # summed in a loop of its own: one that also writes may add in an order that depends on where arrays lie
        total = 0.0
        for j in range(nj):
            row = np.float32(0)
            for k in range(nk):
                row += t[j, k]
            total += row
        sums[i] = total


@kernel
def _slope(low, high, fixed, warped, mask, p, q, r, radius, scale, slope, curvature):
    _, nj, nk = fixed.shape
    ones = np.ones(2 * radius + 1, np.float32)
    s = np.empty((3, nj, nk), np.float32)
    t = np.empty((nj, nk), np.float32)
    padded = np.empty(nk + 2 * radius + 1, np.float32)
    sc = np.float32(scale)
    for i in range(low, high):
        fir_planes(p, i, ones, False, s[0])
        fir_planes(q, i, ones, False, s[1])
        fir_planes(r, i, ones, False, s[2])
        for n in range(3):
            fir_rows(s[n], ones, False, t)
            fir_columns(t, ones, False, padded, s[n])
        for j in range(nj):
            for k in range(nk):
                m = mask[i, j, k] * sc
                slope[i, j, k] = -m * (
                    fixed[i, j, k] * s[0, j, k] - warped[i, j, k] * s[1, j, k] + s[2, j, k]
                )
                curvature[i, j, k] = m * s[1, j, k]
