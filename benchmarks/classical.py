"""The classical methods on real pairs: hands of different children, or whichever cases are named.

    python -m benchmarks.classical --records hands.jsonl --table hands.md
    python -m benchmarks.classical --records volumes.jsonl --cases liver_19_cyc_1_6 brain_1000_1001 mm_stroke_t1_t2

A score is the mean distance of the landmarks, mm, or where there are none the mean Dice of the labels; in brackets the
processor seconds from images in memory to transform. A method that gives up says so, and is not scored. The landmarks
steer `landmarks` alone, which is scored by the error of each when it is left out. Runs that the records hold already
are not run again.
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
from coincide.measures.overlap import dice, present
from coincide.methods import Status, parse
from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.resample import resample

PICTURES = {
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
VOLUMES = {
    "keypoints": ("keypoints3d:model=affine", "keypoints3d:model=affine,upright=true,describe=mind"),
    "outlines": ("boundary", "boundary:source=edges"),
    "intensities, linear": ("least_squares", "blocks", "linear"),
    "intensities, bending": ("demons", "bspline", "deformable"),
    "all of it": ("auto",),
}
"""Methods by group, for pictures and for volumes; a network for neither."""


def main() -> None:
    """Run what the records lack, print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_CASES, help="the table of cases")
    parser.add_argument("--cases", nargs="+", help="names of cases; the hands where left out")
    parser.add_argument("--methods", nargs="+", help="the specs to run; all where left out")
    parser.add_argument("--records", type=Path, help="JSON lines, added to")
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    args = parser.parse_args()
    cases = [
        case
        for case in read_cases(args.data)
        if (case.name in args.cases if args.cases else case.task == "hand_xray")
    ]
    rows = read_rows(args.records)
    done = {(row["case"], row["method"]) for row in rows}
    for case in cases:
        pair = opened(case)
        specs = [spec for group in groups(case.dim).values() for spec in group]
        for spec in args.methods or specs:
            if (case.name, spec) in done:
                continue
            row = {"case": case.name, "method": spec, **run(pair, spec)}
            print(row, flush=True)
            rows.append(row)
            if args.records:
                append(args.records, row)
    for dim in sorted({case.dim for case in cases}):
        table = as_table(rows, dim, [case.name for case in cases if case.dim == dim])
        print(table)
        if args.table:
            args.table.write_text(table, encoding="utf-8")


def groups(dim: int) -> dict[str, tuple[str, ...]]:
    """The methods for pictures or volumes."""
    return PICTURES if dim == 2 else VOLUMES


def opened(case: Case) -> Pair:
    """The images, landmarks and labels of a case."""
    return open_pair(
        case.fixed,
        case.moving,
        fixed_points=case.fixed_points,
        moving_points=case.moving_points,
        fixed_labels=case.fixed_labels,
        moving_labels=case.moving_labels,
    )


def run(pair: Pair, spec: str) -> dict:
    """Score (mm or Dice; None where the method gave up) and processor seconds of one method."""
    method = parse(spec)
    begun = time.process_time()
    solution = method.solve(pair)
    seconds = time.process_time() - begun
    score = None
    if solution.status is Status.SUCCEEDED:
        score = (
            solution.evidence["left_out_mean_mm"]
            if method.follows_landmarks
            else scored(pair, solution.transform)
        )
    return {"score": score, "cpu": seconds, "status": solution.status.name}


def scored(pair: Pair, transform: Transform) -> float:
    """Mean distance of the landmarks, mm, or mean Dice of the labels."""
    if pair.landmarks is not None:
        return float(target_registration_error(*pair.landmarks, transform).mean())
    assert pair.fixed_labels is not None
    assert pair.moving_labels is not None
    fixed, moving = pair.fixed_labels.numpy()[0], pair.moving_labels
    common = np.intersect1d(present(fixed), present(moving.numpy()[0]))
    carried = resample(moving, transform, pair.fixed.grid, "nearest").numpy()[0]
    return float(np.mean(list(dice(fixed, carried, common).values())))


def as_table(rows: list[dict], dim: int, cases: list[str]) -> str:
    """Markdown: methods down, grouped; cases across; for pictures the mean over cases none of which was refused."""
    found = {(row["case"], row["method"]): row for row in rows}
    heads = [name.removeprefix("hand_").replace("_", " ← ") if dim == 2 else name for name in cases]
    heads += ["mean"] if dim == 2 else []
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    listed = groups(dim)
    named = {spec for specs in listed.values() for spec in specs}
    others = dict.fromkeys(spec for case, spec in found if case in cases and spec not in named)
    for group, all_specs in {**listed, "others": tuple(others)}.items():
        specs = [spec for spec in all_specs if any((case, spec) in found for case in cases)]
        if not specs:
            continue
        lines.append(f"| *{group}* |" + " |" * len(heads))
        for spec in specs:
            own = [found.get((case, spec)) for case in cases]
            told = [cell(row, 1 if dim == 2 else 2) for row in own]
            if dim == 2:
                errors = [row["score"] for row in own if row and row["score"] is not None]
                told.append(f"{np.mean(errors):.1f}" if len(errors) == len(cases) else "–")
            lines.append(f"| `{spec}` | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def cell(row: dict | None, digits: int) -> str:
    """One result as people read it."""
    if row is None:
        return "–"
    score = "refused" if row["score"] is None else f"{row['score']:.{digits}f}"
    return f"{score} ({row['cpu']:.1f})"


if __name__ == "__main__":
    main()
