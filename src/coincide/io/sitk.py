"""NRRD, MetaImage and whatever else SimpleITK reads; SimpleITK images to and from `Image`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from coincide.errors import (
    DimensionError,
    GeometryError,
    IntensityError,
    LabelError,
    OutputError,
    UnreadableFileError,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.io.atomic import whole_file
from coincide.io.declared import check_fits, check_holds, existing
from coincide.io.frame import embed_affine, frame
from coincide.io.values import check_kind, grey, image_from, stored_values

WRITES = (".nrrd", ".mha")
BYTES = {"8-bit": 1, "16-bit": 2, "32-bit": 4, "64-bit": 8}


def read(path: str | Path, kind: str = "intensity", time_index: int | None = None) -> Image:
    """Read an image; its LPS world becomes RAS+ by turning x and y round, in 2-D too.

    Args:
        path: the file.
        kind: `"intensity"` or `"label"`.
        time_index: which volume of a 4-D file, from 0.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated, broken, or of a format SimpleITK does not know.
        ResourceError: larger than the memory.
        GeometryError: zero or NaN spacing, singular direction.
        DimensionError: 4-D without a choice, or not 2-D or 3-D.
        IntensityError: complex, coloured, or mostly NaN.
        LabelError: labels that are not integers.
    """
    path = existing(path)
    with _told(path):
        image = _reader(path).Execute()
    return from_sitk(image, kind, time_index, str(path))


def shape(path: str | Path) -> tuple[int, ...]:
    """What the header says of the file's shape; errors as for `read`."""
    path = existing(path)
    with _told(path):
        return tuple(_reader(path).GetSize())


def _reader(path: Path) -> Any:
    """A reader that knows the header, of a file that is large enough and not too large."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    _check_size(reader, path)
    return reader


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the library's complaints into ours."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        if "spacing" in str(error) or "direction" in str(error):
            raise GeometryError(
                f"{path}: the spacing or direction cannot be right ({reason}). Mend the header."
            ) from error
        raise UnreadableFileError(
            f"{path}: cannot be read ({reason}). It is truncated or damaged, or of a format that neither "
            "nibabel nor SimpleITK knows; convert it to NIfTI."
        ) from error


def _check_size(reader: Any, path: Path) -> None:
    """Refuse what the file cannot hold, or the memory not take, before a value is read."""
    shape = tuple(reader.GetSize())
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    each = next((n for word, n in BYTES.items() if word in kind), 1) * reader.GetNumberOfComponents()
    check_fits(path, shape, each)
    if path.suffix in WRITES:
        check_holds(path, int(np.prod(shape, dtype=object)) * each, packed=True)


def from_sitk(
    image: Any, kind: str = "intensity", time_index: int | None = None, name: str = "image"
) -> Image:
    """An `Image` from a SimpleITK image: LPS becomes RAS+, in 2-D the same signs change."""
    check_kind(kind)
    if image.GetDimension() == 4:
        image = _volume(image, time_index, name)
    if image.GetDimension() not in (2, 3):
        raise DimensionError(f"{name}: is {image.GetDimension()}-D, expected 2-D or 3-D.")
    if "complex" in image.GetPixelIDTypeAsString():
        wrong = LabelError if kind == "label" else IntensityError
        raise wrong(f"{name}: the values are complex. Take the magnitude or one part first.")
    values = sitk.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = grey(values, name)
    shape = tuple(image.GetSize())
    grid, axes = frame(_affine(image), shape, name)
    return image_from(values.T.reshape([shape[axis] for axis in axes]), grid, kind, name)


def _volume(image: Any, time_index: int | None, name: str) -> Any:
    volumes = image.GetSize()[3]
    if time_index is None and volumes > 1:
        raise DimensionError(
            f"{name}: holds {volumes} volumes, expected one. Choose one with --time-index N (time_index=N), "
            f"from 0 to {volumes - 1}."
        )
    if not 0 <= (time_index or 0) < volumes:
        raise DimensionError(
            f"{name}: holds {volumes} volumes, 0 to {volumes - 1}; there is no volume {time_index}."
        )
    return image[:, :, :, time_index or 0]


def _affine(image: Any) -> np.ndarray:
    """`(4, 4)` from index to RAS+ mm."""
    n = image.GetDimension()
    affine = np.eye(n + 1)
    affine[:n, :n] = np.reshape(image.GetDirection(), (n, n)) * image.GetSpacing()
    affine[:n, n] = image.GetOrigin()
    affine[:2] *= -1
    return affine if n == 3 else embed_affine(affine)


def to_sitk(image: Image, like_dtype: Any = None) -> Any:
    """A SimpleITK image of one channel: RAS+ becomes LPS, in 2-D the same signs change.

    Args:
        image: one channel on a grid with axes at right angles.
        like_dtype: numpy type of the intensities; float32 where left out. Labels keep their own.

    Raises:
        DimensionError: more than one channel.
        GeometryError: the grid is sheared.
    """
    out = sitk.GetImageFromArray(stored_values(image, like_dtype).T)
    place(out, image.grid, image.name)
    return out


def place(image: Any, grid: Grid, name: str) -> None:
    """Set origin, spacing and direction of a SimpleITK image, LPS, from `grid`, RAS+.

    Raises:
        GeometryError: the grid is sheared.
    """
    if not grid.is_orthogonal:
        raise GeometryError(
            f"{name}: the axes are not at right angles, which ITK does not hold. Resample onto an "
            "orthogonal grid first, or use NIfTI."
        )
    turn = np.array([-1.0, -1.0, 1.0])[: grid.dim]
    image.SetOrigin((turn * grid.origin).tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((turn[:, None] * grid.direction).ravel().tolist())


def write(image: Image, path: str | Path, like_dtype: Any = None) -> None:
    """Write an image as `.nrrd` or `.mha`.

    Args:
        image: one channel on a grid with axes at right angles.
        path: the file.
        like_dtype: numpy type to store intensities as; float32 where left out. Labels keep their own.

    Raises:
        DimensionError: more than one channel.
        GeometryError: the grid is sheared.
        OutputError: the file cannot be written, or its format keeps header and values in two files.
    """
    if Path(path).suffix.lower() not in WRITES:
        raise OutputError(
            f"{path}: keeps header and values in two files; write one of {', '.join(WRITES)} instead."
        )
    out = to_sitk(image, like_dtype)
    with whole_file(path) as scratch:
        try:
            sitk.WriteImage(out, str(scratch), useCompression=True)
        except RuntimeError as error:
            raise OSError(str(error).strip().splitlines()[-1]) from error
