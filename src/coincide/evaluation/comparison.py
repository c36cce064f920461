"""Methods side by side on the pairs of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

from coincide.api import register
from coincide.data import CasePair, DataSet, DataSetError, Problem
from coincide.errors import InputError, ResourceError
from coincide.io import read_transform

MEASURES = {
    "labels.dice_before_mean": "Dice before",
    "labels.dice_mean": "Dice",
    "labels.hd95_mean_mm": "HD95 mm",
    "points.before.tre_mean_mm": "TRE before mm",
    "points.after.tre_mean_mm": "TRE mm",
    "truth.mean_mm": "off the truth mm",
    "before.ncc": "NCC before",
    "after.ncc": "NCC",
    "field.folding_any_percent": "folds %",
    "seconds": "CPU s",
}
"""What tables show, as far as it is known, and how it is called there; records hold all measures."""


@dataclass(frozen=True)
class Outcome:
    """One method on one pair.

    Args:
        pair: what the pair is called.
        method: what the method is called.
        measures: every number that was measured, by its place (`"labels.dice_mean"`), and `seconds` of all threads.
        verdict: level of the verdict; `refused` where the method cannot take the pair.
        message: the verdict's sentence, or why it was refused.
    """

    pair: str
    method: str
    measures: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ""
    message: str = ""


def chosen_pairs(
    data: DataSet,
    most: int | None = None,
    seed: int = 0,
    subjects: Set[str] | None = None,
    others: Set[str] = frozenset(),
) -> tuple[CasePair, ...]:
    """The pairs that the data set lists, or every ordered pair of its cases.

    Args:
        data: with cases or pairs.
        most: how many at most, drawn by `seed`.
        seed: of the draw.
        subjects: of which one at least is in each pair; all where left out.
        others: that may be the other one.

    Raises:
        DataSetError: there is no such pair.
    """
    pairs = data.pairs or tuple(CasePair(*two) for two in permutations(data.cases, 2))
    if subjects is not None:
        both = [frozenset((pair.fixed.subject, pair.moving.subject)) for pair in pairs]
        pairs = tuple(p for p, two in zip(pairs, both) if two & subjects and two <= subjects | others)
    if not pairs:
        message = f"no pair among {len(data.cases)} images of the subjects asked for. Take another part, or list pairs."
        raise DataSetError(data.source, [Problem("empty", str(data.source), message)])
    if most is None or len(pairs) <= most:
        return pairs
    drawn = np.random.default_rng(seed).choice(len(pairs), most, replace=False)
    return tuple(pairs[n] for n in sorted(drawn))


def outcomes(
    pairs: Sequence[CasePair],
    methods: Sequence[str],
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str, str], None] = lambda pair, method: None,
) -> Iterator[Outcome]:
    """Every method on every pair, in turn; what one of them cannot take is an outcome too.

    Args:
        pairs: of a data set.
        methods: by SPEC.
        options: of `coincide.register`.
        progress: told of the pair and the method before each run.
    """
    for pair in pairs:
        for method in methods:
            progress(title(pair), method)
            yield _outcome(pair, method, options or {})


def title(pair: CasePair) -> str:
    """What to call a pair."""
    return f"{pair.fixed.name or pair.fixed.image.name} – {pair.moving.name or pair.moving.image.name}"


def _outcome(pair: CasePair, method: str, options: Mapping[str, Any]) -> Outcome:
    sources = {
        f"{role}_{kind}": getattr(case, kind)
        for role, case in (("fixed", pair.fixed), ("moving", pair.moving))
        for kind in ("mask", "labels", "points")
        if getattr(pair.fixed, kind) is not None and getattr(pair.moving, kind) is not None
    }
    begun = time.process_time()
    try:
        found = register(pair.fixed.image, pair.moving.image, method, **sources, **options)
    except (InputError, ResourceError) as error:
        return Outcome(title(pair), method, verdict="refused", message=str(error))
    measures = _numbers(found.measures) | {"seconds": time.process_time() - begun}
    if pair.truth is not None:
        grid = found.warped.grid
        place = grid.points().reshape(-1, grid.dim)[:: max(1, grid.size // 20_000)]
        off = found.transform(place) - read_transform(pair.truth)(place)
        measures["truth.mean_mm"] = float(np.linalg.norm(off, axis=1).mean())
    return Outcome(title(pair), method, measures, found.verdict.level, found.verdict.sentence)


def _numbers(measures: Mapping[str, Any], place: str = "") -> dict[str, float]:
    """Every number in nested tables, by the names on the way to it; those of single labels are left out."""
    found: dict[str, float] = {}
    for key, value in measures.items():
        if isinstance(value, Mapping):
            found |= {} if key == "per_label" else _numbers(value, f"{place}{key}.")
        elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
            found[f"{place}{key}"] = float(value)
    return found


def spread(found: Sequence[Outcome]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each method and measure: `number`, `mean`, `sd`, `median`, `least` and `most` over the pairs that have it.

    The standard deviation is that of a sample; 0 for a single pair.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for method in dict.fromkeys(outcome.method for outcome in found):
        own = [outcome.measures for outcome in found if outcome.method == method]
        table[method] = {}
        for key in dict.fromkeys(key for measures in own for key in measures):
            values = np.array([measures[key] for measures in own if key in measures])
            table[method][key] = {
                "number": len(values),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                "median": float(np.median(values)),
                "least": float(values.min()),
                "most": float(values.max()),
            }
    return table
