"""Run methods over cases, resumably, and print ours against theirs.

    python -m benchmarks.run --methods coincide,greedy --tasks brain --repeats 3 --out r.json --table r.md

Every run is a process of its own, and its scores another. Records go to a JSON-lines file as they come
(`--records`, beside `--out` by default), keyed by case, method, version and repeat: what is there is not run
again. Repeats are the outer loop, methods the inner one, so ours and theirs alternate.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
from pathlib import Path

from benchmarks.cases import DEFAULT_CACHE, DEFAULT_CASES, Case, read_cases
from benchmarks.methods import TOOLS, default_methods, is_own
from benchmarks.peers.base import Job
from benchmarks.processes import run_module
from benchmarks.records import append, key, read_records
from benchmarks.table import report
from benchmarks.watch import Watch
from benchmarks.worker import write_job


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--cases", type=Path, default=DEFAULT_CASES, help="table of pairs")
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help="folder for turned images and saved runs"
    )
    parser.add_argument(
        "--methods", help="comma-separated; each task's own where left out, `peers` or `own` of them"
    )
    parser.add_argument("--tasks", help="comma-separated; all where left out")
    parser.add_argument("--only", help="comma-separated case names")
    parser.add_argument(
        "--repeats", type=int, default=1, help="runs of each method that is random (others: one)"
    )
    parser.add_argument("--no-warm", action="store_true", help="leave out the runs in a warm process")
    parser.add_argument("--keep", action="store_true", help="keep the saved transforms")
    parser.add_argument("--retry", action="store_true", help="run again what failed before")
    parser.add_argument("--out", type=Path, help="summary; in the cache folder where left out")
    parser.add_argument("--table", type=Path, help="the same as Markdown")
    parser.add_argument("--records", type=Path, help="JSON lines, appended to")
    args = parser.parse_args(argv)
    args.out = args.out or args.cache / "results.json"
    unknown = [m for m in (args.methods or "").split(",") if m and m not in (*TOOLS, "peers", "own")]
    if unknown:
        parser.error(f"unknown methods {unknown}; known: peers, own, {', '.join(TOOLS)}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    records = args.records or args.out.with_suffix(".jsonl")
    cases = [c for c in read_cases(args.cases.resolve(), args.cache.resolve()) if _wanted(c, args)]
    for case in cases:
        if case.skipped:
            print(f"{case.name}: skipped ({case.skipped})", flush=True)
    for repeat in range(args.repeats):
        for case in (c for c in cases if not c.skipped):
            for method in chosen(case, args.methods):
                _run_once(args, case, method, repeat, records)
                report(records, args.out, args.table)
    print(report(records, args.out, args.table))


def chosen(case: Case, methods: str | None) -> list[str]:
    """The methods to run on `case`; only ours where there is no truth to compare by."""
    names = [m for m in default_methods(case.task) if case.has_truth or is_own(m)]
    if methods in ("peers", "own"):
        names = [m for m in names if is_own(m) == (methods == "own")]
    elif methods:
        names = methods.split(",")
    return [m for m in names if case.dim in TOOLS[m].dims]


def _wanted(case: Case, args: argparse.Namespace) -> bool:
    in_task = not args.tasks or case.task in args.tasks.split(",")
    return in_task and (not args.only or case.name in args.only.split(","))


def _run_once(args: argparse.Namespace, case: Case, method: str, repeat: int, records: Path) -> None:
    tool = TOOLS[method]
    if repeat and not tool.random and not is_own(method):
        return
    record = {
        "case": case.name,
        "task": case.task,
        "method": method,
        "version": tool.version(),
        "repeat": repeat,
    }
    done = read_records(records).get(key(record))
    if done and not (args.retry and done.get("error")):
        return
    out = args.cache.resolve() / "runs" / f"{case.name}-{method.replace(':', '_')}-{os.getpid()}-{repeat}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    record |= {"date": datetime.datetime.now().isoformat(timespec="seconds"), "nice": os.nice(0)}
    watch = Watch()
    try:
        record |= _measure(args, case, method, out)
    except RuntimeError as error:
        record["error"] = str(error)[-1500:]
    record["others_cores"] = watch.others()
    append(records, record)
    print(_line(record), flush=True)
    if not args.keep:
        shutil.rmtree(out, ignore_errors=True)


def _measure(args: argparse.Namespace, case: Case, method: str, out: Path) -> dict:
    job = out.with_suffix(".json")
    write_job(Job(case.fixed, case.moving, case.dim, case.multimodal), job)
    run_module("benchmarks.worker", job, method, out)
    found = json.loads((out / "run.json").read_text())
    if is_own(method) and not args.no_warm:
        run_module("benchmarks.warm", job, method, out.with_name(out.name + "-warm"))
        found |= json.loads((out.with_name(out.name + "-warm") / "run.json").read_text())
    text = run_module(
        "benchmarks.evaluate", args.cases.resolve(), args.cache.resolve(), case.name, method, out
    )
    job.unlink()
    shutil.rmtree(out.with_name(out.name + "-warm"), ignore_errors=True)
    return found | json.loads(text.rsplit("SCORES ", 1)[1])


def _line(record: dict) -> str:
    score = record.get("error", "").strip().splitlines()[-1:] or [
        f"Dice {record['dice']:.3f}" if "dice" in record else "",
        f"TRE {record['tre']['mean']:.2f}" if "tre" in record else "",
        f"{record['cold_seconds']:.1f} s",
    ]
    return f"{record['case']} {record['method']} #{record['repeat']}: {' '.join(score)}"


if __name__ == "__main__":
    main()
