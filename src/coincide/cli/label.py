"""`coincide label`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.errors import MissingFileError, OptionError, UnreadableFileError

Atlases = Annotated[
    list[Path],
    Option(
        "--atlas",
        metavar="IMAGE LABELS",
        help="An atlas: an image and its label map. May be given many times.",
    ),
]
Labels = Annotated[list[Path] | None, Argument(metavar="", hidden=True)]
Fusion = Annotated[
    str,
    Option(
        metavar="SPEC",
        help="How the atlases vote: joint, local or majority, with options, as in joint:radius=2,search=1.",
    ),
]
Names = Annotated[
    Path | None,
    Option(metavar="CSV", help="What the labels are called: label,name. A first line of words is fine."),
]


def label(
    context: Context,
    target: Annotated[Path, Argument(metavar="TARGET", help="The image to label.")],
    atlas: Atlases,
    out: a.OutFolder,
    labels: Labels = None,
    fusion: Fusion = "joint",
    names: Names = None,
    mask: Annotated[Path | None, Option(metavar="M", help="Voxels of TARGET that count.")] = None,
    transform: a.Reach = None,
    method: a.Method = "auto",
    preset: a.Preset = None,
    similarity: a.Similarity = None,
    threads: a.Threads = None,
    seed: a.Seed = 0,
    device: a.Device = "cpu",
) -> int:
    """Label TARGET by several atlases: each is registered to it, and where their labels differ they vote.

    DIR will hold labels.nii.gz, confidence.nii.gz, volumes.csv, labelling.json and report.html, and in atlases/ the
    transform of each atlas, from which a run that was interrupted goes on.
    """
    from coincide.cli.live import live
    from coincide.results import check_folder

    pairs = paired(context.obj, atlas, labels or [])
    check_folder(out, inputs=[target, *atlas, *(labels or [])])
    known = None if names is None else read_names(names)
    with live() as progress:
        from coincide.cohort.labelling import label as find_labels

        found = find_labels(
            target,
            pairs,
            method,
            fusion,
            transform=transform,
            preset=preset,
            similarity=similarity,
            target_mask=mask,
            names=known,
            shelf=out / "atlases",
            threads=threads,
            seed=seed,
            device=device,
            progress=progress,
        )
    from coincide.report.labelling import write_labelling

    with console.err.status("writing the labels"):
        written = write_labelling(found, out)
    for decision in found.decisions:
        console.out.print(f"· {decision}", style="dim")
    console.out.print(_table(found))
    console.out.print(f"{out}: {', '.join(written)}")
    return 0


def paired(argv: Sequence[str], images: Sequence[Path], labels: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each atlas's image and labels.

    The parser knows no option of two values that may come many times: to it, the labels are arguments of their own.

    Args:
        argv: the command line, to see that labels stand right behind their image.
        images: what follows each `--atlas`.
        labels: the arguments beside the target.

    Raises:
        OptionError: an atlas has no labels, or something else stands on the line.
    """
    pairs = list(zip(images, labels))
    stand = [(Path(b), Path(c)) for a, b, c in zip(argv, argv[1:], argv[2:]) if a == "--atlas"]
    if len(images) != len(labels) or pairs != stand:
        raise OptionError(
            f"{len(images)} atlas images and {len(labels)} label maps were given; expected --atlas IMAGE LABELS for "
            "each atlas, the labels right behind their image, and the target before them."
        )
    return pairs


def read_names(path: Path) -> dict[int, str]:
    """Names by label, from a CSV whose first column is a label and whose second is its name.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: a line is something else.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file. Check --names.")
    found: dict[int, str] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and not row[0].strip().lstrip("-").isdigit()):
                continue
            if len(row) < 2 or not row[0].strip().lstrip("-").isdigit():
                raise UnreadableFileError(
                    f"{path}: line {number} is {','.join(row)!r}; expected a label and its name, as in "
                    "'17,left hippocampus'."
                )
            found[int(row[0])] = row[1].strip()
    return found


def _table(found):
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("atlas")
    for column in ("registration", "voted", "Dice with the result", "seconds"):
        table.add_column(column, justify="right")
    for run in found.atlases:
        agreed = "" if run.dice is None else f"{run.dice:.3f}"
        seconds = f"{run.seconds:.1f}{' (earlier)' if run.resumed else ''}"
        table.add_row(Path(run.name).name, run.verdict.level, "yes" if run.used else "no", agreed, seconds)
    return table
