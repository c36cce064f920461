"""The method that looks at the images first and then decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from coincide.errors import OptionError, unknown
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status, Step
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear
from coincide.ops.moments import moments as flat_moments
from coincide.optimise.recorder import Recorder
from coincide.pair import Pair
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import coarse_grid, resample_smooth
from coincide.similarity import LNCC, MIND, NMI, Similarity
from coincide.transforms.linear import Affine

TRANSFORMS = ("rigid", "similarity", "affine", "deformable")
PRESETS = ("fast", "default", "accurate")

_SAME_MODALITY = 0.5
"""Correlation inside the anatomy from which two images are taken to be of one modality; see docs/performance.md."""


@dataclass(frozen=True)
class Auto(AbstractMethod):
    """Looks at the images, decides on similarity, stages and schedule, and says why.

    Args:
        transform: how far to go.
        preset: time against accuracy.
        similarity: what to compare by; decided from the images where left out.
        use_landmarks: whether the pair's landmarks pull.

    Raises:
        OptionError: an unknown transform or preset.
    """

    transform: Literal["rigid", "similarity", "affine", "deformable"] = "deformable"
    preset: Literal["fast", "default", "accurate"] = "default"
    similarity: Similarity | None = None
    use_landmarks: bool = False

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise unknown("transform", str(self.transform), TRANSFORMS)
        if self.preset not in PRESETS:
            raise unknown("preset", str(self.preset), PRESETS)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        model = "affine" if self.transform == "deformable" else self.transform
        if pair.initial is not None and not isinstance(pair.initial, Affine):
            if self.transform != "deformable":
                raise OptionError(
                    f"a {self.transform} registration cannot start from a deformable initial transform. "
                    "Give a linear one, or register deformably."
                )
            similarity = self.similarity or LNCC()
            solution = self._deformable(similarity, Linear(model, similarity), pair.dim).solve(pair, context)
            return _joined(recorder, solution)
        fixed, moving = normalise(pair.fixed), normalise(pair.moving)
        matrix, status = Linear(model, NMI(), NMI(), fine=80_000).find(fixed, moving, pair, recorder)
        if status is not Status.SUCCEEDED:
            return _joined(recorder, Solution(Affine(matrix), status=status))
        similarity = self.similarity or self._similarity(fixed, moving, matrix, recorder)
        linear = Linear(model, _linear_similarity(similarity), _linear_similarity(similarity), coarse=80_000)
        chosen: AbstractMethod = linear
        if self.transform == "deformable":
            chosen = self._deformable(similarity, linear, pair.dim)
        started = replace(pair, initial=Affine(matrix, fixed.grid.centre))
        return _joined(recorder, chosen.solve(started, context))

    def _similarity(self, fixed: Image, moving: Image, matrix: np.ndarray, recorder: Recorder) -> Similarity:
        correlation = inner_correlation(fixed, moving, matrix)
        recorder.evidence["inner_correlation"] = correlation
        if correlation >= _SAME_MODALITY:
            recorder.decide(f"The images look alike (correlation {correlation:.2f} inside the anatomy): LNCC.")
            return LNCC()
        recorder.decide(
            f"The images differ in contrast (correlation {correlation:.2f} inside the anatomy): "
            "NMI for the linear part" + (", MIND for the deformation." if self.transform == "deformable" else ".")
        )
        return MIND() if self.transform == "deformable" else NMI()

    def _deformable(self, similarity: Similarity, linear: Linear, dim: int) -> Deformable:
        schedule = SCHEDULES[self.preset]
        return replace(schedule, linear=linear, similarity=similarity, use_landmarks=self.use_landmarks)


SCHEDULES = {
    "fast": Deformable(levels=(4.0, 2.0), iterations=(100, 60)),
    "default": Deformable(),
    "accurate": Deformable(iterations=(100, 100, 30), force_sigma=2.0, field_sigma=0.5),
}
"""What each preset means for the deformable stage."""


def inner_correlation(fixed: Image, moving: Image, matrix: np.ndarray) -> float:
    """Correlation of the two images where both show anatomy, at about 3 mm, under `matrix` (fixed → moving, mm)."""
    grid = coarse_grid(fixed.grid, 2.0 * float(np.prod(fixed.grid.spacing) ** (1 / fixed.dim)))
    f = resample_smooth(fixed.data, fixed.grid, grid)[0]
    m = resample_smooth(moving.data, moving.grid, grid, matrix)[0]
    inside = (foreground_weights(Image(f, grid)) > 0) & (foreground_weights(Image(m, grid)) > 0)
    if int(inside.sum()) < 50:
        return 0.0
    n, a, b, aa, bb, ab = flat_moments(*(x.to(torch.float32).numpy().ravel() for x in (f, m, inside)))
    spread = (aa - a * a / n) * (bb - b * b / n)
    return float((ab - a * b / n) / np.sqrt(spread)) if spread > 0 else 0.0


def _linear_similarity(similarity: Similarity) -> Similarity:
    # MIND is not the same for a turned image: the linear part is found by NMI
    return NMI() if isinstance(similarity, MIND) else similarity


def _joined(recorder: Recorder, solution: Solution) -> Solution:
    """`solution`, with what happened before it put in front."""
    offset = recorder.steps[-1][-1] if recorder.steps else 0.0
    later = tuple(replace(step, seconds=step.seconds + offset) for step in solution.trace)
    seconds = dict(recorder.seconds)
    for stage, value in solution.seconds.items():
        seconds[stage] = seconds.get(stage, 0.0) + value
    evidence = {**solution.evidence, **{k: v for k, v in recorder.evidence.items() if k.startswith(("start", "inner"))}}
    return replace(
        solution,
        trace=tuple(Step(*s) for s in recorder.steps) + later,
        decisions=tuple(recorder.decisions) + solution.decisions,
        evidence=evidence,
        seconds=seconds,
    )
