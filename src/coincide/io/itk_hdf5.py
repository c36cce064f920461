"""ITK's transforms in HDF5: `.h5`, the form in which coincide keeps its results."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from coincide.errors import CoincideError, TransformError, UnreadableFileError
from coincide.io.atomic import whole_file
from coincide.io.declared import existing
from coincide.io.itk import FieldParameters, Record, from_records, to_records
from coincide.ops.memory import require
from coincide.transforms.base import Transform

if TYPE_CHECKING:
    from typing_extensions import Buffer

GROUP = "TransformGroup"
TEXT = h5py.string_dtype("ascii")
CHUNK = 1 << 18
"""Values a compressed chunk: 1 MB."""


def read(path: str | Path) -> Transform:
    """Read a composite or a single transform, in double or single precision.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated, or no HDF5 file.
        TransformError: no transform coincide knows.
        ResourceError: larger than the memory.
    """
    path = existing(path)
    try:
        with h5py.File(path, "r") as file:
            group = file.get(GROUP)
            if not isinstance(group, h5py.Group):
                raise TransformError(f"{path}: is HDF5 without {GROUP}; expected a file of ITK or coincide.")
            numbers = sorted((str(name) for name in group if str(name).isdigit()), key=int)
            records = [_record(group, number, path) for number in numbers]
    except CoincideError:
        raise
    except (OSError, RuntimeError) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read ({error}). The file is truncated or damaged, or no HDF5 file."
        ) from error
    return from_records(records, str(path))


def _record(group: h5py.Group, number: str, path: Path) -> Record:
    name = _stored(group, number, "TransformType")
    if name is None:
        raise TransformError(
            f"{path}: {GROUP}/{number} has no TransformType; expected a file of ITK or coincide."
        )
    text = np.ravel(name[()])[0]
    return Record(
        text.decode() if isinstance(text, bytes) else str(text),
        _numbers(group, number, "Parameters", path),
        _numbers(group, number, "FixedParameters", path),
    )


def _numbers(group: h5py.Group, number: str, what: str, path: Path) -> np.ndarray:
    """The parameters under their present name, or the misspelt one that older ITK wrote."""
    data = _stored(group, number, f"Transform{what}") or _stored(group, number, f"Tranform{what}")
    if data is None:
        return np.zeros(0)
    if data.dtype.kind not in "fiu":
        raise TransformError(f"{path}: {GROUP}/{number} has {what} of type {data.dtype}, expected numbers.")
    require(
        2 * data.nbytes,
        f"{path}: reading {data.size:,} parameters",
        "Use a coarser field.",
    )
    return np.ravel(data[()])


def _stored(group: h5py.Group, number: str, key: str) -> h5py.Dataset | None:
    data = group.get(f"{number}/{key}")
    return data if isinstance(data, h5py.Dataset) else None


def write(transform: Transform, path: str | Path, compression: int = 0) -> None:
    """Write a composite that SimpleITK, ANTs, elastix and nitransforms read.

    Args:
        transform: fixed-world mm → moving-world mm.
        path: the file.
        compression: gzip level of the fields, 1 to 9, or 0 for none. Smooth float32 fields shrink by a sixth
            only, and take seven times as long to write.

    Raises:
        TransformError: ITK cannot hold the transform.
        OutputError: the file cannot be written.
    """
    with whole_file(path) as scratch, _Disk(scratch) as disk:
        with h5py.File(disk, "w") as file:
            _put(file, to_records(transform), compression)
        if disk.error is not None:
            raise disk.error


class _Disk(io.FileIO):
    """A file that keeps to itself what goes wrong: on a full disk HDF5 may bring the process down.

    Args:
        path: the file, made anew.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, content: Buffer) -> int:
        """Write all of `content`, or remember why that could not be."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = self.error or error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long, or remember why that could not be."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size


def _put(file: h5py.File, records: list[Record], compression: int) -> None:
    from coincide import __version__

    file.create_dataset("ITKVersion", data=["5.4.0"], dtype=TEXT)
    file.create_dataset("Writer", data=[f"coincide {__version__}"], dtype=TEXT)
    for number, record in enumerate(records):
        group = file.create_group(f"{GROUP}/{number}")
        group.create_dataset("TransformType", data=[record.name], dtype=TEXT)
        if not record.parameters.size:
            continue
        group.create_dataset("TransformFixedParameters", data=record.fixed)
        if isinstance(record.parameters, FieldParameters):
            _put_field(group, record.parameters, compression)
        else:
            group.create_dataset("TransformParameters", data=record.parameters)


def _put_field(group: h5py.Group, parameters: FieldParameters, compression: int) -> None:
    packing = {"chunks": (CHUNK,), "compression": "gzip", "compression_opts": compression, "shuffle": True}
    large = compression and parameters.size > CHUNK
    data = group.create_dataset(
        "TransformParameters", (parameters.size,), np.float32, **(packing if large else {})
    )
    at = 0
    for part in parameters.parts():
        data[at : at + part.size] = part
        at += part.size
