"""From how bad a header linear methods find their way: the same seeded starts for all of them.

python -m benchmarks.reach --methods linear,keypoints,regressor --starts 10 --out reach.jsonl

Each method is tried from each start of each case, and judged by the mean distance in the fixed anatomy from where
`linear` gets with the good header. Rows are kept in the file as they come; those that are there are not made again.
Every result that is wrong is judged, and every tenth (`--judged`) of the others: a second table pools all cases, and
says how many wrong ones nobody would have been told of.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

from benchmarks.cases import DEFAULT_CASES, read_cases
from benchmarks.records import append, read_rows

BANDS = ((0, 45), (45, 90))
WITHIN = 2.0
"""Millimetres from the reference within which a start counts as found."""


def spec(method: str, model: str) -> str:
    """The SPEC of `method` with its model."""
    return f"{method}{',' if ':' in method else ':'}model={model}"


def run(methods: list[str], cases: list, number: int, seed: int, every: int, out: Path) -> None:
    """Try every method from every start of every case, judge one of `every` and all wrong ones, and keep the rows."""
    from coincide.evaluation.reach import attempts, motions
    from coincide.io import read_image
    from coincide.methods import parse
    from coincide.pair import Pair

    done = {(r["case"], r["method"], r["seed"], r["start"]) for r in read_rows(out)}
    starts = list(enumerate(motions(number, seed)))
    for case in cases:
        left = [(n, m) for n, _ in starts for m in methods if (case.name, m, seed, n) not in done]
        if not left:
            continue
        model = "rigid" if case.task == "brain_rescan" else "affine"
        pair = Pair(read_image(case.fixed), read_image(case.moving))
        reference = parse(spec("linear", model)).solve(pair).transform
        for start, method in left:

            def judged(_: int, error: float, start: int = start) -> bool:
                return error > WITHIN or start % every == 0

            (found,) = attempts(pair, parse(spec(method, model)), reference, [starts[start][1]], judged)
            append(out, {"case": case.name, "method": method, "seed": seed, "start": start} | asdict(found))


def table(found: list[dict]) -> str:
    """Markdown: of each case and method, what was found from small and from large turns, the error, and the time."""
    lines = [
        "| case | method | found, 0–45° | found, 45–90° | error, median mm | error, worst mm | processor s |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, method in dict.fromkeys((r["case"], r["method"]) for r in found):
        own = [r for r in found if (r["case"], r["method"]) == (case, method)]
        counts = []
        for low, high in BANDS:
            within = [r["error"] <= WITHIN for r in own if low <= r["degrees"] < high]
            counts.append(f"{sum(within)} of {len(within)}")
        error, seconds = np.array([r["error"] for r in own]), np.mean([r["seconds"] for r in own])
        lines.append(
            f"| {case} | `{method}` | {counts[0]} | {counts[1]} | {np.median(error):.1f} | {error.max():.1f} | "
            f"{seconds:.2f} |"
        )
    return "\n".join(lines)


def pooled(found: list[dict]) -> str:
    """Markdown: of each method over all cases, what was found with its 95 % interval, and what verdicts are worth."""
    lines = [
        "| method | starts | found | 95 % interval | wrong and called converged | right and called otherwise |",
        "|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(r["method"] for r in found):
        for low, high in (*BANDS, (0, 91)):
            own = [r for r in found if r["method"] == method and low <= r["degrees"] < high]
            right = [r for r in own if r["error"] <= WITHIN]
            told = [r for r in right if r.get("verdict")]
            missed = sum(r["error"] > WITHIN and r.get("verdict") == "converged" for r in own)
            alarms = sum(r["verdict"] != "converged" for r in told)
            least, most = (f"{100 * share:.1f}" for share in interval(len(right), len(own)))
            lines.append(
                f"| `{method}` | {low}–{min(high, 90)}° | {len(right)} of {len(own)} | {least}–{most} % | "
                f"{missed} of {len(own)} | {alarms} of {len(told)} |"
            )
    return "\n".join(lines)


def interval(hits: int, number: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    if not number:
        return 0.0, 1.0
    result = binomtest(hits, number).proportion_ci()
    return float(result.low), float(result.high)


def main() -> None:
    """Read the command line, run, and print the table."""
    parser = argparse.ArgumentParser(description="From how bad a header linear methods find their way.")
    parser.add_argument(
        "--methods", default="linear,keypoints,regressor", help="with + between a method's options"
    )
    parser.add_argument("--cases", default="brain_1036_1128,brain_rescan_1003_1023,mm_stroke_t1_t2")
    parser.add_argument("--table-of-cases", type=Path, default=DEFAULT_CASES)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--judged", type=int, default=10, help="one of so many results is judged")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    wanted = given.cases.split(",")
    cases = [case for case in read_cases(given.table_of_cases) if case.name in wanted]
    if len(cases) < len(wanted):
        parser.error(f"{given.table_of_cases} has not all of {', '.join(wanted)}.")
    torch.set_num_threads(1)
    methods = [method.replace("+", ",") for method in given.methods.split(",")]
    run(methods, cases, given.starts, given.seed, given.judged, given.out)
    found = read_rows(given.out)
    print(table(found), pooled(found), sep="\n\n")


if __name__ == "__main__":
    main()
