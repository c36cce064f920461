"""From the runs' evidence: thresholds (from the fit set), and how many failures the verdict finds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from benchmarks.verdict_runs import KINDS

GOOD_MM, FAILED_MM = 5.0, 8.0
GOOD_SHARE, FAILED_SHARE = 0.8, 0.6
FALSE_ALARMS = 0.03
"""Share of false alarms that is aimed at on the fit set; below what is promised, for other images will differ."""
SPARED = 0.01
"""Share of the good runs that each sign may flag."""
MARGIN = 0.1
"""How far beyond the rest a threshold lies, as a share of their reach beyond their median."""
OVERLAPPING = "mirror_either"


def outcomes(records: list[dict]) -> dict[str, str]:
    """`"good"`, `"failed"` or `"borderline"`, by name."""
    scores = defaultdict(list)
    for r in records:
        if r["kind"] == "good" and "dice" in r:
            scores[r["group"]].append(r["dice"])
    usual = {group: float(np.median(values)) for group, values in scores.items()}
    return {r["name"]: _outcome(r, usual) for r in records}


def _outcome(record: dict, usual: dict[str, float]) -> str:
    if record["failed"]:
        return "failed"
    if "tre" in record:
        return "good" if record["tre"] <= GOOD_MM else "failed" if record["tre"] > FAILED_MM else "borderline"
    share = record["dice"] / usual.get(record["group"], max(usual.values()))
    return "good" if share >= GOOD_SHARE else "failed" if share < FAILED_SHARE else "borderline"


def fit(records: list[dict], signs) -> dict[int, float]:
    """A threshold for each sign (by its place in `signs`).

    It lies beyond all good runs but one in a hundred, with a margin. Only that of `OVERLAPPING`, whose good and
    failed runs overlap, is as strict as the false alarms that are left allow.
    """
    truth = outcomes(records)
    counted = [r for r in records if truth[r["name"]] != "borderline"]
    failed = np.array([truth[r["name"]] == "failed" for r in counted])
    # all made to speak against a result when high
    values = [
        np.array([r["evidence"].get(s.name, np.nan) for r in counted], float) * (1 if s.above else -1)
        for s in signs
    ]
    thresholds = [_beyond(own[~failed & np.isfinite(own)]) for own in values]
    for place, own in enumerate(values):
        if signs[place].name == OVERLAPPING:
            others = [v > t for i, (v, t) in enumerate(zip(values, thresholds)) if i != place]
            alarms = np.any(others, axis=0) & ~failed
            left = int(FALSE_ALARMS * (~failed).sum()) - int(alarms.sum())
            passing = np.sort(own[np.isfinite(own) & ~failed & ~alarms])[::-1]
            thresholds[place] = float(passing[max(left - 1, 0) : max(left + 1, 1)].mean())
    return {i: t * (1 if s.above else -1) for i, (s, t) in enumerate(zip(signs, thresholds))}


def _beyond(good: np.ndarray) -> float:
    """Above all of `good` but `SPARED` of them, by `MARGIN` of their reach above their median."""
    highest = float(np.sort(good)[len(good) - 1 - int(SPARED * len(good))])
    return highest + MARGIN * (highest - float(np.median(good)))


def table(records: list[dict], flagged: dict[str, str]) -> str:
    """Markdown: by kind, how many runs failed and were found, how many were good and flagged all the same.

    Args:
        records: the runs.
        flagged: level of the verdict, by name.
    """
    truth = outcomes(records)
    lines = [
        "| what was done | runs | failed | found | good | false alarms | borderline |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in (*KINDS, None):
        chosen = [r["name"] for r in records if kind in (None, r["kind"])]
        bad = [n for n in chosen if truth[n] == "failed"]
        good = [n for n in chosen if truth[n] == "good"]
        found = sum(flagged[n] != "converged" for n in bad)
        alarms = sum(flagged[n] != "converged" for n in good)
        lines.append(
            f"| {kind or '**all**'} | {len(chosen)} | {len(bad)} | {_share(found, len(bad))} | {len(good)} | "
            f"{_share(alarms, len(good))} | {len(chosen) - len(bad) - len(good)} |"
        )
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "–"


def mistakes(records: list[dict], flagged: dict[str, str]) -> str:
    """Every failure that was missed and every false alarm, a line each."""
    truth = outcomes(records)
    lines = []
    for r in records:
        name, level = r["name"], flagged[r["name"]]
        if (truth[name] == "failed" and level == "converged") or (
            truth[name] == "good" and level != "converged"
        ):
            score = f"{r['tre']:.1f} mm" if "tre" in r else f"Dice {r['dice']:.2f}" if "dice" in r else ""
            shown = {k: round(v, 3) for k, v in r["evidence"].items()}
            lines.append(f"{truth[name]}, judged {level}: {name} ({r['kind']}, {r['group']}) {score} {shown}")
    return "\n".join(lines)
