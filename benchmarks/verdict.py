"""How well the verdict tells failed registrations from good ones.

    python -m benchmarks.verdict run --set fit       # register, on images that packages ship
    python -m benchmarks.verdict run --set judged    # register, on ../shared/data
    python -m benchmarks.verdict question --set fit  # the truth about each result, and what the judge sees in it
    python -m benchmarks.verdict fit                 # thresholds, from the fit set alone
    python -m benchmarks.verdict table --set judged  # failures found and false alarms, by kind

Registering is what costs: its transforms are kept in `--folder`, and it goes on where it was stopped. Questions are
asked again where the judge's code has changed since.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import pickle
import random
import time
import traceback
from pathlib import Path

import torch

import coincide.measures
from benchmarks.verdict_runs import Run, solve
from benchmarks.verdict_table import fit, mistakes, table
from benchmarks.verdict_truth import truth
from coincide.measures.verdict import SIGNS, question, weigh
from coincide.methods.base import Solution
from coincide.ops._parallel import set_threads
from coincide.pair import Pair
from coincide.transforms.displacement import Displacement

FOLDER = Path(__file__).resolve().parents[2] / "bench-cache" / "verdict"
JUDGE = ("verdict", "coarse", "agreement", "rivals", "mirror")
"""The modules whose change makes the questions be asked again."""


def runs_of(name: str) -> list[Run]:
    """All runs of a set, in an order in which any part of them is a fair sample."""
    if name == "fit":
        from benchmarks.verdict_fit import runs
    else:
        from benchmarks.verdict_judged import runs
    found = runs()
    names = [r.name for r in found]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return random.Random(0).sample(found, len(found))


def read(path: Path) -> dict[str, dict]:
    """Records by name; of several of one name the last."""
    if not path.exists():
        return {}
    return {r["name"]: r for r in map(json.loads, path.read_text().splitlines())}


def append(path: Path, record: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def saved(args: argparse.Namespace, run: Run) -> Path:
    return args.folder / args.set / f"{run.name.replace('/', '_')}.pickle"


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
    path = args.folder / f"{args.set}-runs.jsonl"
    done = read(path)
    (args.folder / args.set).mkdir(parents=True, exist_ok=True)
    for run in runs_of(args.set):
        if run.name in done or args.only not in run.name:
            continue
        record, begun = {"name": run.name}, time.process_time()
        try:
            pair = run.build()
            built = time.process_time()
            save(solve(run, pair), saved(args, run))
            record |= {"build_cpu": built - begun, "cpu": time.process_time() - built}
        except Exception:
            record["error"] = traceback.format_exc()[-1500:]
        append(path, record)
        print(record, flush=True)


def digest() -> str:
    """Of the judge's code."""
    folder = Path(coincide.measures.__file__).parent
    sources = b"".join((folder / f"{name}.py").read_bytes() for name in JUDGE)
    return hashlib.sha256(sources).hexdigest()[:12]


def question_all(args: argparse.Namespace) -> None:
    path, code = args.folder / f"{args.set}-answers.jsonl", digest()
    done = read(path)
    for run in runs_of(args.set):
        if not saved(args, run).exists() or args.only not in run.name:
            continue
        record = done.get(run.name, {})
        if record.get("code") == code and not args.again:
            continue
        record |= {"name": run.name, "kind": run.kind, "group": run.group, "failed": run.failed, "code": code}
        pair, solution = run.build(), load(saved(args, run))
        if "measures" not in record or args.again:
            record |= truth(pair, solution)
        begun = time.process_time()
        record["evidence"] = question(bare(pair), solution.transform)
        record["cpu"] = time.process_time() - begun
        append(path, record)


def bare(pair: Pair) -> Pair:
    """What the judge may look at."""
    return Pair(pair.fixed, pair.moving, initial=pair.initial)


def answers(args: argparse.Namespace) -> list[dict]:
    names = {run.name for run in runs_of(args.set)}
    return [r for r in read(args.folder / f"{args.set}-answers.jsonl").values() if r["name"] in names]


def fit_all(args: argparse.Namespace) -> None:
    records = answers(args)
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
    records = answers(args)
    flagged = {r["name"]: weigh(evidence_of(r)).level for r in records}
    print(table(records, flagged), mistakes(records, flagged), sep="\n\n")


def evidence_of(record: dict) -> dict[str, float]:
    return {**record["evidence"], "folding_any_percent": record["measures"]["field"]["folding_any_percent"]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict")
    parser.add_argument("what", choices=("run", "question", "fit", "table"))
    parser.add_argument("--set", choices=("fit", "judged"), default="fit")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--only", default="", help="runs whose names hold this")
    parser.add_argument("--again", action="store_true", help="question: of all runs, whatever is known")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_threads(args.threads)
    torch.set_num_threads(args.threads)
    {"run": run_all, "question": question_all, "fit": fit_all, "table": table_all}[args.what](args)


if __name__ == "__main__":
    main()
