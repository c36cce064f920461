"""Intensities to a common range."""

from __future__ import annotations

import numpy as np
import torch

from coincide.errors import IntensityError
from coincide.image import Image

_SAMPLE = 200_000


def robust_range(image: Image, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """The `low` and `high` percentiles of the values in the mask, from an evenly strided sample of them.

    Where half the voxels share one value, as the air of a skull-stripped head does, that value is left out.

    Raises:
        IntensityError: all values in the mask are the same.
    """
    values = image.data.flatten() if image.mask is None else image.data[:, image.mask].flatten()
    values = values[:: max(1, values.numel() // _SAMPLE)].to(torch.float64).numpy()
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() == values.max():
        whole = image.data if image.mask is None else image.data[:, image.mask]
        if whole.numel() == 0 or bool(whole.min() == whole.max()):
            raise IntensityError(
                f"{image.name}: every voxel in the mask has the same value; there is nothing to register. "
                "Check the file and the mask."
            )
        values = whole.flatten().to(torch.float64).numpy()
    common = np.median(values)
    rest = values[values != common]
    if rest.size < 0.5 * values.size and rest.size > 100:
        values = np.append(rest, common)
    bottom, top = np.percentile(values, [low, high])
    return (float(bottom), float(top)) if top > bottom else (float(values.min()), float(values.max()))


def normalise_both(fixed: Image, moving: Image) -> tuple[Image, Image]:
    """Both images normalised, by one range where theirs are within a fifth of each other.

    Two ranges of images that are on one scale differ by what each field of view happens to hold; a similarity that
    takes intensities as they are (MSE) would see a difference in brightness that is none.

    Raises:
        IntensityError: an image is constant in its mask.
    """
    ours, theirs = robust_range(fixed), robust_range(moving)
    width = ours[1] - ours[0]
    alike = max(abs(a - b) for a, b in zip(ours, theirs)) < 0.2 * width
    return normalise(fixed, ours), normalise(moving, ours if alike else theirs)


def normalise(image: Image, limits: tuple[float, float] | None = None) -> Image:
    """The image with its robust range mapped to 0…1, float32; what lies beyond is cut off at −0.1 and 1.5.

    Voxels that are masked out take the mean of those that are not, so that nothing of them can leak in from smoothing.

    Args:
        image: what to normalise.
        limits: to become 0 and 1; the robust range where left out.

    Raises:
        IntensityError: the image is constant in its mask.
    """
    bottom, top = limits or robust_range(image)
    # in place: a fresh volume for every operation costs several times the operation
    data = image.data.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    data.sub_(bottom).div_(top - bottom).clamp_(-0.1, 1.5).nan_to_num_(nan=0.0)
    if image.mask is not None:
        inside = image.mask.numpy()
        data = torch.from_numpy(
            np.where(inside, data.numpy(), data.numpy()[:, inside].mean(dtype=np.float64))
        ).to(torch.float32)
    return image.with_data(data)
