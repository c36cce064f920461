"""`coincide tune`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, BadParameter, Option

from coincide.cli import arguments as a
from coincide.cli import console

if TYPE_CHECKING:
    from coincide.training.search import Trial


def tune(
    recipe: Annotated[
        Path, Argument(metavar="RECIPE", help="A recipe with a table [search]: what each key may be.")
    ],
    out: a.OutFolder,
    trials: Annotated[int, Option(metavar="N", min=1, help="How many recipes to try, all in all.")] = 20,
    sampler: Annotated[str, Option(metavar="S", help="tpe, random or grid.")] = "tpe",
    data: Annotated[
        str | None, Option(metavar="DATA", help="Images of your own to learn from, instead of the recipe's.")
    ] = None,
    threads: a.Threads = None,
    workers: Annotated[int, Option(metavar="N", min=0, help="Processes that make data ahead.")] = 1,
    device: Annotated[str, Option(metavar="D", help="cpu, cuda or auto.")] = "cpu",
) -> int:
    """Try recipes and say which one trains best (lower scores are better).

    DIR holds a folder for each recipe tried, as train makes it, and tried.json. A search that was stopped goes on where
    it was if the command is given again; so does one that is to try more.
    """
    import torch

    from coincide.errors import unknown
    from coincide.io import whole_file
    from coincide.training.loop import Machine
    from coincide.training.parse import read_tables
    from coincide.training.search import changed, search

    if sampler not in ("tpe", "random", "grid"):
        raise BadParameter(str(unknown("sampler", sampler, ("tpe", "random", "grid"))))
    if threads:
        torch.set_num_threads(threads)
    tables = changed(
        read_tables(recipe), {} if data is None else {"data.source": str(Path(data).expanduser().absolute())}
    )
    found = search(tables, out, trials, sampler, Machine(device, 1, workers), _told)  # type: ignore[arg-type] - checked
    with whole_file(out / "tried.json") as scratch:
        scratch.write_text(json.dumps([asdict(t) for t in found], indent=2) + "\n", encoding="utf-8")
    console.out.print(_table(found))
    console.out.print(
        f"{out}: tried.json; the best weights are in {found[0].folder}/best.safetensors", soft_wrap=True
    )
    return 0


def _told(number: int, trial: Trial) -> None:
    console.note(f"trial {number}, {_words(trial)}: score {trial.score:.4g}")


def _words(trial: Trial) -> str:
    return ", ".join(f"{key} {_short(value)}" for key, value in trial.changes.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(found: list[Trial]):
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("score", *found[0].changes, "folder"):
        table.add_column(title, overflow="fold")
    for trial in found:
        table.add_row(f"{trial.score:.4g}", *map(_short, trial.changes.values()), trial.folder)
    return table
