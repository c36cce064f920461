"""Displacement fields in voxels: warping, composing, exponentiating, inverting.

A field `u`, `(dim, *shape)`, stands for the map `x ↦ x + u(x)` of the index space of its own lattice; between voxels
it is linear, and past the border it goes on with the border's value.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from coincide.ops import _field_kernels as kernels
from coincide.ops._parallel import run
from coincide.ops._sample_kernels import fits
from coincide.ops.sample import sample_reference


def lattice(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Index positions of every voxel, `(dim, *shape)`, of the type and device of `like`."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


_WHOLE = np.zeros((2, 0, 0), np.int64)


def warp(
    image: Tensor, field: Tensor, out: Tensor | None = None, stretches: np.ndarray | None = None
) -> Tensor:
    """`image(x + u(x))`, linear, the border's value outside.

    Args:
        image: `(channel, *shape)`.
        field: `(dim, *shape)` in voxels.
        out: where to put the result, `(channel, *shape)`.
        stretches: of a volume's rows, see `ops.rows`, where alone the result is needed: elsewhere `out` may stay as it
            is, zero where it was not given.
    """
    if fits(image) and fits(field):
        if out is None:
            out = torch.empty_like(image) if stretches is None else torch.zeros_like(image)
        run(
            kernels.WARP[field.shape[0]],
            field.shape[1],
            image.numpy(),
            field.numpy(),
            1.0,
            False,
            _WHOLE if stretches is None else stretches,
            out.numpy(),
        )
        return out
    return sample_reference(image, lattice(tuple(field.shape[1:]), field) + field, "linear", "edge")


def compose(outer: Tensor, inner: Tensor, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
    """The field of `(id + outer) ∘ (id + scale · inner)`: first `inner`, then `outer`; all `(dim, *shape)` voxels."""
    if fits(outer) and fits(inner):
        out = torch.empty_like(inner) if out is None else out
        run(
            kernels.WARP[inner.shape[0]],
            inner.shape[1],
            outer.numpy(),
            inner.numpy(),
            scale,
            True,
            _WHOLE,
            out.numpy(),
        )
        return out
    return scale * inner + warp(outer, scale * inner)


def nudge(outer: Tensor, inner: Tensor, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
    """`compose` for steps `scale · inner` of at most one voxel along each axis, where it is several times faster.

    Rows whose steps are half a voxel at most, summed over the axes, leave out the mixed differences of `outer`: that is
    exact where it is linear, and as good as exact where it is smooth.
    """
    if outer.shape[0] != 3 or not (fits(outer) and fits(inner)):
        return compose(outer, inner, scale, out)
    out = torch.empty_like(inner) if out is None else out
    run(kernels.NUDGE_3D, inner.shape[1], outer.numpy(), inner.numpy(), scale, out.numpy())
    return out


def exponentiate(velocity: Tensor) -> Tensor:
    """The displacement at time one of the stationary `velocity` (voxels per unit time), by scaling and squaring."""
    longest = float(velocity.detach().square().sum(0).max()) ** 0.5
    # each squaring is exact to second order in the step: an eighth of a voxel keeps the error near 1e-3
    squarings = max(0, math.ceil(math.log2(max(longest, 1e-9) * 8)))
    field = velocity / 2**squarings
    for _ in range(squarings):
        field = compose(field, field)
    return field


def invert(field: Tensor, tolerance: float = 1e-3, iterations: int = 30) -> Tensor:
    """The field `v` with `(id + u) ∘ (id + v) = id`, on the same lattice.

    Every voxel is solved by Newton's method on the linearly interpolated field, from its neighbour's solution; where
    the field folds, the point with the smallest residual is returned.

    Args:
        field: `u`, `(dim, *shape)` in voxels.
        tolerance: residual at which a voxel is done, voxels.
        iterations: Newton steps a voxel may take.
    """
    precise = field.detach().to("cpu", torch.float32).contiguous()
    out = torch.empty_like(precise)
    run(kernels.INVERT[field.shape[0]], field.shape[1], precise.numpy(), tolerance, iterations, out.numpy())
    return out.to(field.device, field.dtype)


def inverse(field: Tensor) -> Tensor:
    """The field that undoes `field` best where points lie anywhere between voxels: `invert`, then `evened`."""
    return evened(invert(field))


def evened(field: Tensor) -> Tensor:
    """`field`, smooth and exact at its voxels, so that linear interpolation errs as little as it can between them.

    Half-way between two voxels interpolation is off by an eighth of the second difference, always to the same side, and
    by a twelfth in the mean over a cell. That twelfth is taken from the voxels: the least-squares fit of what is
    piecewise linear to what is smooth.
    """
    out = field.clone()
    for axis in range(1, field.ndim):
        inner = field.shape[axis] - 2
        if inner > 0:
            bent = field.narrow(axis, 0, inner) + field.narrow(axis, 2, inner)
            bent.sub_(field.narrow(axis, 1, inner), alpha=2)
            out.narrow(axis, 1, inner).sub_(bent, alpha=1 / 12)
    return out


def residual(outer: Tensor, inner: Tensor) -> Tensor:
    """Length of `(id + outer) ∘ (id + inner) − id` at every voxel, in voxels, `(*shape)`."""
    return compose(outer, inner).square().sum(0).sqrt()
