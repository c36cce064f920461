"""Whether to trust a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from coincide.measures.agreement import agreement
from coincide.measures.coarse import Coarse, mean
from coincide.measures.mirror import mirror_test, reached
from coincide.measures.rivals import rivals
from coincide.methods.base import Solution, Status
from coincide.pair import Pair
from coincide.transforms.base import Transform

Level = Literal["converged", "suspicious", "failed"]


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

    level: Level
    sentence: str
    reasons: tuple[str, ...]
    evidence: dict[str, float]
    thresholds: dict[str, float]


@dataclass(frozen=True)
class Sign:
    """One thing that may speak against a result.

    Args:
        name: of the evidence.
        threshold: what it is held against.
        above: whether it speaks against the result above the threshold, else below.
        level: what the result then is.
        sentence: what was found and what to do; `{value}` is the evidence, `{size}` its
            absolute value.
    """

    name: str
    threshold: float
    above: bool
    level: Level
    sentence: str

    def speaks(self, evidence: dict[str, float]) -> bool:
        """Whether it speaks against the result."""
        value = evidence.get(self.name)
        if value is None:
            return False
        return value > self.threshold if self.above else value < self.threshold

    def told(self, evidence: dict[str, float]) -> str:
        """The sentence, with the evidence in it."""
        value = evidence[self.name]
        return self.sentence.format(value=value, size=abs(value))


SIGNS = (
    Sign("agreement_either", 0.25, False, "failed",
         "Within the anatomy the images agree hardly more than by chance ({value:.0%} of what is possible). "
         "Check that both show the same organ, and the start."),
    Sign("agreement", 0.08, False, "failed",
         "Within the anatomy the images correlate locally no more than by chance ({value:.0%} of what is possible). "
         "Check that both show the same organ, and the start."),
    Sign("rival_margin", -0.03, False, "failed",
         "Another position fits better than the one found, by {size:.3f} in normalised mutual information. "
         "Give a better initial transform, or leave out the one that was given."),
    Sign("mirror_either", -20.0, False, "failed",
         "The mirror image of the moving image fits better than the image itself ({value:.1f} standard errors): "
         "left and right may be exchanged. Check the headers' orientation before anything else."),
    Sign("mirror_either", -1.8, False, "suspicious",
         "The mirror image of the moving image fits better than the image itself ({value:.1f} standard errors): "
         "left and right may be exchanged. Check the headers' orientation."),
    Sign("agreement_either", 0.45, False, "suspicious",
         "Within the anatomy the images agree only in part ({value:.0%} of what is possible). Look at the edges."),
    Sign("agreement", 0.1, False, "suspicious",
         "Within the anatomy the images correlate locally little more than by chance ({value:.0%} of what is "
         "possible). Look at the edges."),
    Sign("rival_margin", -0.014, False, "suspicious",
         "Another position fits a little better than the one found, by {size:.3f} in normalised mutual information. "
         "Look at the edges; give a better initial transform, or leave out the one that was given."),
    Sign("coverage_percent", 75.0, False, "suspicious",
         "Only {value:.0f} % of the fixed anatomy lies inside the moving image; nothing is known of the rest."),
    Sign("stretch", 1.3, True, "suspicious",
         "One direction is stretched {value:.2f} times as much as another. Check that both show the same anatomy."),
    Sign("scale_factor", 1.5, True, "suspicious",
         "Lengths are scaled by a factor of {value:.2f}. Check that both show the same anatomy, and voxel sizes."),
    Sign("rigid_gap", 0.115, True, "suspicious",
         "A deformation would bring the images much closer than this rigid motion does (by {value:.2f} of squared "
         "local correlation). If they should show one person, check that they do; else register deformably."),
    Sign("landmark_missed", 2.0, True, "suspicious",
         "A landmark that was to steer is missed by {value:.1f} voxels: it contradicts its neighbours or the images. "
         "Look at the landmarks in the report, and check that one."),
    Sign("sd_log_jacobian", 0.6, True, "suspicious",
         "The deformation is rough (SD of the log-Jacobian {value:.2f}). Look at the deformation grid."),
    Sign("folding_any_percent", 0.0, True, "suspicious",
         "The deformation folds at {value:.3g} % of the voxels."),
)  # fmt: skip
"""What is looked at, the gravest first; how the thresholds were found stands in docs/verdict.md."""

THRESHOLDS = {sign.name: sign.threshold for sign in SIGNS}
"""What each evidence is held against; of two levels, where the result becomes suspicious."""

_TOLD = 3.0
"""`mirror_either` from which left and right are told apart: no flip of the fit set came above 2."""

_LEAST = 100
"""Voxels of anatomy, at the coarse level, below which nothing can be said."""


def judge(pair: Pair, solution: Solution, measures: dict[str, Any]) -> Verdict:
    """Weigh what speaks against a solution.

    Args:
        pair: what was registered.
        solution: what the method found.
        measures: from `measures.measure`.
    """
    evidence = dict(solution.evidence)
    evidence["folding_any_percent"] = measures["field"]["folding_any_percent"]
    if solution.status is Status.SUCCEEDED:
        evidence |= question(pair, solution.transform)
    return weigh(evidence, solution.status)


def question(pair: Pair, transform: Transform) -> dict[str, float]:
    """The evidence that the images give about a transform (fixed-world mm → moving-world mm), coarsely.

    Returns:
        `coverage_percent`, `scale`, `scale_factor`, `stretch`, `sd_log_jacobian`, and what `agreement`, `rivals`
        and `mirror_test` return; `agreement_either`, the larger of `agreement` and `structure`; for rigid
        transforms `rigid_gap`. Without enough anatomy to look at, only the coverage.
    """
    coarse = Coarse.of(pair, transform)
    evidence = {"coverage_percent": 100 * mean(coarse.inside, coarse.anatomy)}
    if float((coarse.inside * coarse.anatomy).sum()) < _LEAST:
        return evidence
    stretches = coarse.stretches
    evidence["scale"] = float(np.prod(stretches)) ** (1 / pair.dim)
    evidence["scale_factor"] = max(evidence["scale"], 1 / max(evidence["scale"], 1e-9))
    evidence["stretch"] = float(stretches[0] / max(stretches[-1], 1e-9))
    evidence["sd_log_jacobian"] = coarse.spread
    evidence |= agreement(coarse)
    evidence["agreement_either"] = max(evidence["agreement"], evidence["structure"])
    found, mirrored, margins = rivals(coarse)
    evidence |= margins
    evidence |= mirror_test(coarse, found, mirrored)
    if coarse.is_rigid:
        evidence["rigid_gap"] = evidence["within_reach"] - reached(coarse)
    return evidence


def weigh(evidence: dict[str, float], status: Status = Status.SUCCEEDED) -> Verdict:
    """The verdict on `evidence`."""
    speaking: dict[str, Sign] = {}
    for sign in SIGNS:
        if sign.speaks(evidence):
            # the gravest comes first; what it says of an evidence need not be said again more mildly
            speaking.setdefault(sign.name, sign)
    reasons = [(sign.level, sign.told(evidence)) for sign in speaking.values()]
    if status is not Status.SUCCEEDED:
        reasons.insert(0, ("failed", status.value))
    sentences = tuple(sentence for _, sentence in reasons)
    level: Level = "converged"
    sentence = "The images came into coincidence; nothing speaks against the result. Look at the edges in the report."
    if any(level == "failed" for level, _ in reasons):
        level = "failed"
        sentence = f"Do not use this result. {next(s for at, s in reasons if at == 'failed')}"
    elif reasons:
        level, sentence = "suspicious", f"Look before you use this result. {sentences[0]}"
    elif evidence.get("mirror_either", _TOLD) < _TOLD:
        sentence += " Left and right look too alike here to tell them apart: that rests on the headers."
    return Verdict(level, sentence, sentences, evidence, dict(THRESHOLDS))
