"""`coincide train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from coincide.cli import arguments as a
from coincide.cli import console


def train(
    recipe: Annotated[Path, Argument(metavar="RECIPE", help="What to train, and how: a TOML file.")],
    out: a.OutFolder,
    resume: Annotated[
        bool, Option("--resume", help="Go on from the checkpoint in DIR, if there is one.")
    ] = False,
    threads: a.Threads = None,
    workers: Annotated[
        int, Option(metavar="N", min=0, help="Processes that make data; 0 makes them in between.")
    ] = 0,
    device: Annotated[str, Option(metavar="D", help="cpu, cuda or auto.")] = "cpu",
    devices: Annotated[int, Option(metavar="N", min=1, help="How many devices, each with a batch.")] = 1,
) -> int:
    """Train a network by RECIPE.

    DIR will hold best.safetensors and last.safetensors (the averaged weights), log.jsonl and checkpoint.pt. A run that
    was stopped in any way goes on with --resume as if nothing had happened.
    """
    import torch

    from coincide.training.loop import Machine
    from coincide.training.loop import train as run
    from coincide.training.recipe import read_recipe

    read = read_recipe(recipe)
    if threads:
        torch.set_num_threads(threads)
    with _Shown(read.steps) as shown:
        found = run(read, out, resume, Machine(device, devices, workers), shown)
    best = found["best"]
    console.out.print(f"best after step {best['step']}: score {best['score']:.3f} (lower is better)")
    console.out.print(f"{out}: best.safetensors, last.safetensors, log.jsonl, checkpoint.pt")
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
        if look := record.get("kept_back"):
            words = ", ".join(f"{key} {value:.3g}" for key, value in look.items())
            console.note(f"step {step}, pairs kept back: {words}")
            return
        told = f"loss {record['loss']:.4g} · {record['pairs_per_second']:.2g} pairs/s"
        self._bar.update(self._task, completed=step, told=told)
