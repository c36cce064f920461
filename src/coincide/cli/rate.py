"""`coincide rate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from coincide.cli import arguments as a
from coincide.cli import console


def rate(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE…", help="Images to rate.", show_default=False)
    ] = None,
    scores: Annotated[
        Path, typer.Option(metavar="JSON", help="Where scores are kept, and gone on from.")
    ] = Path("scores.json"),
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Of the page; 0 for any free one.")
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of the orders; else that of the scores, or 0."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Serve nothing: tell how raters agree, beside what is measured.")
    ] = False,
    as_json: a.AsJson = False,
) -> int:
    """Serve a page on which people rate images: blind, each rater in an order of his own; scores survive a restart."""
    if report:
        return _report(scores, as_json)
    from coincide.viewer.rating.server import serve
    from coincide.viewer.rating.session import Session

    server = serve(Session(tuple(images or ()), scores, seed), port)
    console.out.print(
        f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends it; scores in {scores})", soft_wrap=True
    )
    with server:
        server.serve_forever()
    return 0


def _report(path: Path, as_json: bool) -> int:
    from coincide.measures.quality.raters import agreement
    from coincide.results import as_plain
    from coincide.viewer.rating.session import SCALE, opinions, read_scores

    given = read_scores(path)
    names = sorted({image for of in given.values() for image in of})
    rows = [row | _measured(str(row["image"])) for row in opinions(given, names)]
    found = {"agreement": agreement(given, range(min(SCALE), max(SCALE) + 1)), "images": rows}
    if as_json:
        print(json.dumps(as_plain(found), indent=2, allow_nan=False))
    else:
        _show(found)
    return 0


def _measured(image: str) -> dict[str, Any]:
    """What is measured of an image; nothing where it is gone, or shows nothing."""
    from coincide.errors import InputError
    from coincide.io import read_image
    from coincide.measures.quality.alone import alone

    try:
        return dict(alone(read_image(image)))
    except InputError as problem:
        console.warn(str(problem))
        return {}


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from coincide.cli.tables import as_number

    for name, value in found["agreement"].items():
        if not isinstance(value, list):
            console.out.print(f"{name}: {as_number(value)}")
    for pair in found["agreement"]["pairs"]:
        console.out.print(
            f"{' and '.join(pair['raters'])}: kappa {pair['kappa_quadratic']:.3f} of {pair['images']} images"
        )
    table = Table(box=None, pad_edge=False)
    columns = list(dict.fromkeys(name for row in found["images"] for name in row))
    for column in columns:
        table.add_column(column, justify="left" if column == "image" else "right")
    for row in found["images"]:
        table.add_row(*(as_number(row.get(column)) for column in columns))
    console.out.print(table)
