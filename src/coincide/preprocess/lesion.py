"""Leaving a lesion out: what it shows has no counterpart in the other image."""

from __future__ import annotations

import torch
from torch import Tensor

from coincide.errors import MaskError
from coincide.image import Image
from coincide.ops.smooth import gaussian

_MARGIN, _LEAST = 12, 0.05
"""Voxels around a lesion from which it is filled; and the share of known ones that a mean of them needs."""


def check_lesion(image: Image, lesion: Tensor) -> Tensor:
    """`lesion` as `(*image.grid.shape)` bool.

    Raises:
        MaskError: of another shape than the image, empty, or all that counts of it.
    """
    if tuple(lesion.shape) != image.grid.shape:
        raise MaskError(
            f"the lesion of {image.name} has shape {tuple(lesion.shape)}, its image {image.grid.shape}. "
            "Resample it onto the image first."
        )
    lesion = lesion.to(torch.bool)
    if not bool(lesion.any()):
        raise MaskError(
            f"the lesion of {image.name} is empty (0 of {lesion.numel():,} voxels). Check it, or leave it out."
        )
    counted = torch.ones_like(lesion) if image.mask is None else image.mask
    if not bool((counted & ~lesion).any()):
        raise MaskError(
            f"the lesion of {image.name} covers all {int(counted.sum()):,} voxels that count: nothing is left to "
            "compare. It should be 1 in the lesion and 0 elsewhere."
        )
    return lesion


def without(image: Image, lesion: Tensor | None) -> Image:
    """`image` with `lesion` `(*shape)` bool masked out."""
    if lesion is None:
        return image
    return image.with_mask(~lesion if image.mask is None else image.mask & ~lesion)


def healed(image: Image, lesion: Tensor | None) -> Image:
    """`image` with `lesion` `(*shape)` bool filled from around, so that nothing of it is left, nor an edge."""
    if lesion is None:
        return image
    where = torch.nonzero(lesion)
    low, high = where.amin(0) - _MARGIN, where.amax(0) + 1 + _MARGIN
    box = (slice(None), *(slice(max(int(a), 0), int(b)) for a, b in zip(low, high)))
    data = image.data.clone()
    data[box] = _filled(data[box], lesion[box[1:]])
    return image.with_data(data)


def _filled(data: Tensor, unknown: Tensor) -> Tensor:
    """`data` `(channel, *shape)` with what is `unknown` taken from ever wider surroundings."""
    known = (~unknown).to(data.dtype)[None]
    seen, left, sigma = (data * known).contiguous(), unknown.clone(), 1.0
    out = torch.where(unknown, seen.sum() / known.sum() / len(data), data)
    while bool(left.any()) and sigma <= max(unknown.shape):
        share = gaussian(known, sigma, edge=False)
        now = left & (share[0] > _LEAST)
        means = gaussian(seen, sigma, edge=False) / share.clamp(min=_LEAST)
        out = torch.where(now, means, out)
        left &= ~now
        sigma *= 2
    return out
