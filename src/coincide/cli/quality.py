"""`coincide quality`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from coincide.cli import arguments as a
from coincide.cli import console


def quality(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image.")],
    reference: Annotated[
        Path | None, typer.Option(metavar="R", help="What it should look like, on its grid.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(metavar="M", help="Voxels that count.")] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="L", help="Label map: signal and contrast of each label.")
    ] = None,
    time_index: a.TimeIndex = None,
    as_json: a.AsJson = False,
) -> int:
    """Measure an image's quality: noise, sharpness, signs of artefacts; beside a reference also errors and SSIM."""
    from coincide.api import open_image
    from coincide.cli.opening import open_images
    from coincide.measures.quality.alone import alone
    from coincide.measures.quality.reference import compared
    from coincide.results import as_plain

    opened, *others = open_images(
        image, *([] if reference is None else [reference]), mask=mask, time_index=time_index
    )
    found: dict[str, Any] = {
        "alone": alone(opened, None if labels is None else open_image(labels, kind="label"))
    }
    if others:
        found["reference"] = compared(opened, others[0])
    if as_json:
        print(json.dumps(as_plain(found), indent=2, allow_nan=False))
        return 0
    _show(found)
    return 0


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from coincide.cli.tables import as_number

    table = Table(box=None, pad_edge=False)
    table.add_column("measure")
    table.add_column("value", justify="right")
    for section, values in found.items():
        for name, value in values.items():
            table.add_row(name if section == "alone" else f"beside the {section}: {name}", as_number(value))
    console.out.print(table)
