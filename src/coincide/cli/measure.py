"""`coincide measure`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from coincide.cli import arguments as a
from coincide.cli import console

Labels = Annotated[Path | None, typer.Option(metavar="L", help="Label map.")]
Landmarks = Annotated[Path | None, typer.Option(metavar="P", help="CSV name,x,y[,z], world mm.")]
Picture = Annotated[Path | None, typer.Option(metavar="X", help="Image.")]
Chosen = Annotated[
    Path | None, typer.Option(metavar="T", help="Transform, fixed world → moving world; none if left out.")
]


def measure(
    fixed_labels: Labels = None,
    moving_labels: Labels = None,
    fixed_points: Landmarks = None,
    moving_points: Landmarks = None,
    fixed: Picture = None,
    moving: Picture = None,
    fixed_mask: a.FixedMask = None,
    transform: Chosen = None,
    time_index: a.TimeIndex = None,
    as_json: a.AsJson = False,
) -> int:
    """Score two label maps, two sets of landmarks or two images, through a transform where one is given.

    Any of the three may be given, each as a fixed and a moving one. Labels are carried by nearest neighbour.
    """
    _need_partners(
        **{"labels": (fixed_labels, moving_labels), "points": (fixed_points, moving_points)},
        **{"": (fixed, moving)},
    )
    from coincide.io import read_transform
    from coincide.io.images import check_time_index

    check_time_index(time_index, *(image for image in (fixed, moving) if image is not None))
    chosen = None if transform is None else read_transform(transform)
    found: dict[str, Any] = {}
    if fixed is not None and moving is not None:
        found.update(_of_images(fixed, moving, fixed_mask, chosen, time_index))
    if fixed_labels is not None and moving_labels is not None:
        found["labels"] = _of_labels(fixed_labels, moving_labels, chosen)
    if fixed_points is not None and moving_points is not None:
        found["points"] = _of_points(fixed_points, moving_points, chosen)
    show(found, as_json)
    return 0


def _need_partners(**pairs: tuple[Path | None, Path | None]) -> None:
    for kind, (one, other) in pairs.items():
        if (one is None) != (other is None):
            end = f"-{kind}" if kind else ""
            given, missing = ("fixed", "moving") if other is None else ("moving", "fixed")
            raise typer.BadParameter(f"--{given}{end} needs --{missing}{end} beside it.")
    if all(one is None for one, _ in pairs.values()):
        raise typer.BadParameter(
            "nothing to measure: give --fixed-labels and --moving-labels, or --fixed-points and "
            "--moving-points, or --fixed and --moving."
        )


def _of_images(
    fixed: Path, moving: Path, mask: Path | None, transform, time_index: int | None
) -> dict[str, Any]:
    from coincide.api import open_image
    from coincide.measures.summary import measure as measure_pair
    from coincide.pair import Pair
    from coincide.transforms.linear import identity

    pair = Pair(open_image(fixed, mask, time_index=time_index), open_image(moving, time_index=time_index))
    return measure_pair(pair, transform or identity(pair.dim))


def _of_labels(fixed: Path, moving: Path, transform) -> dict[str, Any]:
    from coincide.io import read_image
    from coincide.measures.summary import measure_labels
    from coincide.transforms.linear import identity

    one, other = read_image(fixed, kind="label"), read_image(moving, kind="label")
    return measure_labels(one, other, transform or identity(one.dim))


def _of_points(fixed: Path, moving: Path, transform) -> dict[str, Any]:
    from coincide.io import read_points
    from coincide.measures.summary import measure_points

    return measure_points(read_points(fixed), read_points(moving), transform)


def show(found: dict[str, Any], as_json: bool) -> None:
    """Print measures as a table or as JSON."""
    from coincide.cli.tables import measures_table, per_label_table
    from coincide.results import as_plain

    if as_json:
        print(json.dumps(as_plain(found), indent=2, allow_nan=False))
        return
    console.out.print(measures_table(found))
    per_label = found.get("labels", {}).get("per_label")
    if per_label:
        console.out.print(per_label_table(per_label))
