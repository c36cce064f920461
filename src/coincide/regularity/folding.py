"""Keeping a deformation from folding."""

from __future__ import annotations

import torch
from torch import Tensor

from coincide.ops.jacobian import determinants
from coincide.ops.smooth import gaussian


def unfold(field: Tensor, least: float, rounds: int = 40) -> tuple[Tensor, int]:
    """`field` smoothed just where its Jacobian determinant falls below `least`, until it does so nowhere.

    Args:
        field: `u` in voxels, `(dim, *shape)`.
        least: smallest determinant allowed, by any combination of one-sided differences.
        rounds: the most passes over the field; the smoothing widens from pass to pass.

    Returns:
        The field, and the number of voxels that were below at the start.
    """
    low = determinants(field).least < least
    found = int(low.sum())
    for number in range(rounds):
        if not bool(low.any()):
            break
        region = _box(low, margin=6 + number // 4)
        part = field[(slice(None), *region)].clone(memory_format=torch.contiguous_format)
        weight = gaussian(low[region].to(field.dtype)[None], 1.5 + 0.1 * number)
        # the peak of a lone voxel's weight is far below one; this makes it one and leaves the far field alone
        weight = (weight * (30.0 + 4 * number)).clamp(max=1.0)
        part.lerp_(gaussian(part, 1.0 + 0.1 * number), weight)
        field = field.clone() if number == 0 else field
        field[(slice(None), *region)] = part
        _look_again(field, least, region, low)
    return field, found


def _look_again(field: Tensor, least: float, region: tuple[slice, ...], low: Tensor) -> None:
    """Tell anew, in `low`, where the determinant is below `least`, after `field` changed in `region`.

    Determinants depend on the nearest neighbours: those a voxel beyond the region change too, and need one voxel more.
    """
    near, wide = (tuple(_wider(s, more, n) for s, n in zip(region, low.shape)) for more in (1, 2))
    found = determinants(field[(slice(None), *wide)].contiguous()).least < least
    low[near] = found[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(near, wide))]


def _wider(span: slice, more: int, size: int) -> slice:
    return slice(max(span.start - more, 0), min(span.stop + more, size))


def _box(low: Tensor, margin: int) -> tuple[slice, ...]:
    """The box around all true voxels and `margin` more."""
    slices = []
    for axis, n in enumerate(low.shape):
        others = tuple(a for a in range(low.ndim) if a != axis)
        hit = torch.nonzero(low.any(dim=others[0]) if len(others) == 1 else low.amax(dim=others)).flatten()
        slices.append(slice(max(int(hit[0]) - margin, 0), min(int(hit[-1]) + margin + 1, n)))
    return tuple(slices)
