"""`coincide register`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Context

from coincide.cli import arguments as a
from coincide.cli import console

if TYPE_CHECKING:
    from coincide.registration import Registration


def register(
    context: Context,
    fixed: a.Fixed,
    moving: a.Moving,
    out: a.OutFolder,
    transform: a.Reach = None,
    method: a.Method = "auto",
    preset: a.Preset = None,
    similarity: a.Similarity = None,
    init: a.Initial = None,
    fixed_mask: a.FixedMask = None,
    moving_mask: a.MovingMask = None,
    fixed_lesion: a.FixedLesion = None,
    moving_lesion: a.MovingLesion = None,
    fixed_labels: a.FixedLabels = None,
    moving_labels: a.MovingLabels = None,
    fixed_points: a.FixedPoints = None,
    moving_points: a.MovingPoints = None,
    use_landmarks: a.UseLandmarks = False,
    time_index: a.TimeIndex = None,
    threads: a.Threads = None,
    seed: a.Seed = 0,
    device: a.Device = "cpu",
) -> int:
    """Find the transform that brings MOVING onto FIXED, and write it with everything to judge it by.

    DIR will hold warped.nii.gz, transform.h5, inverse.h5, registration.json, report.html, and labels.nii.gz
    where moving labels were given.
    """
    return run(
        out,
        context.obj,
        fixed=fixed,
        moving=moving,
        method=method,
        transform=transform,
        preset=preset,
        similarity=similarity,
        init=init,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        fixed_lesion=fixed_lesion,
        moving_lesion=moving_lesion,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=fixed_points,
        moving_points=moving_points,
        use_landmarks=use_landmarks,
        time_index=time_index,
        threads=threads,
        seed=seed,
        device=device,
    )


def run(out: Path, argv: Sequence[str], **call) -> int:
    """Register with the arguments of `coincide.register`, write the results to `out`, print what came of it.

    Args:
        out: folder for the results.
        argv: the command line, for the record.
        call: the arguments.

    Returns:
        The exit code: 0, or 4 where the result was judged failed.
    """
    from coincide.results import Results, check_folder

    check_folder(out, inputs=[value for value in call.values() if isinstance(value, Path)])
    results = Results(out)
    # the work is safe on the disk before anything is made of it
    result = find(**call, found=results.keep)
    with console.err.status("writing the results"):
        written = results.write(result, argv=argv)
    show(result, out, written)
    return 4 if result.verdict.level == "failed" else 0


def find(**call) -> Registration:
    """Register with the arguments of `coincide.register`, with live progress."""
    from coincide.cli.live import live

    begin = time.monotonic()
    with live() as progress:
        from coincide.api import register as find_transform

        result = find_transform(**call, progress=progress)
    from coincide.methods.plan import as_time

    console.note(f"registered in {as_time(time.monotonic() - begin)}")
    return result


def show(result: Registration, out: Path, written: list[str]) -> None:
    """Print the verdict, the measures and the files."""
    from coincide.cli.tables import measures_table, verdict_text

    console.out.print(verdict_text(result.verdict))
    for decision in result.decisions:
        console.out.print(f"  · {decision}", style="dim")
    console.out.print(measures_table(result.measures))
    console.out.print(f"{out}: {', '.join(written)}")
