"""Images by the suffix of their file, and images of other libraries."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from coincide.errors import DimensionError, InputError, MaskError, OptionError, OutputError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io.notes import warn
from coincide.io.values import check_kind, image_from
from coincide.options import Whole, check_value

FORMATS = {
    "nifti": (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz"),
    "sitk": (".nrrd", ".nhdr", ".mha", ".mhd"),
    "picture": (".png", ".jpg", ".jpeg", ".tif", ".tiff"),
}
"""Which module of `coincide.io` reads which suffixes; any other is left to SimpleITK."""

WRITES = {"nifti": (".nii", ".nii.gz"), "sitk": (".nrrd", ".mha"), "picture": (".png", ".tif", ".tiff")}
"""Which module writes which suffixes."""

_MOST_MARKS = 256
"""Values that are not whole, and not between 0 and 1, beyond which what is given for a mask is an image."""


def read_image(
    path: str | Path, *, kind: str = "intensity", time_index: int | None = None, spacing: Any = None
) -> Image:
    """Read an image; its format is seen from its suffix.

    Args:
        path: the file.
        kind: `"intensity"` (float32) or `"label"` (the integer type of the file).
        time_index: which volume of a 4-D file, or which page of a TIFF, from 0. A file of one volume has no
            choice.
        spacing: mm a pixel of a picture (PNG, JPEG, TIFF), one number or two; other formats state their own.

    Raises:
        InputError: see the format's module for which one and why.
        ResourceError: larger than the memory.
    """
    name = _format(path, FORMATS) or "sitk"
    if name == "picture":
        return _module(name).read(path, kind, time_index, spacing)
    if spacing is not None:
        raise OptionError(
            f"{path}: a spacing can be given for PNG, JPEG and TIFF only; this format states its own."
        )
    return _module(name).read(path, kind, time_index)


def count_voxels(path: str | Path) -> int:
    """Voxels of one volume of a file, by its header alone.

    Raises:
        InputError: see the format's module for which one and why.
    """
    return math.prod(_shape(path)[:3])


def count_volumes(source: Any) -> int:
    """How many volumes or pages there are in a path, or a nibabel or SimpleITK image; an `Image` is one.

    Raises:
        InputError: see the format's module for which one and why.
    """
    if isinstance(source, (str, Path)):
        shape = _shape(source)
    else:
        home = type(source).__module__.split(".")[0]
        shape = source.shape if home == "nibabel" else source.GetSize() if home == "SimpleITK" else ()
    return math.prod(shape[3:])


def check_time_index(time_index: Any, *sources: Any) -> None:
    """Refuse a `time_index` that is no number from 0 on, or that none of the `sources` has a use for.

    Raises:
        OptionError: it is, or it has.
    """
    check_value("time_index", time_index, Whole | None)
    if time_index is not None and all(count_volumes(source) == 1 for source in sources):
        raise OptionError(
            f"time_index {time_index} was given (--time-index), but there is no 4-D image to take a volume of: "
            f"{len(sources)} images of one volume each. Leave it out."
        )


def read_grid(path: str | Path) -> Grid:
    """Where the voxels of a file lie; all volumes of a 4-D one lie alike. Errors as for `read_image`."""
    return read_image(path, time_index=0 if count_volumes(path) > 1 else None).grid


def _shape(path: str | Path) -> tuple[int, ...]:
    return _module(_format(path, FORMATS) or "sitk").shape(path)


def write_image(image: Image, path: str | Path, like_dtype: Any = None) -> None:
    """Write an image, whole or not at all; the format is chosen by the suffix.

    Args:
        image: one channel.
        path: the file.
        like_dtype: numpy type to store intensities as, rounded and clipped; float32 where left out. Labels
            keep their own.

    Raises:
        OutputError: an unknown suffix, or the file cannot be written.
        DimensionError: the format cannot hold as many dimensions or channels.
        GeometryError: the format cannot hold where the image lies.
    """
    _module(check_suffix(path)).write(image, path, like_dtype)


def check_suffix(path: str | Path) -> str:
    """The name of the module that writes images of this suffix.

    Raises:
        OutputError: none does.
    """
    name = _format(path, WRITES)
    if name is None:
        known = ", ".join(suffix for suffixes in WRITES.values() for suffix in suffixes)
        raise OutputError(f"{path}: the suffix names no image format that can be written. Known: {known}.")
    return name


def as_image(
    source: Any, *, kind: str = "intensity", time_index: int | None = None, spacing: Any = None
) -> Image:
    """An `Image` from a path, a nibabel image, a SimpleITK image, or an `Image`.

    Args:
        source: what to take the image from.
        kind: `"intensity"` or `"label"`; an `Image` of the other kind, or with NaN, is read anew as a file
            would be.
        time_index: as for `read_image`.
        spacing: as for `read_image`.

    Raises:
        InputError: `source` is none of these, or cannot be used.
    """
    check_kind(kind)
    if isinstance(source, (str, Path)):
        return read_image(source, kind=kind, time_index=time_index, spacing=spacing)
    if isinstance(source, Image):
        clean = source.kind == kind and (kind == "label" or bool(torch.isfinite(source.data).all()))
        return source if clean else _as_kind(source, kind)
    home = type(source).__module__.split(".")[0]
    if home == "nibabel":
        return _module("nifti").from_nibabel(
            source, kind, time_index, source.get_filename() or "nibabel image"
        )
    if home == "SimpleITK":
        return _module("sitk").from_sitk(source, kind, time_index)
    raise InputError(
        f"cannot take an image from {type(source).__name__}; expected a path, an Image, a nibabel or a "
        "SimpleITK image. An array needs to say where its voxels lie: Image(data, Grid(shape, affine))."
    )


def as_mask(source: Any, grid: Grid, name: str = "mask") -> torch.Tensor:
    """The voxels of `grid` a mask marks, `(*grid.shape)` bool: those of value 0.5 and above.

    Args:
        source: a path, an `Image`, a nibabel or a SimpleITK image.
        grid: the grid of the image the mask is for.
        name: what to call the mask in messages, where it is no file.

    Raises:
        MaskError: on another grid, empty, or an image rather than a mask.
        InputError: `source` cannot be used.
    """
    image = as_image(source)
    name = str(source) if isinstance(source, (str, Path)) else name
    if not grid.matches(image.grid, tolerance=0.05):
        raise MaskError(
            f"{name}: lies on {image.grid!r}, expected its image's {grid!r}. Resample the mask onto the "
            "image first."
        )
    _check_marks(image.data[0], name)
    mask = image.data[0] >= 0.5
    if image.mask is not None:
        mask = mask & image.mask  # what is not a number marks nothing
    if not bool(mask.any()):
        raise MaskError(
            f"{name}: the mask is empty (0 of {mask.numel():,} voxels). Check it, or leave it out."
        )
    return mask


def _check_marks(values: torch.Tensor, name: str) -> None:
    """Warn where a mask has more than two values, refuse it where it looks like an image."""
    low, high = (float(v) for v in torch.aminmax(values))
    if not bool(((values != low) & (values != high)).any()):
        return
    number = len(torch.unique(values.reshape(-1)[:: max(1, values.numel() // 200_000)]))
    found = f"{name}: holds {number:,} or more different values, from {low:g} to {high:g}, expected two"
    whole = bool((values == values.round()).all())
    # soft masks lie between 0 and 1, label maps hold whole numbers
    if number > _MOST_MARKS and not whole and (low < 0 or high > 1):
        raise MaskError(
            f"{found}: this is an image. Give a mask of it, 1 where voxels count and 0 elsewhere."
        )
    warn(f"{found}; voxels of 0.5 and above count.")


def _as_kind(image: Image, kind: str) -> Image:
    if image.channels != 1:
        raise DimensionError(f"{image.name}: has {image.channels} channels, expected one. Take one first.")
    out = image_from(image.numpy()[0], image.grid, kind, image.name)
    if image.mask is None:
        return out
    return out.with_mask(image.mask if out.mask is None else image.mask & out.mask)


def _format(path: str | Path, table: dict[str, tuple[str, ...]]) -> str | None:
    name = Path(path).name.lower()
    return next((module for module, suffixes in table.items() if name.endswith(suffixes)), None)


def _module(name: str) -> ModuleType:
    return import_module(f"coincide.io.{name}")
