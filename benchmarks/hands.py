"""Methods by keypoints, outlines, points and intensities on the hands of different children, in one table.

    python -m benchmarks.hands --records hands.jsonl --table hands.md

TRE is the mean distance of 37 landmarks, mm, in brackets the processor seconds from images in memory to transform. A
method that gives up says so, and is not scored. The landmarks steer `landmarks` alone, which is scored by the error of
each when it is left out. Runs that the records hold already are not run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.cases import DEFAULT_CASES, Case, read_cases
from benchmarks.records import append, read_rows
from coincide.api import open_pair
from coincide.measures.distance import target_registration_error
from coincide.methods import Status, parse
from coincide.pair import Pair

GROUPS = {
    "keypoints": (
        "sift",
        "sift:model=thin_plate",
        "harris:model=thin_plate",
        "akaze:model=thin_plate",
        "orb:model=thin_plate",
        "surf:model=thin_plate",
    ),
    "outlines and regions": ("boundary", "regions"),
    "points and surfaces": ("icp:model=affine", "cpd", "landmarks"),
    "intensities, linear": ("phase", "least_squares", "blocks", "linear"),
    "intensities, bending": ("demons", "bspline", "map", "deformable"),
    "keypoints, then intensities": ("auto",),
}


def main() -> None:
    """Run what the records lack, print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=Path, default=DEFAULT_CASES)
    parser.add_argument("--records", type=Path, help="JSON lines, added to")
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    args = parser.parse_args()
    cases = [case for case in read_cases(args.cases) if case.task == "hand_xray"]
    rows = read_rows(args.records)
    done = {(row["case"], row["method"]) for row in rows}
    for case in cases:
        pair = opened(case)
        for spec in (spec for specs in GROUPS.values() for spec in specs if (case.name, spec) not in done):
            row = {"case": case.name, "method": spec, **run(pair, spec)}
            print(row, flush=True)
            rows.append(row)
            if args.records:
                append(args.records, row)
    table = as_table(rows, [case.name for case in cases])
    print(table)
    if args.table:
        args.table.write_text(table, encoding="utf-8")


def opened(case: Case) -> Pair:
    """The images and landmarks of a case."""
    return open_pair(
        case.fixed, case.moving, fixed_points=case.fixed_points, moving_points=case.moving_points
    )


def run(pair: Pair, spec: str) -> dict:
    """TRE (mm; None where the method gave up) and processor seconds of one method."""
    method = parse(spec)
    begun = time.process_time()
    solution = method.solve(pair)
    seconds = time.process_time() - begun
    if solution.status is not Status.SUCCEEDED:
        return {"tre": None, "cpu": seconds, "status": solution.status.name}
    if method.follows_landmarks:
        tre = solution.evidence["left_out_mean_mm"]
    else:
        assert pair.landmarks is not None
        tre = float(target_registration_error(*pair.landmarks, solution.transform).mean())
    return {"tre": tre, "cpu": seconds, "status": solution.status.name}


def as_table(rows: list[dict], cases: list[str]) -> str:
    """Markdown: methods down, grouped; cases across; the mean over the cases that were not refused last."""
    found = {(row["case"], row["method"]): row for row in rows}
    heads = [name.removeprefix("hand_").replace("_", " ← ") for name in cases]
    lines = ["| method | " + " | ".join(heads) + " | mean |", "|---" * (len(cases) + 2) + "|"]
    for group, specs in GROUPS.items():
        lines.append(f"| *{group}* |" + " |" * (len(cases) + 1))
        for spec in specs:
            own = [found.get((case, spec)) for case in cases]
            errors = [row["tre"] for row in own if row and row["tre"] is not None]
            mean = f"{np.mean(errors):.1f}" if len(errors) == len(cases) else "–"
            lines.append(f"| `{spec}` | {' | '.join(map(cell, own))} | {mean} |")
    return "\n".join(lines) + "\n"


def cell(row: dict | None) -> str:
    """One result as people read it."""
    if row is None:
        return "–"
    return f"refused ({row['cpu']:.1f})" if row["tre"] is None else f"{row['tre']:.1f} ({row['cpu']:.1f})"


if __name__ == "__main__":
    main()
