"""Records to a summary: every case, every task's mean with its interval, ours beside the best peer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.methods import is_linear, is_own
from benchmarks.records import read_records

BUSY = 0.2
"""Cores that others kept busy during a run, above which its times are only indicative."""
NUMBERS = (
    "dice",
    "folds_forward_percent",
    "folds_central_percent",
    "folds_any_percent",
    "min_jacobian",
    "min_jacobian_any",
    "cold_seconds",
    "process_seconds",
    "warm_seconds",
    "cpu_seconds",
    "peak_mb",
    "others_cores",
    "moved_mean_mm",
)


def report(records: Path, out: Path, table: Path | None) -> str:
    """Write the summary of `records` as JSON to `out` and as Markdown to `table`; returns the Markdown."""
    latest = _latest(list(read_records(records).values()))
    rows = [_row(runs) for runs in latest.values()]
    tasks = _task_means(rows)
    text = _markdown(rows, tasks)
    out.write_text(json.dumps({"cases": rows, "tasks": tasks}, indent=1))
    if table is not None:
        table.write_text(text)
    return text


def _latest(records: list[dict]) -> dict[tuple[str, str], list[dict]]:
    """The runs of each case and method, of the version that was run last."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        group = groups.setdefault((record["case"], record["method"]), [])
        if group and group[0]["version"] != record["version"]:
            group.clear()
        group.append(record)
    return groups


def _row(runs: list[dict]) -> dict:
    """One case by one method: means over its repeats."""
    good = [r for r in runs if not r.get("error")]
    row = {k: runs[0][k] for k in ("case", "task", "method", "version")} | {"runs": len(good)}
    if not good:
        return row | {"error": runs[-1]["error"].strip().splitlines()[-1]}
    for name in NUMBERS:
        values = [r[name] for r in good if r.get(name) is not None]
        if values:
            row[name] = float(np.mean(values))
    for name in ("mean", "median", "p90"):
        values = [r["tre"][name] for r in good if "tre" in r]
        if values:
            row[f"tre_{name}"] = float(np.mean(values))
    groups = [r["tre_groups"] for r in good if r.get("tre_groups")]
    row["tre_groups"] = {g: float(np.mean([one[g]["mean"] for one in groups])) for g in (groups or [{}])[0]}
    row["verdict"] = good[-1].get("verdict")
    for side in ("inverse_fixed", "inverse_moving"):
        if good[-1].get(side, {}).get("points"):
            row[side] = good[-1][side]
    row["score"], row["scores"] = _score(good)
    return row


def _score(good: list[dict]) -> tuple[float | None, list[float]]:
    values = [r["dice"] if "dice" in r else r["tre"]["mean"] for r in good if "dice" in r or "tre" in r]
    return (float(np.mean(values)) if values else None), values


def _task_means(rows: list[dict]) -> list[dict]:
    """Each method's mean over the cases of a task, with a 95 % bootstrap interval."""
    means = []
    for task in dict.fromkeys(r["task"] for r in rows):
        of_task = [r for r in rows if r["task"] == task and r.get("score") is not None]
        names = {r["case"] for r in of_task}
        for method in dict.fromkeys(r["method"] for r in of_task):
            mine = [r for r in of_task if r["method"] == method]
            means.append(_mean_row(task, method, mine, len(names)))
        _mark_best([m for m in means if m["task"] == task])
    return means


def _mean_row(task: str, method: str, mine: list[dict], expected: int) -> dict:
    low, high = bootstrap([r["scores"] for r in mine])
    row = {"task": task, "method": method, "measure": "dice" if "dice" in mine[0] else "tre_mean"}
    row |= {"cases": len(mine), "of": expected, "mean": float(np.mean([r["score"] for r in mine]))}
    row |= {"low": low, "high": high, "best_peer": False}
    for name in ("cold_seconds", "warm_seconds", "process_seconds", "cpu_seconds", "peak_mb"):
        values = [r[name] for r in mine if name in r]
        row[name] = float(np.mean(values)) if values else None
    row["folds_any_percent"] = max(r["folds_any_percent"] for r in mine)
    row["min_jacobian_any"] = min(r["min_jacobian_any"] for r in mine)
    return row


