"""`coincide series`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.errors import OutputError


def series(
    context: Context,
    source: Annotated[
        Path,
        Argument(metavar="IN", help="A 4-D NIfTI, multi-frame DICOM or TIFF file, or a folder of frames."),
    ],
    out: a.OutFolder,
    reference: Annotated[
        str, Option(metavar="R", help="What frames are laid on: first, mean, or a frame's number from 0.")
    ] = "first",
    method: Annotated[
        str,
        Option(
            metavar="SPEC",
            help="sequence (with options, as in sequence:model=rigid,direction=causal), or any method of "
            "'coincide methods', frame by frame.",
        ),
    ] = "sequence",
    threads: a.Threads = None,
    seed: a.Seed = 0,
    device: a.Device = "cpu",
) -> int:
    """Find the motion in a series of frames, and lay all of them on one.

    DIR will hold aligned.nii.gz, reference.nii.gz, transforms/frame_N.h5 (reference → frame), motion.csv, motion.png,
    series.json and report.html with a film.
    """
    from coincide.cli.live import live
    from coincide.results import check_folder

    check_folder(out)
    if out.resolve() in (source.resolve(), *source.resolve().parents):
        raise OutputError(
            f"{out}: holds what is to be read; the results would come among it. Name another --out."
        )
    with live() as progress:
        import torch

        from coincide.api import check_device
        from coincide.io.series import read_series
        from coincide.methods.base import Context as Run
        from coincide.methods.series import follow, parse_series
        from coincide.methods.series.reference import check_reference
        from coincide.ops._parallel import set_threads
        from coincide.report.series import write_series

        chosen = parse_series(method)
        check_reference(reference)
        check_device(device)
        set_threads(threads)
        if threads:
            torch.set_num_threads(threads)
        read = read_series(source)
        laid_on, solution = follow(read, chosen, reference, Run(progress, seed, device))
    with console.err.status("writing the results"):
        written = write_series(read, laid_on, solution, chosen, out, context.obj)
    told = Counter(solution.frames)
    console.out.print(
        f"{len(read)} frames: " + ", ".join(f"{number} {name}" for name, number in told.items())
    )
    for decision in solution.decisions:
        console.out.print(f"  · {decision}", style="dim")
    console.out.print(f"{out}: {', '.join(written)}", soft_wrap=True)
    return 4 if told["lost"] > len(read) / 2 else 0
