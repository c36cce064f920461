"""Values out of files and into them: float32 intensities, masked where not finite, or integer labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from coincide.errors import DimensionError, IntensityError, LabelError, unknown
from coincide.grid import Grid
from coincide.image import Image
from coincide.io.notes import warn

MOST_NOT_NUMBERS = 0.5
"""The largest share of NaN and infinite voxels an image may have (maps often hold NaN outside the head)."""


def image_from(array: np.ndarray, grid: Grid, kind: str, name: str) -> Image:
    """An `Image` of `kind` from values as they came out of a file.

    Args:
        array: `(*grid.shape)`, any numeric type, byte order and memory layout.
        grid: where the voxels lie.
        kind: `"intensity"` or `"label"`.
        name: what to call the image in messages.

    Raises:
        IntensityError: complex, or mostly NaN or infinite.
        LabelError: values that are not exact integers.
    """
    check_kind(kind)
    if kind == "label":
        return Image(torch.from_numpy(labels(array, name))[None], grid, "label", name=name)
    values, mask = intensities(array, name)
    return Image(torch.from_numpy(values)[None], grid, "intensity", mask, name)


def check_kind(kind: str) -> None:
    """Refuse a kind that is neither `"intensity"` nor `"label"`."""
    if kind not in ("intensity", "label"):
        raise unknown("kind of image", kind, ("intensity", "label"))


def intensities(array: np.ndarray, name: str) -> tuple[np.ndarray, torch.Tensor | None]:
    """The values as C-contiguous float32, and a mask of the finite ones where some are not.

    Voxels that are NaN or infinite get the smallest finite value, which is background in most images.

    Raises:
        IntensityError: complex, or more than half of the voxels are NaN or infinite.
    """
    if array.dtype.kind == "c":
        raise IntensityError(f"{name}: the values are complex. Take the magnitude or one part first.")
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(array, dtype=np.float32, order="C")
    finite = np.isfinite(values)
    if finite.all():
        return values, None
    bad = int(values.size - np.count_nonzero(finite))
    found = f"{name}: {bad:,} of {values.size:,} voxels are NaN or infinite"
    if bad > MOST_NOT_NUMBERS * values.size:
        raise IntensityError(f"{found}, expected at most half. Replace them by the background's value first.")
    warn(f"{found}; they are masked out.")
    values[~finite] = values[finite].min()
    return values, torch.from_numpy(finite)


def labels(array: np.ndarray, name: str) -> np.ndarray:
    """The values as C-contiguous integers: of the type they came in, or the smallest that holds them.

    Raises:
        LabelError: complex, not finite, not whole, or floating point too coarse to tell such large integers
            apart.
    """
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    if array.dtype.kind != "f":
        raise LabelError(f"{name}: labels must be integers, found {array.dtype}.")
    return np.array(array, dtype=_whole_type(array, name), order="C")


def _whole_type(array: np.ndarray, name: str) -> np.dtype:
    """The smallest integer type for the floating-point labels `array`."""
    wrong = array[~(np.isfinite(array) & (np.rint(array) == array))]
    if wrong.size:
        raise LabelError(
            f"{name}: labels must be integers, but {wrong.size:,} of {array.size:,} voxels are not (such as "
            f"{float(wrong.flat[0]):g}). Was the label map resampled with linear interpolation, or is it "
            "an image?"
        )
    low, high = float(array.min()), float(array.max())
    limit = 2.0 ** min(np.finfo(array.dtype).nmant + 1, 53)
    if max(-low, high) > limit:
        raise LabelError(
            f"{name}: holds the label {max(-low, high):.0f} as {array.dtype}, which cannot tell integers "
            f"above {limit:,.0f} apart. Store the labels as integers."
        )
    types = (
        (np.int8, np.int16, np.int32, np.int64) if low < 0 else (np.uint8, np.uint16, np.uint32, np.uint64)
    )
    return next(np.dtype(t) for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max)


def grey(array: np.ndarray, name: str) -> np.ndarray:
    """The one channel of a grey picture stored as colour.

    Args:
        array: `(..., channels)`: grey, grey and opacity, RGB, or RGB and opacity; opacity is left out.
        name: what to call the image in messages.

    Raises:
        IntensityError: the colours differ.
    """
    channels = array.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise IntensityError(f"{name}: {channels} values a voxel, expected one. Take one of them first.")
    colours = array[..., : 3 if channels > 2 else 1]
    if (colours != colours[..., :1]).any():
        raise IntensityError(
            f"{name}: the picture is coloured, expected grey. Turn it into grey, or take one channel, first."
        )
    return colours[..., 0]


def stored_values(image: Image, like_dtype: Any) -> np.ndarray:
    """The one channel of `image` as the type it is to be stored in.

    Raises:
        DimensionError: more than one channel.
    """
    if image.channels != 1:
        raise DimensionError(
            f"{image.name}: has {image.channels} channels, expected one. Write them one by one."
        )
    values = image.numpy()[0]
    if image.kind == "label":
        return values.astype(np.uint8) if values.dtype.kind == "b" else values
    dtype: Any = np.dtype(like_dtype or np.float32)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)
