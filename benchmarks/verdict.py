"""How well the verdict tells failed registrations from good ones.

    python -m benchmarks.verdict run --set fit       # register (resumable), on images that packages ship
    python -m benchmarks.verdict run --set judged    # register, on ../shared/data
    python -m benchmarks.verdict evidence --set fit  # what the judge looks at, one JSON object a run
    python -m benchmarks.verdict fit                 # thresholds, from the fit set alone
    python -m benchmarks.verdict table --set judged  # failures found and false alarms, by kind

Transforms and records go to `--folder`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
import random
import time
import traceback
from pathlib import Path

import numpy as np
import torch

from benchmarks.verdict_runs import Run
from benchmarks.verdict_table import fit, mistakes, table
from coincide.measures.distance import target_registration_error
from coincide.measures.jacobian import folding, jacobian_maps
from coincide.measures.overlap import dice, present
from coincide.measures.verdict import SIGNS, question, weigh
from coincide.methods.base import Solution
from coincide.ops._parallel import set_threads
from coincide.pair import Pair
from coincide.transforms.displacement import Displacement
from coincide.transforms.resample import resample

FOLDER = Path(__file__).resolve().parents[2] / "bench-cache" / "verdict"


def runs_of(name: str) -> list[Run]:
    if name == "fit":
        from benchmarks.verdict_fit import runs
    else:
        from benchmarks.verdict_judged import runs
    found = runs()
    names = [r.name for r in found]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return found


def shuffled(runs: list[Run]) -> list[Run]:
    """In an order in which any part of them is a fair sample."""
    return random.Random(0).sample(runs, len(runs))


def read(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    return {r["name"]: r for r in map(json.loads, path.read_text().splitlines())}


def append(path: Path, record: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def save(solution: Solution, path: Path) -> None:
    """The solution with its fields as 16-bit floats."""
    parts = [
        (p.vectors.half(), p.grid) if isinstance(p, Displacement) else p for p in solution.transform.parts()
    ]
    with path.open("wb") as file:
        pickle.dump((parts, solution.status, solution.evidence), file)


def load(path: Path) -> Solution:
    with path.open("rb") as file:
        parts, status, evidence = pickle.load(file)
    parts = [Displacement(p[0].float(), p[1]) if isinstance(p, tuple) else p for p in parts]
    transform = parts[0]
    for part in parts[1:]:
        transform = transform @ part
    return Solution(transform, None, status, evidence=evidence)


def run_all(args: argparse.Namespace) -> None:
    done = read(args.folder / f"{args.set}-runs.jsonl")
    (args.folder / args.set).mkdir(parents=True, exist_ok=True)
    for run in shuffled(runs_of(args.set)):
        if run.name in done or (args.only and args.only not in run.name):
            continue
        record = {
            "name": run.name,
            "kind": run.kind,
            "group": run.group,
            "failed": run.failed,
            "plain": run.plain,
        }
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            pair = run.build()
            built = time.perf_counter()
            solution = run.method.solve(pair)
            record["seconds"] = time.perf_counter() - built
            save(solution, args.folder / args.set / f"{run.name.replace('/', '_')}.pickle")
            record["measures"] = {"field": folding(jacobian_maps(solution.transform, pair.fixed.grid))}
            record |= truth(pair, solution)
            record["cpu"] = time.process_time() - cpu
            record["evidence"] = question(bare(pair), solution.transform)
            record["question_cpu"] = time.process_time() - cpu - record["cpu"]
        except Exception:
            record["error"] = traceback.format_exc()[-1500:]
        append(args.folder / f"{args.set}-runs.jsonl", record)
        scores = {k: round(v, 2) for k, v in record.items() if k in ("tre", "tre_before", "dice")}
        cpu_seconds = record.get("cpu", 0), record.get("question_cpu", 0)
        spent = f"{time.perf_counter() - begun:.1f} s, CPU {cpu_seconds[0]:.1f} + {cpu_seconds[1]:.1f}"
        print(run.name, run.kind, spent, scores, record.get("error", "")[-200:], flush=True)


def usable(args: argparse.Namespace) -> list[dict]:
    return [r for r in read(args.folder / f"{args.set}-runs.jsonl").values() if "evidence" in r]


def question_all(args: argparse.Namespace) -> None:
    """The evidence again, from the saved transforms, where it is missing (or `--again`); appended, the last counts."""
    path = args.folder / f"{args.set}-runs.jsonl"
    done = read(path)
    for run in shuffled(runs_of(args.set)):
        record = done.get(run.name, {"error": "not run"})
        if "error" in record or ("evidence" in record and not args.again):
            continue
        saved = args.folder / args.set / f"{run.name.replace('/', '_')}.pickle"
        append(path, record | {"evidence": question(bare(run.build()), load(saved).transform)})


def fit_all(args: argparse.Namespace) -> None:
    records = usable(args)
    # of two levels of one sign, the one from which a result is flagged
    signs = list({sign.name: sign for sign in SIGNS}.values())
    found = fit([r | {"evidence": evidence_of(r)} for r in records], signs)
    for place, threshold in found.items():
        print(f"{signs[place].name}: {signs[place].threshold:g} now, {threshold:.4g} fitted")
    signs = [dataclasses.replace(s, threshold=found[i]) for i, s in enumerate(signs)]
    flagged = {
        r["name"]: "flagged" if any(s.speaks(evidence_of(r)) for s in signs) else "converged" for r in records
    }
    print(table(records, flagged), mistakes(records, flagged), sep="\n\n")


def table_all(args: argparse.Namespace) -> None:
    records = usable(args)
    flagged = {r["name"]: weigh(evidence_of(r)).level for r in records}
    print(table(records, flagged), mistakes(records, flagged), sep="\n\n")


def evidence_of(record: dict) -> dict[str, float]:
    return {**record["evidence"], "folding_any_percent": record["measures"]["field"]["folding_any_percent"]}


def bare(pair: Pair) -> Pair:
    return Pair(pair.fixed, pair.moving, initial=pair.initial)


def truth(pair: Pair, solution: Solution) -> dict:
    """Mean error of known points (mm), mean Dice of labels, where there are any."""
    found = {}
    if pair.fixed_points and pair.moving_points:
        found["tre_before"] = float(target_registration_error(pair.fixed_points, pair.moving_points).mean())
        errors = target_registration_error(pair.fixed_points, pair.moving_points, solution.transform)
        found["tre"] = float(errors.mean())
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        fixed = pair.fixed_labels.numpy()[0]
        carried = resample(pair.moving_labels, solution.transform, pair.fixed_labels.grid, "nearest").numpy()[
            0
        ]
        shared = np.intersect1d(present(fixed), present(pair.moving_labels.numpy()[0]))
        found["dice"] = float(np.mean(list(dice(fixed, carried, shared).values())))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict")
    parser.add_argument("what", choices=("run", "evidence", "fit", "table"))
    parser.add_argument("--set", choices=("fit", "judged"), default="fit")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--only", default="")
    parser.add_argument("--again", action="store_true", help="evidence: of all runs")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_threads(args.threads)
    torch.set_num_threads(args.threads)
    {"run": run_all, "evidence": question_all, "fit": fit_all, "table": table_all}[args.what](args)


if __name__ == "__main__":
    main()
