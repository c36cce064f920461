"""`coincide points`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.cli.opening import check_apart


def points(
    transform: a.TransformFile,
    points: Annotated[Path, typer.Option(metavar="IN.csv", help="CSV name,x,y[,z], world mm (RAS+).")],
    out: Annotated[Path, typer.Option(metavar="OUT.csv", help="CSV to write.")],
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Carry moving world → fixed world instead.")
    ] = False,
) -> int:
    """Carry landmarks through a transform: fixed world → moving world."""
    from coincide.io import read_points, read_transform, write_points

    check_apart(out, transform, points)
    landmarks = read_points(points)
    chosen = read_transform(transform)
    carried = landmarks.mapped(chosen.inverse() if inverse else chosen)
    write_points(carried, out)
    console.out.print(f"{out}: {len(carried)} points in {'fixed' if inverse else 'moving'}-world mm")
    return 0
