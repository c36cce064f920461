"""PNG, JPEG and TIFF pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image as pil

from coincide.errors import (
    CoincideError,
    DimensionError,
    GeometryError,
    IntensityError,
    OutputError,
    ResourceError,
    UnreadableFileError,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.io.atomic import whole_file
from coincide.io.declared import check_fits, existing
from coincide.io.notes import note
from coincide.io.values import check_kind, grey, image_from, stored_values

PICTURES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
"""What pillow calls the formats that are written."""
INCH = 25.4
_ELSEWHERE = "For its transforms in ITK see docs/files.md, Pictures."
_X_RESOLUTION = 282
"""The tag of TIFF."""


def read(
    path: str | Path, kind: str = "intensity", time_index: int | None = None, spacing: Any = None
) -> Image:
    """Read a grey picture.

    x runs along the picture's rows, to the right, y down its columns, in mm; the centre of the pixel at the
    top left is (0, 0). ITK calls the same point (x, y) too, but in its LPS world, where ours is (−x, −y): before
    it applies our transform files to a picture that it read itself, the picture must be given the direction
    (−1, 0, 0, −1), or be written as NIfTI by coincide first.

    Args:
        path: the file.
        kind: `"intensity"` or `"label"`.
        time_index: which page of a TIFF of several, from 0.
        spacing: mm a pixel, one number or two (x, y); where left out, by the resolution the file states, or 1
            mm.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated or broken.
        ResourceError: larger than the memory.
        GeometryError: a spacing that is not positive.
        DimensionError: several pages without a choice.
        IntensityError: coloured.
    """
    check_kind(kind)
    path = Path(path)
    with _opened(path) as picture:
        check_fits(path, picture.size, 4 * len(picture.getbands()))
        _turn_to_page(picture, time_index, path)
        values, stated = _pixels(picture, path), _stated(picture)
    grid = Grid.from_spacing(values.shape, _spacing(spacing, stated, path))
    return image_from(values, grid, kind, str(path))


def shape(path: str | Path) -> tuple[int, ...]:
    """Columns, rows, 1 and the number of pages, by the header; errors as for `read`."""
    with _opened(path) as picture:
        return (*picture.size, 1, getattr(picture, "n_frames", 1))


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The picture in a file, its values not yet read."""
    path = existing(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pil.DecompressionBombWarning)
            with pil.open(path) as picture:
                yield picture
    except CoincideError:
        raise
    except pil.DecompressionBombError as error:
        raise ResourceError(f"{path}: {error} Crop or shrink the picture first.") from error
    except (OSError, SyntaxError, ValueError, EOFError, PIL.UnidentifiedImageError) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read ({error}). The file is truncated or damaged."
        ) from error


def _stated(picture: Any) -> tuple[float, float] | None:
    """The resolution that the file states, dots an inch along x and y."""
    tags = getattr(picture, "tag_v2", None)
    # for a TIFF that states none, pillow makes up one
    return None if tags is not None and _X_RESOLUTION not in tags else picture.info.get("dpi")


def _turn_to_page(picture: Any, time_index: int | None, path: Path) -> None:
    pages = getattr(picture, "n_frames", 1)
    if pages == 1:
        return
    if time_index is None or not 0 <= time_index < pages:
        raise DimensionError(
            f"{path}: holds {pages} pages, expected one. Choose one with --time-index N (time_index=N), "
            f"from 0 to {pages - 1}."
        )
    picture.seek(time_index)


def _pixels(picture: Any, path: Path) -> np.ndarray:
    """The grey values, `(column, row)`."""
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        raise IntensityError(
            f"{path}: the picture is coloured ({picture.mode}), expected grey. Turn it into grey first."
        )
    values = np.asarray(picture)
    return (grey(values, str(path)) if values.ndim == 3 else values).T


def _spacing(given: Any, stated: tuple[float, float] | None, path: Path) -> np.ndarray:
    """Millimetres a pixel along x and y."""
    if given is not None:
        spacing = np.broadcast_to(np.asarray(given, dtype=np.float64), (2,))
        if not (np.isfinite(spacing).all() and spacing.min() > 0):
            raise GeometryError(f"{path}: the spacing given is {given} mm, expected positive numbers.")
        return spacing
    if stated and min(stated) > 0:
        spacing = INCH / np.asarray(stated, dtype=np.float64)
        note(
            f"{path}: spacing {spacing[0]:.4g} × {spacing[1]:.4g} mm, by the resolution the file states. {_ELSEWHERE}"
        )
        return spacing
    note(f"{path}: states no resolution; 1 mm a pixel is assumed, so lengths are in pixels. {_ELSEWHERE}")
    return np.ones(2)


def write(image: Image, path: str | Path, like_dtype: Any = None) -> None:
    """Write a 2-D image that lies like a picture as PNG (8 or 16 bits) or TIFF (float32, or integers).

    Args:
        image: one channel, on a grid as `read` makes it.
        path: `.png`, `.tif` or `.tiff`.
        like_dtype: numpy type of the intensities; where left out, float32 in TIFF, and in PNG 8 bits if the
            values fit, else 16.

    Raises:
        DimensionError: not 2-D, or several channels.
        GeometryError: the grid does not lie like a picture.
        OutputError: the file cannot be written, or its format cannot hold the values.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise OutputError(
            f"{path}: loses detail (JPEG); write one of {', '.join(PICTURES)}, or NIfTI, instead."
        )
    if image.dim != 2:
        raise DimensionError(f"{path}: a picture is 2-D, {image.name} is {image.dim}-D. Write NIfTI instead.")
    if np.abs(image.grid.affine - np.diag([*image.grid.spacing, 1])).max() > 1e-6:
        raise GeometryError(f"{path}: a picture cannot hold where {image.name} lies. Write NIfTI instead.")
    values = _fitting(
        stored_values(image, like_dtype), suffix, like_dtype is None and image.kind == "intensity", path
    )
    content = io.BytesIO()
    # written straight to a full disk, pillow keeps silent
    pil.fromarray(np.ascontiguousarray(values.T)).save(
        content, PICTURES[suffix], dpi=tuple(INCH / image.grid.spacing)
    )
    with whole_file(path) as scratch:
        scratch.write_bytes(content.getbuffer())


def _fitting(values: np.ndarray, suffix: str, free: bool, path: str | Path) -> np.ndarray:
    """`values` in a type the format holds: its own, or with `free` and in PNG the smallest."""
    if suffix == ".png" and free:
        values = np.rint(values)
    low, high = float(values.min()), float(values.max())
    if values.dtype == np.float32 and suffix != ".png":
        return values
    for dtype in (np.uint8, np.uint16):
        fits = low >= 0 and high <= np.iinfo(dtype).max
        if values.dtype == dtype or (fits and (free or values.dtype.kind in "iu")):
            return values.astype(dtype)
    raise OutputError(
        f"{path}: holds whole numbers from 0 to 65,535 a pixel, found {low:g} to {high:g} ({values.dtype}). "
        "Write NIfTI instead."
    )
