"""Whether an image holds anything to register."""

from __future__ import annotations

import torch

from coincide.errors import IntensityError
from coincide.image import Image

LEAST = 100
"""The fewest voxels a registration can be founded on."""


def check_registrable(image: Image) -> None:
    """Refuse an image in which no registration can find anything.

    Args:
        image: intensities; only the voxels of its mask count, where it has one.

    Raises:
        IntensityError: a value is NaN or infinite, all values are the same, or there are next to no voxels.
    """
    values = image.data if image.mask is None else image.data[:, image.mask]
    where = "inside the mask" if image.mask is not None else "of the image"
    number = values[0].numel()
    if number < LEAST:
        raise IntensityError(
            f"{image.name}: {number} voxels {where}, expected at least {LEAST}. Check the mask, or take "
            "another image."
        )
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).any(0).sum())
        raise IntensityError(
            f"{image.name}: {bad:,} of {number:,} voxels {where} are NaN or infinite. Mask them out, or "
            "replace them."
        )
    low, high = (float(v) for v in torch.aminmax(values.to(torch.float32)))
    if low == high:
        raise IntensityError(
            f"{image.name}: all {number:,} voxels {where} have the value {low:g}; a constant image shows "
            "nothing to register. Check the file, or its mask."
        )
