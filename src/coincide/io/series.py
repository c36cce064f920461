"""Series of frames: 4-D NIfTI, multi-frame DICOM and TIFF, and folders with a file for each frame."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from coincide.errors import DimensionError, IntensityError, UnreadableFileError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import dicom_film
from coincide.io.atomic import whole_file
from coincide.io.declared import check_fits, existing
from coincide.io.frame import embed_affine
from coincide.io.images import FORMATS, count_volumes, read_image
from coincide.io.nibabel_file import opened
from coincide.io.nifti import from_nibabel
from coincide.io.notes import InputNote
from coincide.methods.series import Series

_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
"""Seconds in a NIfTI header's unit of time."""
_KNOWN = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)


def read_series(path: str | Path) -> Series:
    """The frames that a file or a folder holds.

    A film of pictures is a NIfTI file of the shape (X, Y, 1, T), a DICOM file of many frames or a TIFF of many pages; a
    series of volumes a NIfTI file (X, Y, Z, T). In a folder each file is a frame, in the order of the numbers in their
    names, or of the instance numbers of DICOM files. A frame that is all NaN, or of one value, is missing.

    Raises:
        MissingFileError: there is nothing of this name.
        UnreadableFileError: damaged, or a folder without images.
        DimensionError: fewer than two frames.
        GeometryError: frames that lie on several grids.
        InputError: see the format's module for which one and why.
        ResourceError: larger than the memory.
    """
    path = Path(path)
    if path.is_dir():
        frames, interval = _folder(path)
    else:
        frames, interval = _file(existing(path))
    return Series(tuple(frames), interval, str(path))


def write_frames(frames: list[Image], path: str | Path, interval: float | None = None) -> None:
    """Write frames on one grid as one NIfTI file of four dimensions; 2-D ones in the plane z = 0.

    Args:
        frames: of one channel each.
        path: `.nii` or `.nii.gz`.
        interval: seconds from one to the next.

    Raises:
        OutputError: the file cannot be written.
    """
    grid = frames[0].grid
    values = np.stack([frame.numpy()[0] for frame in frames], -1).astype(np.float32)
    values = values if grid.dim == 3 else values[:, :, None]
    affine = grid.affine if grid.dim == 3 else embed_affine(grid.affine)
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine if grid.is_orthogonal else None, int(grid.is_orthogonal))
    image.header["pixdim"][4] = interval or 1.0
    image.header.set_xyzt_units("mm", "sec" if interval else "unknown")
    with whole_file(path) as scratch:
        nib.save(image, scratch)


def _file(path: Path) -> tuple[list[Image], float | None]:
    name = path.name.lower()
    if name.endswith((".dcm", ".dicom")) or (not name.endswith(_KNOWN) and dicom_film.is_dicom(path)):
        return dicom_film.read_film(path)
    if name.endswith(FORMATS["nifti"]):
        return _nifti(path)
    number = count_volumes(path)
    if number < 2:
        raise DimensionError(
            f"{path}: holds one frame, expected several. Give a 4-D NIfTI file, a multi-frame DICOM file, or a folder "
            "with a file for each frame."
        )
    return _each(range(number), lambda n: read_image(path, time_index=n)), None


def _nifti(path: Path) -> tuple[list[Image], float | None]:
    with opened(path) as loaded:
        if len(loaded.shape) != 4 or loaded.shape[3] < 2:
            raise DimensionError(
                f"{path}: has the shape {loaded.shape}, expected four dimensions, the last one of two frames or more: "
                "(X, Y, 1, T) for a film, (X, Y, Z, T) for volumes."
            )
        if loaded.get_data_dtype().kind == "c":
            raise IntensityError(f"{path}: the values are complex. Take the magnitude or one part first.")
        check_fits(path, loaded.shape, 8)
        # one look through the file: compressed ones cannot be entered in their middle
        whole = nib.Nifti1Image(np.asarray(loaded.dataobj, dtype=np.float32), loaded.affine, loaded.header)
        frames = _each(range(loaded.shape[3]), lambda n: from_nibabel(whole, "intensity", n, str(path)))
        interval = _interval(loaded.header)
    return frames, interval


def _interval(header: Any) -> float | None:
    """Seconds from one frame to the next, where the header says."""
    unit = _SECONDS.get(int(header["xyzt_units"]) & 56) if isinstance(header, nib.Nifti1Header) else None
    step = float(header["pixdim"][4]) if unit else 0.0
    return step * unit if unit and step > 0 else None


def _folder(path: Path) -> tuple[list[Image], float | None]:
    files = sorted((f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")), key=_by_number)
    films = [f for f in files if not f.name.lower().endswith(_KNOWN) and dicom_film.is_dicom(f)]
    if films:
        return _slices(films)
    files = [f for f in files if f.name.lower().endswith(_KNOWN)]
    if not files:
        raise UnreadableFileError(
            f"{path}: holds no image; expected a file for each frame ({', '.join(_KNOWN[:2])}, .dcm, .png, …)."
        )
    return _each(files, read_image), None


def _slices(files: list[Path]) -> tuple[list[Image], float | None]:
    """Frames of DICOM files of one each, by their instance numbers."""
    import pydicom

    numbers = {f: int(pydicom.dcmread(f, stop_before_pixels=True).get("InstanceNumber") or 0) for f in files}
    films = [dicom_film.read_film(f) for f in sorted(files, key=lambda f: (numbers[f], _by_number(f)))]
    return [frame for frames, _ in films for frame in frames], films[0][1]


def _each(keys: Any, read: Callable[[Any], Image]) -> list[Image]:
    """A frame for each of `keys`; one without values is dark. What all have to say is said once."""
    found: list[Image | None] = []
    for key in keys:
        with warnings.catch_warnings():
            if any(frame is not None for frame in found):
                warnings.simplefilter("ignore", InputNote)
            try:
                found.append(read(key))
            except IntensityError as error:
                if "NaN" not in str(error):
                    raise
                found.append(None)
    grids = [frame.grid for frame in found if frame is not None]
    if not grids:
        raise IntensityError("no frame of the series holds numbers. Check the file.")
    return [_dark(grids[0]) if frame is None else frame for frame in found]


def _dark(grid: Grid) -> Image:
    return Image(torch.zeros((1, *grid.shape)), grid, name="missing frame")


def _by_number(path: Path) -> list[Any]:
    """A key by which frame 10 comes after frame 9."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", path.name.lower())
    ]
