"""The linear transform between two sets of weighted points, in closed form, with a gradient that networks can use.

`optimise.fit.fit_linear` is the same for a single pair of sets that need not be differentiated, and checks them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def fit_weighted(
    source: Tensor,
    target: Tensor,
    weights: Tensor,
    model: Literal["rigid", "affine"] = "rigid",
    ridge: float = 1e-4,
) -> Tensor:
    """The matrices with the least `Σ wᵢ |targetᵢ − M sourceᵢ|²`.

    Args:
        source: `(batch, number, dim)` points, mm.
        target: `(batch, number, dim)` their partners, mm.
        weights: `(batch, number)`, 0 or more, not all 0.
        model: `"rigid"` never reflects; `"affine"` is drawn to the rigid fit where the points do not settle it.
        ridge: how strongly, as a share of the points' spread.

    Returns:
        `(batch, dim+1, dim+1)` float64 homogeneous matrices, source mm → target mm.
    """
    source, target, weights = source.double(), target.double(), weights.double()
    weights = (weights / weights.sum(1, keepdim=True))[..., None]
    middle, goal = (weights * source).sum(1, keepdim=True), (weights * target).sum(1, keepdim=True)
    apart, wanted = source - middle, target - goal
    linear = nearest_rotation(wanted.mT @ (weights * apart))
    if model == "affine":
        spread = apart.mT @ (weights * apart)
        # all points in one place settle nothing, and are held by next to nothing
        held = ridge * spread.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + 1e-12 * (ridge > 0)
        held = held * torch.eye(spread.shape[-1], dtype=spread.dtype, device=spread.device)
        crossed = wanted.mT @ (weights * apart)
        linear = torch.linalg.solve((spread + held).mT, (crossed + linear @ held).mT).mT
    shift = goal.mT - linear @ middle.mT
    last = torch.zeros_like(shift.mT)
    return torch.cat([torch.cat([linear, shift], 2), torch.cat([last, torch.ones_like(last[..., :1])], 2)], 1)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation `R` with the largest trace of `Rᵀ matrix`, `(batch, dim, dim)`; it never reflects.

    Its gradient is exact and stays bounded where a singular value comes twice, where that of a singular value
    decomposition does not.
    """
    return _Rotation.apply(matrix)  # type: ignore[return-value] - torch leaves `apply` untyped


def moved(matrix: Tensor, points: Tensor) -> Tensor:
    """Points `(batch, number, dim)` through homogeneous matrices `(batch, dim+1, dim+1)`, in the matrices' type."""
    return points.to(matrix) @ matrix[:, :-1, :-1].mT + matrix[:, None, :-1, -1]


class _Rotation(torch.autograd.Function):
    """With matrix = R P, P symmetric: Rᵀ dR is antisymmetric and solves W P + P W = Rᵀ dM − dMᵀ R."""

    @staticmethod
    def forward(ctx, matrix: Tensor) -> Tensor:
        u, lengths, vt = torch.linalg.svd(matrix)
        signs = torch.ones_like(lengths)
        signs[:, -1] = torch.linalg.det(u @ vt).sign()
        rotation = (u * signs[:, None]) @ vt
        ctx.save_for_backward(rotation, lengths * signs, vt)
        return rotation

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override] - torch's signature is open
        rotation, lengths, vt = ctx.saved_tensors
        sums = lengths[:, :, None] + lengths[:, None]
        # two that cancel leave a turn unsettled: its gradient is cut off rather than infinite
        sums = sums.clamp(min=1e-3 * float(lengths.abs().max()) + 1e-30)
        share = vt @ rotation.mT @ gradient @ vt.mT / sums
        return rotation @ vt.mT @ (share - share.mT) @ vt
