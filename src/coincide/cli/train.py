"""`coincide train` and `coincide finetune`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from coincide.cli import arguments as a
from coincide.cli import console

if TYPE_CHECKING:
    from coincide.training.recipe import Recipe

Data = Annotated[
    str | None,
    Option(metavar="DATA", help="Images of your own to learn from: a folder, a CSV table, or a BIDS tree."),
]
Share = Annotated[
    float | None, Option(metavar="S", help="Of the steps that learn from DATA; made-up pairs in the others.")
]
Resume = Annotated[bool, Option("--resume", help="Go on from the checkpoint in DIR, if there is one.")]
Workers = Annotated[
    int, Option(metavar="N", min=0, help="Processes that make data ahead; 0 makes them in between.")
]
Device = Annotated[str, Option(metavar="D", help="cpu, cuda or auto.")]
Devices = Annotated[int, Option(metavar="N", min=1, help="How many devices (processes), each with a batch.")]


def train(
    recipe: Annotated[Path, Argument(metavar="RECIPE", help="What to train, and how: a TOML file.")],
    out: a.OutFolder,
    data: Data = None,
    share: Share = None,
    resume: Resume = False,
    threads: a.Threads = None,
    workers: Workers = 1,
    device: Device = "cpu",
    devices: Devices = 1,
) -> int:
    """Train a network by RECIPE.

    DIR will hold best.safetensors and last.safetensors (the averaged weights), log.jsonl, a folder for TensorBoard,
    pictures of a pair kept back, and checkpoint.pt. A run that was stopped in any way goes on with --resume as if
    nothing had happened.
    """
    from coincide.training.recipe import read_recipe

    read = _with_data(read_recipe(recipe), data, share)
    return _run(read, out, resume, threads, (device, devices, workers))


def finetune(
    weights: Annotated[
        str,
        Argument(
            metavar="WEIGHTS", help="pyramid, for what comes with coincide, or a file that a run wrote."
        ),
    ],
    out: a.OutFolder,
    data: Annotated[
        str, Option(metavar="DATA", help="Images of your own: a folder, a CSV table, or a BIDS tree.")
    ],
    recipe: Annotated[
        Path | None, Option(metavar="RECIPE", help="How; a short run at a low rate where left out.")
    ] = None,
    steps: Annotated[int | None, Option(metavar="N", min=1, help="How many changes of the weights.")] = None,
    freeze: Annotated[
        list[str] | None,
        Option(metavar="P", help="Names of weights that stay, such as 'body.*'. May come again."),
    ] = None,
    share: Share = None,
    resume: Resume = False,
    threads: a.Threads = None,
    workers: Workers = 1,
    device: Device = "cpu",
    devices: Devices = 1,
) -> int:
    """Go on training WEIGHTS on images of your own, with labels or without.

    Use what comes out by --method pyramid:weights=DIR/best.safetensors.
    """
    from coincide.training.finetuning import finetuning

    read = finetuning(weights, recipe, tuple(freeze or ()), steps)
    return _run(_with_data(read, data, share), out, resume, threads, (device, devices, workers))


def _with_data(recipe: Recipe, data: str | None, share: float | None) -> Recipe:
    """The recipe with what the command line says of data."""
    told = {} if data is None else {"source": str(Path(data).expanduser().absolute())}
    told |= {} if share is None else {"share": share}
    if share is not None and not (data or recipe.data.source):
        from typer import BadParameter

        raise BadParameter("--share says how much to learn from --data; give that too.")
    return replace(recipe, data=replace(recipe.data, **told))


def _run(read: Recipe, out: Path, resume: bool, threads: int | None, machine: tuple[str, int, int]) -> int:
    import torch

    from coincide.training.loop import Machine
    from coincide.training.loop import train as run

    if threads:
        torch.set_num_threads(threads)
    with _Shown(read.steps) as shown:
        found = run(read, out, resume, Machine(*machine), shown)
    if int(os.environ.get("LOCAL_RANK", "0")):
        return 0  # the first of several processes tells
    best = found["best"]
    console.out.print(f"best after step {best['step']}: score {best['score']:.3f} (lower is better)")
    console.out.print(f"{out}: best.safetensors, last.safetensors, log.jsonl, checkpoint.pt", soft_wrap=True)
    return 0


class _Shown:
    """Progress: a bar on a terminal, a line for each look at the pairs kept back elsewhere."""

    def __init__(self, steps: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("step {task.completed:.0f}/{task.total:.0f}"), BarColumn(bar_width=24))
        tail = (TimeRemainingColumn(), TextColumn("{task.fields[told]}"))
        self._bar = Progress(*columns, *tail, console=console.err, disable=not console.err.is_terminal)
        self._task = self._bar.add_task("training", total=steps, told="")

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: int, record: dict[str, Any]) -> None:
        if doing := record.get("doing"):
            console.note(doing)
            return
        if look := record.get("kept_back"):
            words = ", ".join(f"{key} {value:.3g}" for key, value in look.items())
            console.note(f"step {step}, pairs kept back: {words}")
            return
        told = f"loss {record['loss']:.4g} · {record['pairs_per_second']:.2g} pairs/s"
        self._bar.update(self._task, completed=step, told=told)
