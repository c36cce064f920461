"""From a similarity's gradient to a force on the deformation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits


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


def force(warped: Tensor, gradient: Tensor) -> Tensor:
    """Derivative of the similarity with respect to a displacement that is applied before the present warp.

    For `W = M ∘ φ` and the update `φ ∘ (id + δ)`, the derivative with respect to `δ` at a voxel is
    `Σ_channel gradient · ∇W`: it takes the slope of the *warped* image, and no sampling of the moving one's.

    Args:
        warped: `(channel, *shape)`.
        gradient: of the similarity with respect to `warped`, `(channel, *shape)`.

    Returns:
        `(dim, *shape)`, per voxel.
    """
    if fits(warped) and fits(gradient):
        out = torch.empty((warped.ndim - 1, *warped.shape[1:]), dtype=torch.float32)
        run(_FORCE[warped.ndim - 1], warped.shape[1], warped.numpy(), gradient.numpy(), out.numpy())
        return out
    return (gradient[:, None] * slope(warped)).sum(0)


def longest(field: Tensor) -> float:
    """Length of the longest vector of `field` `(dim, *shape)`."""
    return float(field.square().sum(0).max()) ** 0.5


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
