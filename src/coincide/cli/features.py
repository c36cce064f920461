"""`coincide features`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.cli.opening import check_apart

_File = Path | None


def features(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image.")],
    labels: Annotated[
        _File, typer.Option(metavar="L", help="Label map: each label is described too.")
    ] = None,
    mask: Annotated[_File, typer.Option(metavar="M", help="Voxels that count.")] = None,
    out: Annotated[
        _File, typer.Option(metavar="Y", help="File to write: .csv or .json; else they are printed.")
    ] = None,
    groups: Annotated[
        str, typer.Option(metavar="G", help="Which: shape, position, appearance, texture, histogram.")
    ] = "shape,position,appearance,texture",
    bins: Annotated[int, typer.Option(metavar="N", help="Grey levels over each region's own range.")] = 32,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Resample to this spacing first, as textures should be."),
    ] = None,
    time_index: a.TimeIndex = None,
    as_json: a.AsJson = False,
) -> int:
    """Describe an image and each of its labels by shape, position, appearance and texture, in mm."""
    from coincide.api import open_image
    from coincide.cli.opening import open_images
    from coincide.features.table import Features

    chosen = Features(tuple(g.strip() for g in groups.split(",")), bins, spacing)
    if out is not None:
        _check(out, [image, labels, mask])
    [opened] = open_images(image, mask=mask, time_index=time_index)
    found = chosen(opened, None if labels is None else open_image(labels, kind="label"))
    _warn_of_few(found, spacing, 2**opened.dim)
    if out is None:
        _show(found, as_json)
        return 0
    from coincide.io.atomic import whole_file

    with whole_file(out) as scratch:
        scratch.write_text(as_text(found, out.suffix.lower()), encoding="utf-8")
    console.out.print(f"{out}: {len(next(iter(found.values())))} features of {len(found)} regions")
    return 0


def _warn_of_few(found: dict[str, dict[str, float]], spacing: float | None, few: int) -> None:
    """Say which labels are too small to be measured."""
    names = [name for name, row in found.items() if row["voxels"] < few]
    if names:
        at = "" if spacing is None else f" at {spacing:g} mm"
        console.warn(
            f"region {', '.join(names)}: fewer than {few} voxels count{at}; trust no form or texture."
        )


def as_text(found: dict[str, dict[str, float]], suffix: str) -> str:
    """Features as CSV, a row for each region, or as JSON."""
    from coincide.results import as_plain

    if suffix == ".json":
        return json.dumps(as_plain(found), indent=2, allow_nan=False) + "\n"
    columns = list(dict.fromkeys(name for row in found.values() for name in row))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["region", *columns])
    for region, row in found.items():
        writer.writerow([region, *("" if (v := as_plain(row.get(c))) is None else repr(v) for c in columns)])
    return stream.getvalue()


def _check(out: Path, inputs: list[_File]) -> None:
    from coincide.errors import OutputError

    if out.suffix.lower() not in (".csv", ".json"):
        raise OutputError(
            f"{out}: features are written as .csv or .json. Name a file with one of these suffixes."
        )
    check_apart(out, *inputs)


def _show(found: dict[str, dict[str, float]], as_json: bool) -> None:
    from rich.table import Table

    from coincide.cli.tables import as_number

    if as_json:
        print(as_text(found, ".json"), end="")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("feature")
    for region in found:
        table.add_column(region, justify="right")
    for name in dict.fromkeys(name for row in found.values() for name in row):
        table.add_row(name, *(as_number(row.get(name)) for row in found.values()))
    console.out.print(table)
