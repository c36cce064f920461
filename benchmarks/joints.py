"""Joints in radiographs: pairs of different children and films of one, by ours and by other tools, in two tables.

    python -m benchmarks.joints --textbook flattened.safetensors --records joints.jsonl --table joints.md

Pairs: the mean distance of 37 landmarks, mm, and how far the angles of the fingers' 14 joints (`benchmarks.fingers`)
are off, degrees. Nothing was trained on these pairs. Other tools run once each and are random.
Films: as `benchmarks.series`, whose options are taken too. Rows that the records hold are not run again.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.as_method import ToolMethod
from benchmarks.cases import read_cases
from benchmarks.classical import opened
from benchmarks.fingers import angle_error
from benchmarks.methods import TOOLS
from benchmarks.series import arguments, as_table, measured, record, recorded
from coincide.methods import AbstractMethod, Status, parse
from coincide.pair import Pair

OWN = ("auto", "deformable", "bspline", "linear", "sift:model=thin_plate", "cpd")
OTHERS = ("elastix", "ants_syn", "ants_synquick", "greedy")


def main() -> None:
    """Run what the records lack, print both tables, and write them where asked to."""
    args = arguments(str(__doc__)).parse_args()
    text = f"{pairs_table(measured_pairs(args))}\n{as_table(measured(args))}"
    print(text)
    if args.table:
        args.table.write_text(text, encoding="utf-8")


def measured_pairs(args: argparse.Namespace) -> list[dict]:
    """All rows of pairs: those of the records, and what they lack."""
    rows = recorded(args.records, "case")
    done = {(row["case"], row["method"]) for row in rows}
    for case in (case for case in read_cases(args.cases) if case.task == "hand_xray"):
        pair = opened(case)
        for name in (*OWN, *OTHERS):
            if (case.name, name) in done or (args.only and name not in args.only):
                continue
            method = ToolMethod(TOOLS[name]) if name in OTHERS else parse(name)
            rows.append({"case": case.name, "method": name, **run(pair, method)})
            record(args.records, rows[-1])
    return rows


def run(pair: Pair, method: AbstractMethod) -> dict:
    """TRE (mm) and error of the joints' angles (degrees) of one method; None where it gave up."""
    assert pair.landmarks is not None, "hands have landmarks"
    fixed, moving = (points.world for points in pair.landmarks)
    solution = method.solve(pair)
    if solution.status is not Status.SUCCEEDED:
        return {"tre": None, "angle": None}
    found = solution.transform(fixed)
    return {
        "tre": float(np.linalg.norm(found - moving, axis=1).mean()),
        "angle": angle_error(found, moving),
    }


def pairs_table(rows: list[dict]) -> str:
    """Markdown: methods down, pairs across; TRE, and in brackets the error of the joints' angles."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    found = {(row["case"], row["method"]): row for row in rows}
    heads = [case.removeprefix("hand_").replace("_", " ← ") for case in cases]
    lines = [f"| method | {' | '.join(heads)} | mean |", "|---" * (len(cases) + 2) + "|"]
    for name in (*OWN, *OTHERS):
        own = [found.get((case, name)) for case in cases]
        if any(own):
            known = [row for row in own if row and row["tre"] is not None]
            mean = _cell({k: np.mean([row[k] for row in known]) for k in ("tre", "angle")}) if known else "–"
            whole = mean if len(known) == len(cases) else "–"
            lines.append(f"| {name} | {' | '.join(map(_cell, own))} | {whole} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict | None) -> str:
    if row is None:
        return "–"
    return "gave up" if row["tre"] is None else f"{row['tre']:.2f} ({row['angle']:.1f}°)"


if __name__ == "__main__":
    main()
