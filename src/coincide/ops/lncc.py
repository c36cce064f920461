"""Local normalised cross-correlation and its exact gradient.

With window sums over the mask, `A` the local covariance, `B` and `C` the local variances of the fixed and the warped
image, the value is minus the weighted mean over the mask of `(A + ε)² / ((B + ε)(C + ε))`: the squared correlation of
the two images as if both carried one more common signal of variance ε. The weight is `B/(B + ε)`: a window of air says
nothing, and how many of them are counted must not matter. The ε keeps air and flat tissue quiet, and the gradient
finite; and as the correlation is at most 1, and is 1 where the images agree, nothing is better than the fixed image
itself. (Without the ε beside `A`, windows of weak contrast ask for more of it, and at the right answer the gradient
does not vanish.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.ops import rows
from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits
from coincide.ops.moments import total
from coincide.ops.smooth import as_volume, box, fir_columns, fir_planes, fir_rows

_NOTHING = 1e-4
"""Share of ε below which a window's variance shows nothing: what it adds is lost in rounding."""


@dataclass(frozen=True)
class Windows:
    """What depends on the fixed image alone: image, mask, and window count, mean and variance, all `(1, *shape)`.

    `total` is the sum of the voxels' weights: mask times `B/(B + ε)`.
    """

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
    if fits(fixed):
        mean, variance, sums = torch.empty_like(fixed), torch.empty_like(fixed), np.zeros(fixed.shape[1])
        arrays = [as_volume(x)[0] for x in (fixed, weight, count, mean, variance)]
        run(_fixed_windows, fixed.shape[1], *arrays, radius, epsilon, sums)
        number = float(sums.sum())
    else:
        safe = count.clamp(min=1e-6)
        mean = box(fixed * weight, radius) / safe
        variance = (box(fixed * fixed * weight, radius) / safe - mean * mean).clamp(min=0)
        # torch adds in another order on another number of threads
        number = total((weight * variance / (variance + epsilon)).cpu().numpy().ravel())
    return Windows(fixed, weight, count, mean, variance, radius, epsilon, max(number, 1.0))


def needed(w: Windows) -> np.ndarray | None:
    """The stretch of each row of a warped volume, as in `ops.rows`, that value, gradient and force depend on.

    Where the fixed image's windows show nothing, neither do they, and their gradient is zero. None for pictures.
    """
    if w.fixed.ndim == 3 or not fits(w.fixed):
        return None
    shown = rows.where(w.variance[0].numpy(), _NOTHING * w.epsilon)
    # the windows that show something reach a radius further, and slopes one more
    return rows.grown(shown, w.radius + 1, w.fixed.shape[-1])


def lncc_reference(warped: Tensor, w: Windows) -> Tensor:
    """The value as a differentiable scalar, in plain torch; `warped` `(1, *shape)`."""
    variance, covariance = _beside(warped, w)
    squared = w.variance * covariance**2 / ((w.variance + w.epsilon) ** 2 * (variance + w.epsilon))
    return -(squared * w.mask).sum() / w.total


def local_correlation(warped: Tensor, w: Windows) -> tuple[Tensor, Tensor]:
    """The squared local correlation `(*shape)`, from 0 to 1, and how much the fixed image shows there, `B/(B + ε)`."""
    variance, covariance = _beside(warped, w)
    fixed = w.variance + w.epsilon
    return (covariance**2 / (fixed * (variance + w.epsilon))).clamp(0, 1)[0], (w.variance / fixed)[0]


def _beside(warped: Tensor, w: Windows) -> tuple[Tensor, Tensor]:
    """The variance of `warped` in every window, and its covariance with the fixed image plus ε."""
    safe = w.count.clamp(min=1e-6)
    mean = box(warped * w.mask, w.radius) / safe
    variance = (box(warped * warped * w.mask, w.radius) / safe - mean * mean).clamp(min=0)
    return variance, box(w.fixed * warped * w.mask, w.radius) / safe - w.mean * mean + w.epsilon


