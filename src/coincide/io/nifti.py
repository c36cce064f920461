"""NIfTI (and the other formats nibabel reads): `.nii`, `.nii.gz`, `.hdr`/`.img`, `.mgh`, `.mgz`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from coincide.errors import DimensionError, IntensityError, LabelError
from coincide.image import Image
from coincide.io.atomic import whole_file
from coincide.io.declared import check_fits
from coincide.io.frame import embed_affine, frame, trimmed
from coincide.io.nibabel_file import opened, told
from coincide.io.notes import warn
from coincide.io.values import check_kind, grey, image_from, stored_values

MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in the header's unit of length; a file that states none is taken to be in mm."""


def read(path: str | Path, kind: str = "intensity", time_index: int | None = None) -> Image:
    """Read an image.

    The world is RAS+ mm: the header's sform where it has one, else its qform, in the header's unit of length.
    In 2-D, x and y are the world axes the image lies in (see `coincide.io.frame`).

    Args:
        path: the file; compressed or not is seen from its content.
        kind: `"intensity"` or `"label"`.
        time_index: which volume of a 4-D file, from 0.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated, gzip-broken, or no NIfTI file.
        ResourceError: larger than the memory.
        GeometryError: zero or NaN spacing, singular affine.
        DimensionError: 4-D without a choice, or not 2-D or 3-D.
        IntensityError: complex, coloured, or mostly NaN.
        LabelError: labels that are not integers.
    """
    with opened(path) as loaded:
        return from_nibabel(loaded, kind, time_index, str(path))


def shape(path: str | Path) -> tuple[int, ...]:
    """What the header says of the file's shape; errors as for `read`."""
    with opened(path) as loaded:
        return tuple(loaded.shape)


def from_nibabel(
    image: Any, kind: str = "intensity", time_index: int | None = None, name: str = "image"
) -> Image:
    """An `Image` from a nibabel image; arguments and errors as for `read`."""
    check_kind(kind)
    dtype = image.get_data_dtype()
    if dtype.kind == "c":
        wrong = LabelError if kind == "label" else IntensityError
        raise wrong(f"{name}: the values are complex. Take the magnitude or one part first.")
    pick = _selection(image.shape, time_index, name)
    shape = tuple(n for n, taken in zip(image.shape, pick) if taken == slice(None))
    scaled = (getattr(image.dataobj, "slope", 1), getattr(image.dataobj, "inter", 0)) != (1, 0)
    check_fits(name, shape, dtype.itemsize + 8 * scaled)  # a scaled array comes as float64
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _unit(image.header)
    _compare_forms(image.header, shape, name)
    grid, axes = frame(affine, shape, name)
    with told(name):
        values = np.asarray(image.dataobj[pick])
    if values.dtype.names:
        values = grey(np.stack([values[channel] for channel in values.dtype.names], -1), name)
    return image_from(values.reshape([shape[axis] for axis in axes]), grid, kind, name)


def _selection(shape: tuple[int, ...], time_index: int | None, name: str) -> tuple:
    """What to take of the array: everything along the axes of space, one place along all others."""
    kept = trimmed(shape)
    if len(kept) < 2:
        raise DimensionError(f"{name}: has the shape {shape}, expected a 2-D or 3-D image.")
    if len(kept) > 4:
        raise DimensionError(
            f"{name}: is {len(kept)}-D {shape}, expected 2-D or 3-D. If it is a displacement field, "
            "hand it over as a transform; else extract a volume first."
        )
    space = (slice(None),) * min(len(shape), 3)
    if len(kept) < 4:
        return space + (0,) * (len(shape) - len(space))
    volumes = kept[3]
    if time_index is None:
        raise DimensionError(
            f"{name}: holds {volumes} volumes, expected one. Choose one with --time-index N (time_index=N), "
            f"from 0 to {volumes - 1}."
        )
    if not 0 <= time_index < volumes:
        raise DimensionError(
            f"{name}: holds {volumes} volumes, 0 to {volumes - 1}; there is no volume {time_index}."
        )
    return (*space, time_index, *(0,) * (len(shape) - 4))


def _unit(header: Any) -> float:
    """Millimetres in the header's unit of length."""
    if not isinstance(header, nib.Nifti1Header):
        return 1.0
    return MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)


def _compare_forms(header: Any, shape: tuple[int, ...], name: str) -> None:
    """Warn where the header says in two ways, or in none, where the image lies."""
    if not isinstance(header, nib.Nifti1Header) or bool(header["qform_code"]) != bool(header["sform_code"]):
        return
    if not header["sform_code"]:
        warn(
            f"{name}: the header does not say where the image lies (no qform, no sform); taken as the older "
            "Analyze format has it: x to the left, y to the front, z up, centred."
        )
        return
    n = len(shape)
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    try:
        qform = np.asarray(header.get_qform(), dtype=np.float64)
    except ValueError:  # no quaternion of unit length
        qform = np.full((4, 4), np.nan)
    corners = np.array(list(product(*((0, size - 1) for size in shape))), dtype=float)
    difference = corners @ (qform - sform)[:3, :n].T + (qform - sform)[:3, 3]
    apart = np.linalg.norm(difference, axis=1).max()
    if not apart <= 0.1 * np.linalg.norm(sform[:3, :n], axis=0).min():
        warn(
            f"{name}: qform and sform disagree, by up to {apart:.3g} of the header's unit; the sform is "
            f"used.\nqform:\n{np.round(qform, 4)}\nsform:\n{np.round(sform, 4)}"
        )


def write(image: Image, path: str | Path, like_dtype: Any = None) -> None:
    """Write an image as NIfTI-1: RAS+ mm in the sform, and in the qform too unless the grid is sheared.

    Args:
        image: one channel; a 2-D image is written in the plane z = 0.
        path: `.nii` or `.nii.gz`.
        like_dtype: numpy type to store intensities as, rounded and clipped; float32 where left out. Labels
            keep their own.

    Raises:
        DimensionError: more than one channel.
        OutputError: the file cannot be written.
    """
    values = stored_values(image, like_dtype)
    affine = image.grid.affine if image.dim == 3 else embed_affine(image.grid.affine)
    loaded = nib.Nifti1Image(values, affine, dtype=values.dtype)
    loaded.set_sform(affine, 1)
    loaded.set_qform(affine if image.grid.is_orthogonal else None, int(image.grid.is_orthogonal))
    if not image.grid.is_orthogonal:
        loaded.header["pixdim"][1 : 1 + image.dim] = image.grid.spacing
    loaded.header.set_xyzt_units("mm")
    with whole_file(path) as scratch:
        nib.save(loaded, scratch)
