"""Whether to trust a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from coincide.methods.base import Solution, Status
from coincide.pair import Pair
from coincide.transforms.linear import Affine


@dataclass(frozen=True)
class Verdict:
    """Whether to trust a result.

    Args:
        level: `"converged"`, `"suspicious"` or `"failed"`.
        sentence: what a person should know and do, one or two sentences.
        reasons: each sign that spoke against the result, a sentence each; empty when converged.
        evidence: the numbers that were looked at.
        thresholds: what they were held against.
    """

    level: Literal["converged", "suspicious", "failed"]
    sentence: str
    reasons: tuple[str, ...]
    evidence: dict[str, float]
    thresholds: dict[str, float]


THRESHOLDS = {
    "overlap_percent": 50.0,
    "scale_low": 0.5,
    "scale_high": 2.0,
    "folding_any_percent": 0.0,
    "gain": 0.0,
}
"""What the evidence is held against."""


def judge(pair: Pair, solution: Solution, measures: dict[str, Any]) -> Verdict:
    """Weigh what speaks against a solution.

    Args:
        pair: what was registered.
        solution: what the method found.
        measures: from `measures.measure`.
    """
    evidence = {**solution.evidence, "overlap_percent": measures["after"]["overlap_percent"]}
    linear = [part for part in solution.transform.parts() if isinstance(part, Affine)]
    evidence["scale"] = float(np.prod([abs(part.determinant) for part in linear])) ** (1 / pair.dim)
    evidence["folding_any_percent"] = measures["field"]["folding_any_percent"]
    before, after = measures["before"]["nmi"], measures["after"]["nmi"]
    if before is not None and after is not None:
        evidence["gain"] = after - before
    failures, doubts = [], []
    if solution.status is not Status.SUCCEEDED:
        failures.append(solution.status.value)
    if evidence["overlap_percent"] < THRESHOLDS["overlap_percent"]:
        doubts.append(f"Only {evidence['overlap_percent']:.0f} % of the fixed image is covered by the moving one.")
    if not THRESHOLDS["scale_low"] <= evidence["scale"] <= THRESHOLDS["scale_high"]:
        doubts.append(f"The transform scales lengths by {evidence['scale']:.2f}; check that both show the same anatomy.")
    if evidence["folding_any_percent"] > THRESHOLDS["folding_any_percent"]:
        doubts.append(f"The deformation folds at {evidence['folding_any_percent']:.3g} % of the voxels.")
    if evidence.get("gain", 1.0) < THRESHOLDS["gain"]:
        failures.append("The images are less alike after registration than where their headers put them.")
    return _verdict(failures, doubts, evidence)


def _verdict(failures: list[str], doubts: list[str], evidence: dict[str, float]) -> Verdict:
    reasons = tuple(failures + doubts)
    if failures:
        return Verdict("failed", f"Do not use this result. {failures[0]}", reasons, evidence, dict(THRESHOLDS))
    if doubts:
        return Verdict("suspicious", f"Look before you use this result. {doubts[0]}", reasons, evidence, dict(THRESHOLDS))
    sentence = "The images came into coincidence; nothing speaks against the result. Look at the edges in the report."
    return Verdict("converged", sentence, (), evidence, dict(THRESHOLDS))