def lncc(warped: Tensor, w: Windows, gradient: bool = True) -> tuple[float, Tensor | None, Tensor | None]:
    """Value, gradient and curvature of minus the (weighted) mean squared local correlation.

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


# Each loop below writes one array: with more, the compiler would have to rule out too many overlaps, and gives up
# vectors. All of a row stays in the nearest cache meanwhile.


@kernel
def _window_sums(i, fixed, warped, mask, ones, s, t, padded):
    """Sums over the windows of plane `i` of the masked warped image, its square, and its product with `fixed`."""
    ni, nj, nk = fixed.shape
    radius = len(ones) // 2
    for j in range(nj):
        for k in range(nk):
            s[0, j, k], s[1, j, k], s[2, j, k] = 0, 0, 0
        for ii in range(max(i - radius, 0), min(i + radius + 1, ni)):
            for k in range(nk):
                s[0, j, k] += warped[ii, j, k] * mask[ii, j, k]
            for k in range(nk):
                s[1, j, k] += warped[ii, j, k] * warped[ii, j, k] * mask[ii, j, k]
            for k in range(nk):
                s[2, j, k] += warped[ii, j, k] * fixed[ii, j, k] * mask[ii, j, k]
    for n in range(3):
        fir_rows(s[n], ones, False, t)
        fir_columns(t, ones, False, padded, s[n])


@kernel
def _fixed_windows(low, high, fixed, mask, count, mean, variance, radius, epsilon, sums):
    _, nj, nk = fixed.shape
    ones = np.ones(2 * radius + 1, np.float32)
    s, t = np.empty((3, nj, nk), np.float32), np.empty((nj, nk), np.float32)
    padded = np.empty(nk + 2 * radius + 1, np.float32)
    eps, zero = np.float32(epsilon), np.float32(0)
    for i in range(low, high):
        _window_sums(i, fixed, fixed, mask, ones, s, t, padded)
        for j in range(nj):
            for k in range(nk):
                mean[i, j, k] = s[0, j, k] / max(count[i, j, k], np.float32(1e-6))
            for k in range(nk):
                square = s[1, j, k] / max(count[i, j, k], np.float32(1e-6))
                variance[i, j, k] = max(square - mean[i, j, k] * mean[i, j, k], zero)
            for k in range(nk):
                t[j, k] = mask[i, j, k] * variance[i, j, k] / (variance[i, j, k] + eps)
        sums[i] = _sum(t)


@kernel
def _sum(plane):
    """Sum of a plane; a loop that also writes may add in an order that depends on where arrays lie."""
    total = 0.0
    for j in range(plane.shape[0]):
        row = np.float32(0)
        for k in range(plane.shape[1]):
            row += plane[j, k]
        total += row
    return total


@kernel
def _coefficients(low, high, fixed, warped, mask, count, mean, variance, radius, epsilon, p, q, r, sums):
    _, nj, nk = fixed.shape
    ones = np.ones(2 * radius + 1, np.float32)
    s, t = np.empty((3, nj, nk), np.float32), np.empty((nj, nk), np.float32)
    padded = np.empty(nk + 2 * radius + 1, np.float32)
    share, mid, a, c, e = (
        np.empty(nk, np.float32),
        np.empty(nk, np.float32),
        np.empty(nk, np.float32),
        np.empty(nk, np.float32),
        np.empty(nk, np.float32),
    )
    eps, one, zero = np.float32(epsilon), np.float32(1), np.float32(0)
    for i in range(low, high):
        _window_sums(i, fixed, warped, mask, ones, s, t, padded)
        for j in range(nj):
            for k in range(nk):
                share[k] = one / max(count[i, j, k], np.float32(1e-6))
            for k in range(nk):
                mid[k] = s[0, j, k] * share[k]
            for k in range(nk):
                c[k] = one / (max(s[1, j, k] * share[k] - mid[k] * mid[k], zero) + eps)
            for k in range(nk):
                a[k] = s[2, j, k] * share[k] - mean[i, j, k] * mid[k] + eps
            for k in range(nk):
                b = variance[i, j, k] + eps
                e[k] = variance[i, j, k] * a[k] * c[k] * mask[i, j, k] / (b * b)
            for k in range(nk):
                p[i, j, k] = np.float32(2) * e[k] * share[k]
            for k in range(nk):
                q[i, j, k] = p[i, j, k] * a[k] * c[k]
            for k in range(nk):
                r[i, j, k] = q[i, j, k] * mid[k] - p[i, j, k] * mean[i, j, k]
            for k in range(nk):
                t[j, k] = e[k] * a[k]
        sums[i] = _sum(t)


@kernel
def _slope(low, high, fixed, warped, mask, p, q, r, radius, scale, slope, curvature):
    _, nj, nk = fixed.shape
    ones = np.ones(2 * radius + 1, np.float32)
    s, t = np.empty((3, nj, nk), np.float32), np.empty((nj, nk), np.float32)
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
                curvature[i, j, k] = mask[i, j, k] * sc * s[1, j, k]
            for k in range(nk):
                slope[i, j, k] = warped[i, j, k] * curvature[i, j, k] - mask[i, j, k] * sc * (
                    fixed[i, j, k] * s[0, j, k] + s[2, j, k]
                )
