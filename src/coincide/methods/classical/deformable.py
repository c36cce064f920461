"""Diffeomorphic registration: a linear start, then composed smooth steps from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from coincide.methods.classical.bending import Bending
from coincide.optimise.deformable import Rule, descend
from coincide.optimise.doubt import FEWEST, doubted
from coincide.options import NotNegative, Positive, ShareBelowOne
from coincide.similarity import LNCC, Similarity

_ROOM = 20
"""Voxels that the finest level must have along an axis for each voxel of the force's kernel (sigma)."""


@dataclass(frozen=True)
class Deformable(Bending):
    """Linear, then diffeomorphic registration, from coarse to fine, with the inverse.

    Each step is the similarity's exact gradient, smoothed, scaled so that its longest vector is `step` voxels, and
    composed with the field, which is smoothed in turn (the greedy scheme of Joshi et al. 2004,
    doi:10.1016/j.neuroimage.2004.07.068, with an exact gradient).

    Args:
        similarity: what is minimised.
        force_sigma: Gaussian on each step, in voxels of the level; 0 takes 1.7 for volumes and 3 for pictures, which
            have fewer neighbours to agree with.
        field_sigma: Gaussian on the field after each step, in voxels of the level; 0 takes 0.5 for volumes and 1 for
            pictures.
        momentum: share of the last step's direction that the next one keeps: it goes straight on where the gradient
            swings to and fro. Left out, 0.5 for volumes and 0 for pictures.
        step: longest vector of a step, in voxels of the level.
        tolerance: a level of more than 80,000 voxels ends early when ten steps gain less than this share of its gain.
        use_landmarks: whether the pair's landmarks pull.
        lesion: `"given"` leaves out the pair's lesions alone; `"estimated"` weights down, besides, what stays unlike on
            each level from about 40 voxels along an axis on, while the rest has come to agree.
    """

    similarity: Similarity = LNCC()  # noqa: RUF009 - frozen
    force_sigma: NotNegative = 0.0
    field_sigma: NotNegative = 0.0
    momentum: ShareBelowOne | None = None
    step: Positive = 1.0
    tolerance: ShareBelowOne = 0.002
    use_landmarks: bool = False
    lesion: Literal["given", "estimated"] = "given"

    @property
    def compared(self) -> Similarity:
        return self.similarity

    def bend(self, fixed, moving, start, pair, recorder):
        solution = super().bend(fixed, moving, start, pair, recorder)
        if self.use_landmarks and pair.landmarks is not None:
            landmarks, partners = pair.landmarks
            missed = np.linalg.norm(solution.transform(landmarks.world) - partners.world, axis=1)
            within = fixed.grid.inside(landmarks.world)
            # a field cannot meet them more finely than its own voxels stand
            voxel = max(fixed.grid.spacing.mean(), self.grids(fixed)[-1][0].spacing.mean())
            solution.evidence["landmark_missed"] = float(missed[within].max(initial=0.0) / voxel)
            if not within.all():
                told = f"{(~within).sum()} of {len(within)} landmarks lie outside the fixed image and do not steer."
                solution = replace(solution, decisions=(*solution.decisions, told))
        return solution

    def _follow(self, level, field, iterations, finest, start, pair, notify):
        if self.use_landmarks and pair.landmarks is not None:
            landmarks, partners = pair.landmarks
            within = level.grid.inside(landmarks.world)  # the field ends before the others
            targets = start.inverse()(partners.world[within])
            if within.any():
                places = level.grid.index(landmarks.world[within]), level.grid.index(targets)
                level = replace(level, landmarks=places)
        if self.lesion == "estimated" and level.grid.size >= FEWEST**level.grid.dim:
            level = doubted(level, field, self.similarity)
        return descend(level, field, self.similarity, self._rule(level.grid.dim, finest), iterations, notify)

    def _rule(self, dim: int, finest: float) -> Rule:
        """How steps are made where the finest level has `finest` voxels along an axis."""
        usual = (3.0, 1.0, 0.0) if dim == 2 else (1.7, 0.5, 0.5)
        # an image of few voxels has no room for wide kernels: what they get wrong, no finer level would mend
        room = finest / _ROOM
        force_sigma = min(self.force_sigma or usual[0], room)
        field_sigma = min(self.field_sigma or usual[1], room / 2)
        momentum = usual[2] if self.momentum is None else self.momentum
        return Rule(force_sigma, field_sigma, self.step, self.tolerance, momentum)

    def resolved(self, levels):
        found, last = super().resolved(levels), levels[-1][0]
        rule = self._rule(last.dim, last.size ** (1 / last.dim))
        smooth = {name: getattr(rule, name) for name in ("force_sigma", "field_sigma", "momentum")}
        return replace(found, **smooth)
