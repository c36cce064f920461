"""How features of one lattice go with those of another at every neighbour of a voxel."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from coincide.ops._parallel import kernel, run


@lru_cache(maxsize=2)
def offsets(dim: int) -> np.ndarray:
    """Every neighbour of a voxel, itself among them, `(3**dim, dim)`; the last is the opposite of the first."""
    return np.array(list(product((-1, 0, 1), repeat=dim)))


def correlations(one: Tensor, other: Tensor) -> Tensor:
    """`Σ_c one[c](x) · other[c](x + o)` for every neighbour `o`; beyond the border there is nothing.

    Args:
        one: `(batch, channel, *shape)`.
        other: likewise.

    Returns:
        `(batch, 3**dim, *shape)`, in the order of `offsets`.
    """
    if one.dtype == other.dtype == torch.float32 and one.device.type == other.device.type == "cpu":
        return _Correlations.apply(one.contiguous(), other.contiguous())  # type: ignore[return-value] - untyped
    return correlations_reference(one, other)


def correlations_reference(one: Tensor, other: Tensor) -> Tensor:
    """`correlations` in plain torch: any device, any floating type, differentiable."""
    shape, padded = one.shape[2:], F.pad(other, (1, 1) * (one.ndim - 2))
    found = []
    for offset in offsets(one.ndim - 2).tolist():
        part = padded
        for axis, (step, size) in enumerate(zip(offset, shape), start=2):
            part = part.narrow(axis, 1 + step, size)
        found.append((one * part).sum(1))
    return torch.stack(found, 1)


class _Correlations(torch.autograd.Function):
    @staticmethod
    def forward(ctx, one: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(one, other)
        steps = offsets(one.ndim - 2)
        out = torch.zeros(len(one), len(steps), *one.shape[2:])
        run(_correlate, _planes(one), _volumes(one), _volumes(other), _steps(steps), _volumes(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor):
        one, other = ctx.saved_tensors
        table, shares = _steps(offsets(one.ndim - 2)), _volumes(upstream.contiguous())
        found = []
        for values, back in ((other, False), (one, True)):
            out = torch.zeros_like(one)
            run(_gather, _planes(one), shares, _volumes(values), table, back, _volumes(out))
            found.append(out)
        return tuple(found)


def _volumes(x: Tensor) -> np.ndarray:
    """`(batch, channel, *shape)` as an array `(batch, channel, i, j, k)` that shares memory, `i = 1` for pictures."""
    array = x.detach().numpy()
    return array if array.ndim == 5 else array[:, :, None]


def _planes(x: Tensor) -> int:
    return len(x) * (x.shape[2] if x.ndim == 5 else 1)


def _steps(table: np.ndarray) -> np.ndarray:
    return np.pad(table, ((0, 0), (3 - table.shape[1], 0)))


@kernel
def _correlate(low, high, one, other, steps, out):
    _, channels, ni, nj, nk = one.shape
    for p in range(low, high):
        b, i = p // ni, p % ni
        for o in range(len(steps)):
            ii, dj, dk = i + steps[o, 0], steps[o, 1], steps[o, 2]
            if ii < 0 or ii >= ni:
                continue
            first, last = max(0, -dk), min(nk, nk - dk)
            for j in range(max(0, -dj), min(nj, nj - dj)):
                row = out[b, o, i, j, first:last]
                for c in range(channels):
                    here, there = (
                        one[b, c, i, j, first:last],
                        other[b, c, ii, j + dj, first + dk : last + dk],
                    )
                    for k in range(last - first):
                        row[k] += here[k] * there[k]


@kernel
def _gather(low, high, shares, values, steps, back, out):
    """Sum of neighbours' values by shares: those of this voxel, or (back) those that the neighbours give to it."""
    _, channels, ni, nj, nk = values.shape
    for p in range(low, high):
        b, i = p // ni, p % ni
        for o in range(len(steps)):
            ii, dj, dk = i + steps[o, 0], steps[o, 1], steps[o, 2]
            if ii < 0 or ii >= ni:
                continue
            first, last = max(0, -dk), min(nk, nk - dk)
            for j in range(max(0, -dj), min(nj, nj - dj)):
                share = shares[b, o, i, j, first:last]
                if back:
                    # the neighbour's own step to this voxel is the opposite one
                    share = shares[b, len(steps) - 1 - o, ii, j + dj, first + dk : last + dk]
                for c in range(channels):
                    row, there = (
                        out[b, c, i, j, first:last],
                        values[b, c, ii, j + dj, first + dk : last + dk],
                    )
                    for k in range(last - first):
                        row[k] += share[k] * there[k]
