"""Opening what nibabel reads, with care: nothing is allocated before the header has been believed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from coincide.errors import CoincideError, GeometryError, UnreadableFileError
from coincide.io.declared import check_holds, existing
from coincide.io.frame import trimmed

GZIP = b"\x1f\x8b"
BROKEN = (OverflowError, OSError, EOFError, zlib.error, ValueError)
"""What reading the values of a damaged file raises."""


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """The nibabel image in `path`, its values not yet read; read them inside the block.

    Whether a file is compressed is seen from its content. A compressed one is read to its end, so its
    checksum counts.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated, gzip-broken, too small for what it declares, or of another format.
        GeometryError: a spacing of zero or NaN.
    """
    path = existing(path)
    if path.suffix.lower() in (".hdr", ".img"):
        with told(path, Exception):
            loaded = nib.load(path)
            _check_header(loaded.header, Path(str(loaded.file_map["image"].filename)), False)
        with told(path):
            yield loaded
        return
    with path.open("rb") as plain:
        packed = plain.read(2) == GZIP
    with gzip.open(path) if packed else path.open("rb") as stream:
        # nibabel meets junk with a dozen unrelated classes of error
        with told(path, Exception):
            loaded = _loaded(stream, path, packed)
        with told(path):
            yield loaded
            while packed and stream.read(1 << 20):
                pass


@contextmanager
def told(name: str | Path, broken: Any = BROKEN) -> Iterator[None]:
    """Turn errors of the classes `broken` into an `UnreadableFileError` that names the file."""
    try:
        yield
    except CoincideError:
        raise
    except broken as error:
        raise UnreadableFileError(
            f"{name}: cannot be read ({error}). The file is truncated or damaged; copy or export it again."
        ) from error


def _loaded(stream: Any, path: Path, packed: bool) -> Any:
    image_class = _class_of(stream, path)
    _check_header(image_class.header_class.from_fileobj(stream, check=False), path, packed)
    stream.seek(0)
    return image_class.from_stream(stream)


def _class_of(stream: Any, path: Path) -> Any:
    """The nibabel class for what the file begins with; the stream is back at its start afterwards."""
    head = stream.read(348)
    stream.seek(0)
    if path.suffix.lower() in (".mgh", ".mgz"):
        return nib.MGHImage
    for image_class, size in ((nib.Nifti1Image, 348), (nib.Nifti2Image, 540)):
        if size in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
            return image_class
    raise UnreadableFileError(
        f"{path}: does not begin like a NIfTI file ({len(head)} bytes of header read, expected 348 or 540). "
        "Is it another format, or truncated?"
    )


def _check_header(header: Any, path: Path, packed: bool) -> None:
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if min(shape, default=0) < 1:
        raise UnreadableFileError(f"{path}: the header declares the shape {shape}; expected positive sizes.")
    if dtype.kind not in "biufc" and not dtype.names:
        raise UnreadableFileError(
            f"{path}: the header declares values of the type {dtype}, expected numbers."
        )
    voxels = 1
    for n in shape:
        voxels *= int(n)
    check_holds(path, voxels * dtype.itemsize, packed)
    if isinstance(header, nib.Nifti1Header):
        spacing = np.asarray(header["pixdim"], dtype=float)[1 : 1 + len(trimmed(shape)[:3])]
        if not np.isfinite(spacing).all() or (spacing == 0).any():
            raise GeometryError(
                f"{path}: the header's spacing (pixdim) is {spacing} mm, expected finite and not zero. "
                "Mend the header."
            )
