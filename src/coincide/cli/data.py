"""`coincide synthesise` and `coincide inspect-data`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coincide.cli import arguments as a
from coincide.cli import console

if TYPE_CHECKING:
    from coincide.data.inspection import Inspection, Look


def synthesise(
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="The contact sheet.")],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="OPTIONS",
            help="What to make: option=value,… of Synthesis, as in anatomies=headxblobs,shape=64x64x64,"
            "motion=motion(rotation=90).",
        ),
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="How many pairs.")] = 6,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="Of the first pair; the next ones follow.")
    ] = 0,
    pairs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the pairs too, with their truth, as a data set.")
    ] = None,
) -> int:
    """Make pairs of made-up anatomies whose true transform is known, and show them on one picture.

    Each row shows the fixed image, the moving one, the moving one through the truth, and the fixed labels.
    """
    from PIL import Image as pil

    from coincide.data.synthesis import Synthesis, contact_sheet, write_examples
    from coincide.errors import OutputError
    from coincide.io import whole_file
    from coincide.options import build

    if out.suffix.lower() != ".png":
        raise OutputError(f"{out}: the contact sheet is a PNG picture; name it so.")
    made = build("recipe", f"synthesis:{recipe}", {"synthesis": Synthesis})
    seeds = range(seed, seed + count)
    sheet = contact_sheet(made, seeds)
    with whole_file(out) as scratch:
        pil.fromarray(sheet).save(scratch)
    console.out.print(f"{out}: {count} pairs, seeds {seeds[0]} to {seeds[-1]}", soft_wrap=True)
    if pairs is not None:
        table = write_examples(made, seeds, pairs)
        console.out.print(f"{table}: the pairs and their truth", soft_wrap=True)
    return 0


def inspect_data(
    source: Annotated[Path, typer.Argument(metavar="DATA", help="A folder, a CSV table, or a BIDS tree.")],
    as_json: a.AsJson = False,
) -> int:
    """Look through a data set: sizes, spacings, intensities, and everything that is wrong with it.

    Exits with 3 if anything is.
    """
    from coincide.data import inspect, read_data_set

    found = inspect(read_data_set(source))
    if as_json:
        print(json.dumps(_plain(found), indent=2, ensure_ascii=False))
        return 0 if not found.problems else 3
    console.out.print(_table(found))
    if found.problems:
        found.check()
    subjects = {look.case.subject for look in found.looks}
    console.out.print(f"{len(found.looks)} images of {len(subjects)} subjects; nothing is wrong.")
    return 0


def _plain(found: Inspection) -> dict[str, Any]:
    return {
        "source": str(found.source),
        "images": [_row(look) for look in found.looks],
        "problems": [dataclasses.asdict(problem) for problem in found.problems],
    }


def _row(look: Look) -> dict[str, Any]:
    return {
        "image": str(look.case.image),
        "subject": look.case.subject,
        "part": look.case.part,
        "shape": list(look.shape),
        "spacing": [round(s, 6) for s in look.spacing],
        "percentiles": list(look.percentiles),
        "labels": look.labels,
        "points": look.points,
    }


def _table(found: Inspection):
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("image", "subject", "part", "voxels", "mm", "0 | 1 | 50 | 99 | 100 %", "labels", "points"):
        table.add_column(column, overflow="fold")
    for look in found.looks:
        row = _row(look)
        cells = (
            row["image"],
            row["subject"],
            row["part"],
            "×".join(map(str, row["shape"])),
            "×".join(f"{s:.3g}" for s in row["spacing"]),
            " | ".join(f"{p:.4g}" for p in row["percentiles"]),
            "" if row["labels"] is None else str(row["labels"]),
            "" if row["points"] is None else str(row["points"]),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table
