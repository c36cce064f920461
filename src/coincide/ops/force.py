"""From a similarity's gradient to a force on the deformation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits
from coincide.ops.smooth import as_volume


def slope(image: Tensor) -> Tensor:
    """Central differences of `image` `(channel, *shape)` along each axis, one-sided at the border.

    Returns:
        `(channel, dim, *shape)`, per voxel.
    """
    parts = []
    for axis in range(1, image.ndim):
        n = image.shape[axis]
        i = torch.arange(n, device=image.device)
        ahead, behind = (i + 1).clamp(max=n - 1), (i - 1).clamp(min=0)
        width = (
            (ahead - behind)
            .clamp(min=1)
            .to(image.dtype)
            .reshape([-1 if a == axis else 1 for a in range(image.ndim)])
        )
        parts.append((image.index_select(axis, ahead) - image.index_select(axis, behind)) / width)
    return torch.stack(parts, 1)


def force(warped: Tensor, gradient: Tensor, out: Tensor | None = None) -> Tensor:
    """Derivative of the similarity with respect to a displacement that is applied before the present warp.

    For `W = M ∘ φ` and the update `φ ∘ (id + δ)`, the derivative with respect to `δ` at a voxel is
    `Σ_channel gradient · ∇W`: it takes the slope of the *warped* image, and no sampling of the moving one's.

    Args:
        warped: `(channel, *shape)`.
        gradient: of the similarity with respect to `warped`, `(channel, *shape)`.
        out: where to put the result.

    Returns:
        `(dim, *shape)`, per voxel.
    """
    if fits(warped) and fits(gradient):
        out = torch.empty((warped.ndim - 1, *warped.shape[1:]), dtype=torch.float32) if out is None else out
        run(_FORCE[warped.ndim - 1], warped.shape[1], warped.numpy(), gradient.numpy(), out.numpy())
        return out
    return (gradient[:, None] * slope(warped)).sum(0)


def stiffness(warped: Tensor, curvature: Tensor) -> Tensor:
    """`curvature` times the squared slope of `warped`, all channels: the trace of a Gauss–Newton Hessian.

    Args:
        warped: `(channel, *shape)`.
        curvature: `(*shape)`, as in `similarity.Evaluation`.

    Returns:
        `(1, *shape)`.
    """
    if fits(warped) and fits(curvature):
        out = torch.empty_like(curvature)
        volumes = as_volume(warped), as_volume(curvature[None])[0], as_volume(out[None])[0]
        run(_stiffness, warped.shape[1], *volumes)
        return out[None]
    return ((slope(warped).square()).sum((0, 1)) * curvature)[None]


def longest(field: Tensor) -> float:
    """Length of the longest vector of `field` `(dim, *shape)`."""
    if not fits(field):
        return float(field.square().sum(0).max()) ** 0.5
    most = np.zeros(field.shape[1])
    run(_longest, field.shape[1], field.reshape(*field.shape[:2], -1).numpy(), most)
    return float(most.max()) ** 0.5


@kernel
def _stiffness(low, high, warped, curvature, out):
    channels, ni, nj, nk = warped.shape
    half, one = np.float32(0.5), np.float32(1)
    for i in range(low, high):
        i0, i1 = max(i - 1, 0), min(i + 1, ni - 1)
        si = one / np.float32(max(i1 - i0, 1))
        for j in range(nj):
            j0, j1 = max(j - 1, 0), min(j + 1, nj - 1)
            sj = one / np.float32(max(j1 - j0, 1))
            for k in range(nk):
                out[i, j, k] = 0
            for n in range(channels):
                for k in range(nk):
                    a = (warped[n, i1, j, k] - warped[n, i0, j, k]) * si
                    b = (warped[n, i, j1, k] - warped[n, i, j0, k]) * sj
                    out[i, j, k] += a * a + b * b
                for k in range(1, nk - 1):
                    c = (warped[n, i, j, k + 1] - warped[n, i, j, k - 1]) * half
                    out[i, j, k] += c * c
                for k in (0, nk - 1):
                    c = warped[n, i, j, min(k + 1, nk - 1)] - warped[n, i, j, max(k - 1, 0)]
                    out[i, j, k] += c * c
                    if nk == 1:
                        break
            for k in range(nk):
                out[i, j, k] *= curvature[i, j, k]


@kernel
def _longest(low, high, field, most):
    for i in range(low, high):
        found = np.float32(0)
        for k in range(field.shape[2]):
            square = np.float32(0)
            for n in range(field.shape[0]):
                square += field[n, i, k] * field[n, i, k]
            found = max(found, square)
        most[i] = found


@kernel
def _force_3d(low, high, warped, gradient, out):
    channels, ni, nj, nk = warped.shape
    for i in range(low, high):
        i0, i1 = max(i - 1, 0), min(i + 1, ni - 1)
        si = np.float32(1.0 / max(i1 - i0, 1))
        for j in range(nj):
            j0, j1 = max(j - 1, 0), min(j + 1, nj - 1)
            sj = np.float32(1.0 / max(j1 - j0, 1))
            x, y, z = out[0, i, j], out[1, i, j], out[2, i, j]
            for n in range(channels):
                g, row = gradient[n, i, j], warped[n, i, j]
                a0, a1, b0, b1 = warped[n, i0, j], warped[n, i1, j], warped[n, i, j0], warped[n, i, j1]
                keep = np.float32(0 if n == 0 else 1)
                for k in range(nk):
                    x[k] = (x[k] if keep else np.float32(0)) + g[k] * (a1[k] - a0[k]) * si
                    y[k] = (y[k] if keep else np.float32(0)) + g[k] * (b1[k] - b0[k]) * sj
                for k in range(1, nk - 1):
                    z[k] = (z[k] if keep else np.float32(0)) + g[k] * (row[k + 1] - row[k - 1]) * np.float32(
                        0.5
                    )
                for k in (0, nk - 1):
                    k0, k1 = max(k - 1, 0), min(k + 1, nk - 1)
                    z[k] = (z[k] if keep else np.float32(0)) + g[k] * (row[k1] - row[k0])


@kernel
def _force_2d(low, high, warped, gradient, out):
    channels, ni, nj = warped.shape
    for i in range(low, high):
        i0, i1 = max(i - 1, 0), min(i + 1, ni - 1)
        si = np.float32(1.0 / max(i1 - i0, 1))
        for j in range(nj):
            out[0, i, j], out[1, i, j] = 0, 0
        for n in range(channels):
            for j in range(nj):
                j0, j1 = max(j - 1, 0), min(j + 1, nj - 1)
                g = gradient[n, i, j]
                out[0, i, j] += g * (warped[n, i1, j] - warped[n, i0, j]) * si
                out[1, i, j] += g * (warped[n, i, j1] - warped[n, i, j0]) * np.float32(1.0 / max(j1 - j0, 1))


_FORCE = {2: _force_2d, 3: _force_3d}
