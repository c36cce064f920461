"""`coincide evaluate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from coincide.cli import arguments as a
from coincide.cli import console

if TYPE_CHECKING:
    from coincide.evaluation.comparison import Outcome


def evaluate(
    data: Annotated[
        Path, Argument(metavar="DATA", help="A table of pairs, a table of images, a folder, or a BIDS tree.")
    ],
    method: Annotated[
        list[str],
        Option(
            metavar="SPEC", help="What to try, as for register; keypoints:weights=F, too. May come again."
        ),
    ],
    transform: a.Reach = None,
    preset: a.Preset = None,
    split: Annotated[
        Path | None,
        Option(metavar="FILE", help="split.json of a training run: pairs with a subject of its part."),
    ] = None,
    part: Annotated[
        str, Option(metavar="PART", help="Of the split: train, validation or test.")
    ] = "validation",
    most: Annotated[int | None, Option(metavar="N", min=1, help="Pairs at most, drawn by the seed.")] = None,
    out: Annotated[
        Path | None, Option("--out", metavar="FILE.json", help="Every number of every pair.")
    ] = None,
    threads: a.Threads = None,
    seed: a.Seed = 0,
    as_json: a.AsJson = False,
) -> int:
    """Try methods or trained networks on the pairs of a data set: a table of means and spreads.

    Labels, landmarks and true transforms are scored where there are any. Exits with 4 if a method could take no pair.
    """
    from coincide.data import inspect, read_data_set, read_split
    from coincide.errors import unknown
    from coincide.evaluation.comparison import chosen_pairs, outcomes, spread
    from coincide.io import whole_file
    from coincide.methods import parse

    for spec in method:
        parse(spec)
    found = read_data_set(data)
    inspect(found).check()
    subjects, others = None, frozenset()
    if split is not None:
        parts = read_split(split, found)
        if part not in parts.subjects:
            raise unknown("part", part, parts.subjects)
        subjects, others = parts.subjects[part], parts.subjects["train"]
    options = {"transform": transform, "preset": preset, "threads": threads, "seed": seed}
    tried = list(outcomes(chosen_pairs(found, most, seed, subjects, others), method, options, _told))
    record = {"data": str(data), "outcomes": [asdict(o) for o in tried], "spread": spread(tried)}
    if out is not None:
        with whole_file(out) as scratch:
            scratch.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        console.out.print(_table(tried, record["spread"]))
        for outcome in tried:
            if outcome.verdict in ("refused", "failed"):
                console.note(f"{outcome.pair}, {outcome.method}: {outcome.verdict}. {outcome.message}")
    taken = {outcome.method for outcome in tried if outcome.verdict != "refused"}
    return 0 if tried and taken == set(method) else 4


def _told(pair: str, method: str) -> None:
    console.note(f"{method}: {pair}")


def _table(tried: Sequence[Outcome], found: dict[str, Any]):
    from rich.table import Table

    from coincide.evaluation.comparison import MEASURES

    known = [key for key in MEASURES if any(key in measures for measures in found.values())]
    table = Table("", box=None, pad_edge=False)
    for method in found:
        table.add_column(method, justify="right", overflow="fold")
    own = {method: [outcome for outcome in tried if outcome.method == method] for method in found}
    bad = [sum(o.verdict in ("refused", "failed") for o in some) for some in own.values()]
    table.add_row("pairs", *(str(len(some)) for some in own.values()))
    table.add_row("refused or failed", *map(str, bad))
    for key in known:
        cells = (measures.get(key) for measures in found.values())
        table.add_row(MEASURES[key], *(f"{c['mean']:.4g} ± {c['sd']:.2g}" if c else "" for c in cells))
    return table
