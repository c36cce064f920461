"""Landmarks as CSV: a header `name,x,y[,z]`, one landmark a line, world mm (RAS+ in 3-D)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from coincide.errors import PointsError
from coincide.io.atomic import whole_file
from coincide.io.declared import existing
from coincide.points import Points


def read_points(path: str | Path) -> Points:
    """Read landmarks.

    Args:
        path: CSV with the columns x, y and, in 3-D, z, in world mm; `name` may be missing, others are passed
            over.

    Raises:
        MissingFileError: no such file.
        PointsError: no such columns, no landmark, or a coordinate that is no finite number.
    """
    path = existing(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PointsError(f"{path}: is no text file; expected CSV with a header name,x,y[,z].") from error
    rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    axes = [axis for axis in "xyz" if axis in header]
    if axes not in (["x", "y"], ["x", "y", "z"]):
        raise PointsError(
            f"{path}: the header is {','.join(header)!r}, expected name,x,y or name,x,y,z (world mm)."
        )
    columns = [header.index(axis) for axis in axes]
    numbered = [(line, row) for line, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)]
    if not numbered:
        raise PointsError(f"{path}: holds no landmark, only a header. Check the file.")
    world = [
        [_coordinate(row, column, f"{path}, line {line}") for column in columns] for line, row in numbered
    ]
    if "name" not in header:
        return Points(np.array(world))
    at = header.index("name")
    short = [line for line, row in numbered if len(row) <= at]
    if short:
        raise PointsError(f"{path}, line {short[0]}: has no name, though the header announces one. Add it.")
    names = tuple(row[at].strip() for _, row in numbered)
    return Points(np.array(world), names)


def _coordinate(row: list[str], column: int, where: str) -> float:
    cell = row[column].strip() if column < len(row) else ""
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise PointsError(
            f"{where}: the coordinate is {cell!r}, expected a finite number with a point for decimals."
        )
    return value


def write_points(points: Points, path: str | Path) -> None:
    """Write landmarks as CSV with a header `name,x,y[,z]`, world mm, in full precision.

    Landmarks that were given no names are written without: numbers in their place would pass for names when read again.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        named = points.named
        table.writerow([*["name"][:named], *"xyz"[: points.dim]])
        for name, place in zip(points.names, points.world):
            table.writerow([*[name][:named], *(repr(float(value)) for value in place)])
