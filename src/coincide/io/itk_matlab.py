"""ITK's linear transforms in Matlab's version 4 binary form: `.mat`, what ANTs writes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from coincide.errors import TransformError, UnreadableFileError
from coincide.io.atomic import whole_file
from coincide.io.declared import existing
from coincide.io.itk import Record, from_records, to_records
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine

TYPES = {0: "f8", 10: "f4", 20: "i4"}
"""Numpy's name of the number types in the header's tens."""


def read(path: str | Path) -> Transform:
    """Read a transform: a matrix named after its class, with the parameters, and one named `fixed`.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated, or not of Matlab's version 4.
        TransformError: no transform coincide knows.
    """
    path = existing(path)
    try:
        matrices = _matrices(path.read_bytes())
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read ({error}). Expected an ITK transform in Matlab's version 4 form, as "
            "ANTs writes it; "
            "FSL's .mat files are of another kind."
        ) from error
    if len(matrices) % 2 or any(name != "fixed" for name, _ in matrices[1::2]):
        raise TransformError(
            f"{path}: holds {[name for name, _ in matrices]}, expected a transform and 'fixed'."
        )
    pairs = zip(matrices[::2], matrices[1::2])
    return from_records(
        [Record(name, parameters, fixed) for (name, parameters), (_, fixed) in pairs], str(path)
    )


def _matrices(content: bytes) -> list[tuple[str, np.ndarray]]:
    """The named matrices of a version 4 file, flat."""
    out = []
    at = 0
    while at < len(content):
        order = "<" if struct.unpack_from("<i", content, at)[0] < 10_000 else ">"
        kind, rows, columns, _, letters = struct.unpack_from(f"{order}5i", content, at)
        dtype = np.dtype(order + TYPES[kind % 1000])
        at += 20
        name = content[at : at + letters].rstrip(b"\0").decode("ascii")
        at += letters
        out.append((name, np.frombuffer(content, dtype, rows * columns, at).astype(np.float64)))
        at += rows * columns * dtype.itemsize
    return out


def write(transform: Transform, path: str | Path) -> None:
    """Write a linear transform.

    Raises:
        TransformError: the transform is not linear.
        OutputError: the file cannot be written.
    """
    if not isinstance(transform, Affine):
        raise TransformError(
            f"{path}: holds linear transforms only, found a {type(transform).__name__}. Write .h5 instead."
        )
    record = to_records(transform)[1]
    with whole_file(path) as scratch, scratch.open("wb") as stream:
        for name, values in ((record.name, record.numbers), ("fixed", record.fixed)):
            letters = name.encode("ascii") + b"\0"
            stream.write(struct.pack("<5i", 0, len(values), 1, 0, len(letters)) + letters)
            stream.write(values.astype("<f8").tobytes())
