"""Central differences between voxels that count, and their adjoint."""

from __future__ import annotations

import torch
from torch import Tensor


def between(counted: Tensor) -> Tensor:
    """Where a central difference can be taken, `(dim, *shape)`: 1 where both neighbours along the axis count, else 0.

    Args:
        counted: `(*shape)`, above 0 where a voxel counts; none counts beyond the border.
    """
    inside = (counted > 0).to(counted.dtype)
    return torch.stack([_moved(inside, a, 1) * _moved(inside, a, -1) for a in range(counted.ndim)])


def differences(image: Tensor, open_: Tensor) -> Tensor:
    """Central differences of `image` `(*shape)` along each axis, per voxel, times `open_` `(dim, *shape)`."""
    parts = [(_moved(image, a, 1) - _moved(image, a, -1)) / 2 for a in range(image.ndim)]
    return torch.stack(parts) * open_


def differences_adjoint(upstream: Tensor, open_: Tensor) -> Tensor:
    """The adjoint of `differences`: `(dim, *shape)` to `(*shape)`."""
    held = upstream * open_
    parts = [(_moved(held[a], a, -1) - _moved(held[a], a, 1)) / 2 for a in range(len(held))]
    return torch.stack(parts).sum(0)


def beside(values: Tensor, open_: Tensor) -> Tensor:
    """For each voxel a quarter of the `values` `(*shape)` at all voxels whose differences it takes part in."""
    parts = [(_moved(values * o, a, -1) + _moved(values * o, a, 1)) / 4 for a, o in enumerate(open_)]
    return torch.stack(parts).sum(0)


def _moved(image: Tensor, axis: int, by: int) -> Tensor:
    """`image` at the next (`by` = 1) or the last (−1) voxel along an axis, zero beyond the border."""
    n = image.shape[axis]
    out = torch.zeros_like(image)
    if n > 1:
        into, source = (slice(0, n - 1), slice(1, n)) if by > 0 else (slice(1, n), slice(0, n - 1))
        ahead = (slice(None),) * axis
        out[(*ahead, into)] = image[(*ahead, source)]
    return out
