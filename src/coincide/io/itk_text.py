"""ITK's transforms as text: `.tfm` and `.txt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coincide.errors import TransformError, UnreadableFileError
from coincide.io.atomic import whole_file
from coincide.io.declared import existing
from coincide.io.itk import Record, from_records, to_records
from coincide.transforms.base import Transform

HEAD = "#Insight Transform File V1.0"
MOST = 1_000_000
"""The most parameters written as text, some 20 MB."""


def read(path: str | Path) -> Transform:
    """Read a composite or a single transform.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: no text.
        TransformError: no ITK transform file, or no transform coincide knows.
    """
    path = existing(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{path}: is no text; expected an ITK transform file.") from error
    if not lines or not lines[0].startswith("#Insight Transform File"):
        raise TransformError(f"{path}: does not begin with {HEAD!r}; expected an ITK transform file.")
    entries: list[dict[str, str]] = []
    for line in lines:
        key, colon, value = line.partition(":")
        if key == "Transform":
            entries.append({})
        if colon and entries and not line.startswith("#"):
            entries[-1][key.strip()] = value.strip()
    return from_records([_record(entry, path) for entry in entries], str(path))


def _record(entry: dict[str, str], path: Path) -> Record:
    try:
        numbers = [
            np.array(entry.get(key, "").split(), dtype=np.float64)
            for key in ("Parameters", "FixedParameters")
        ]
    except ValueError as error:
        raise TransformError(
            f"{path}: {entry['Transform']} has a parameter that is no number ({error})."
        ) from error
    return Record(entry["Transform"], *numbers)


def write(transform: Transform, path: str | Path) -> None:
    """Write linear transforms, B-splines and small fields; a single transform as itself, several as a
    composite.

    Raises:
        TransformError: too large for text, or ITK cannot hold the transform.
        OutputError: the file cannot be written.
    """
    records = to_records(transform)
    records = records[1:] if len(records) == 2 else records
    size = sum(record.parameters.size for record in records)
    if size > MOST:
        raise TransformError(
            f"{path}: {size:,} parameters are too many for text (up to {MOST:,}). Write .h5 instead."
        )
    with whole_file(path) as scratch:
        scratch.write_text("\n".join([HEAD, *(_entry(i, record) for i, record in enumerate(records))]) + "\n")


def _entry(number: int, record: Record) -> str:
    head = f"#Transform {number}\nTransform: {record.name}\n"
    return f"{head}Parameters: {_text(record.numbers)}\nFixedParameters: {_text(record.fixed)}"


def _text(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)