def bootstrap(scores: list[list[float]], number: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean over cases, drawing cases, and within each case one of its repeats."""
    draw = np.random.default_rng(0)
    means = []
    for _ in range(number):
        cases = draw.integers(0, len(scores), len(scores))
        means.append(np.mean([scores[c][draw.integers(0, len(scores[c]))] for c in cases]))
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def _mark_best(means: list[dict]) -> None:
    """Mark the best peer (no affine stage beside deformable methods) and put time ratios to it on all."""
    full = [
        m for m in means if m["cases"] == m["of"] and not is_own(m["method"]) and m["method"] != "identity"
    ]
    deformable = [m for m in full if not is_linear(m["method"])]
    peers = deformable or full
    if not peers:
        return
    sign = -1 if peers[0]["measure"] == "dice" else 1
    best = min(peers, key=lambda m: sign * m["mean"])
    best["best_peer"] = True
    for mean in means:
        mean["time_to_best"] = mean["cold_seconds"] / best["cold_seconds"] if mean["cold_seconds"] else None


def _markdown(rows: list[dict], tasks: list[dict]) -> str:
    lines = ["## Means over each task", "", *_task_lines(tasks), "", "## Every case", "", *_case_lines(rows)]
    busy = sum(r.get("others_cores", 0) > BUSY for r in rows)
    if busy:
        lines += [
            "",
            f"~ before a time: others kept more than {BUSY} of a core busy; {busy} of {len(rows)} rows.",
        ]
    return "\n".join(lines) + "\n"


def _task_lines(tasks: list[dict]) -> list[str]:
    head = "| task | method | score | 95 % | cases | cold s | of best peer's | warm s | CPU s "
    head += "| worst folds % | min J | MB |"
    lines = [head, "|" + "---|" * 12]
    for m in tasks:
        name = f"**{m['method']}** (best peer)" if m["best_peer"] else m["method"]
        digits = 3 if m["measure"] == "dice" else 2
        lines.append(
            f"| {m['task']} | {name} | {'Dice' if m['measure'] == 'dice' else 'TRE'} {m['mean']:.{digits}f} "
            f"| {m['low']:.{digits}f}–{m['high']:.{digits}f} | {m['cases']}/{m['of']} "
            f"| {_number(m['cold_seconds'])} | {_number(m.get('time_to_best'), 2)} "
            f"| {_number(m['warm_seconds'])} | {_number(m['cpu_seconds'])} "
            f"| {m['folds_any_percent']:.4f} | {m['min_jacobian_any']:.2f} | {_number(m['peak_mb'], 0)} |"
        )
    return lines


def _case_lines(rows: list[dict]) -> list[str]:
    head = (
        "| case | method | runs | Dice | TRE mean / median / 90 % mm | groups | cold s | warm s | CPU s "
        "| folds % forward / any | min J forward / any | inverse mean / 99.9 % voxel | MB | verdict |"
    )
    lines = [head, "|" + "---|" * 14]
    for r in sorted(rows, key=lambda r: r["case"]):
        if "error" in r:
            lines.append(
                f"| {r['case']} | {r['method']} | failed: {r['error'][:160].replace('|', '/')} |" + " |" * 11
            )
            continue
        tre = f"{r['tre_mean']:.2f} / {r['tre_median']:.2f} / {r['tre_p90']:.2f}" if "tre_mean" in r else ""
        groups = ", ".join(f"{g} {v:.2f}" for g, v in r["tre_groups"].items())
        if r["score"] is None:
            groups = f"no truth; moved {r['moved_mean_mm']:.1f} mm"
        back = r.get("inverse_fixed")
        residual = f"{back['mean_voxels']:.3f} / {back['p999_voxels']:.2f}" if back else ""
        busy = "~" if r.get("others_cores", 0) > BUSY else ""
        lines.append(
            f"| {r['case']} | {r['method']} | {r['runs']} | {_number(r.get('dice'), 3)} | {tre} | {groups} "
            f"| {busy}{_number(r['cold_seconds'])} | {_number(r.get('warm_seconds'))} "
            f"| {_number(r['cpu_seconds'])} "
            f"| {r['folds_forward_percent']:.4f} / {r['folds_any_percent']:.4f} "
            f"| {r['min_jacobian']:.2f} / {r['min_jacobian_any']:.2f} "
            f"| {residual} "
            f"| {_number(r['peak_mb'], 0)} | {r['verdict'] or ''} |"
        )
    return lines


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"
