"""Linear registration: many starts at a coarse level, the best few followed down a pyramid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.recorder import Recorder
from coincide.ops._parallel import spread
from coincide.optimise.linear import SMALL, Problem, generators, optimise_linear
from coincide.optimise.starts import Start, apart, candidates, distinct, in_reach, refine, score, scored
from coincide.options import Range, Whole
from coincide.pair import Pair
from coincide.preprocess.foreground import Moments, bounding_box, foreground_weights, moments
from coincide.preprocess.lesion import healed, without
from coincide.preprocess.normalise import normalise, normalise_both
from coincide.preprocess.shrink import coarse_grid, shrink
from coincide.similarity import LNCC, NMI, Similarity
from coincide.transforms.linear import Affine

_RIVAL = 0.3
"""Starts whose gain at the coarse level falls short of the best one's by more than this share are not followed; where
the best one is right, the next is behind by 0.39 to 0.82 of it between brains, and by 0.24 with PET and CT."""
Box = tuple[np.ndarray, np.ndarray]
Voxels = Annotated[int, Range(1000)]
"""Of a level: with fewer there is next to nothing to compare."""


@dataclass(frozen=True)
class Linear(AbstractMethod):
    """Rigid, similarity or affine registration from many starts, by second-order optimisation.

    Starts (header, fields of view, centres of mass, principal axes with every proper choice of signs, an even spread
    of rotations) are scored on about `coarse` voxels, the best distinct ones refined, and the winner followed to a
    level of about `fine` voxels. With an initial transform in the pair the search is left out.

    Args:
        model: `"translation"`, `"rigid"`, `"similarity"` or `"affine"`.
        similarity: followed on the finer levels.
        search: similarity of the coarse search.
        starts: rotations in the even spread (3-D; half as many in 2-D); 0 starts from the header alone.
        iterations: the most steps a level takes.
        coarse: voxels of the coarsest level (3-D; a quarter as many in 2-D).
        fine: voxels of the finest level.

    Raises:
        OptionError: an unknown model, a number out of its range, or a similarity whose features do not turn with the
            image.
    """

    heeds_lesions: ClassVar[bool] = True
    model: Literal["translation", "rigid", "similarity", "affine"] = "affine"
    similarity: Similarity = NMI()  # noqa: RUF009 - frozen
    search: Similarity = NMI()  # noqa: RUF009 - frozen
    starts: Whole = 200
    iterations: Whole = 30
    coarse: Voxels = 20_000
    fine: Voxels = 600_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for similarity in (self.similarity, self.search):
            if not similarity.turns:
                raise OptionError(
                    f"a linear registration cannot follow {similarity.name}: its features do not turn with the image. "
                    "Use nmi here; a deformation can follow it afterwards."
                )

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.similarity)
        return self.finish(fixed, moving, self.explore(fixed, moving, pair, recorder), pair, recorder)

    def explore(self, fixed: Image, moving: Image, pair: Pair, recorder: Recorder) -> Starts:
        """The best distinct starts for images that are normalised already, refined at the coarsest level."""
        with recorder.timed("start"):
            box = bounding_box(foreground_weights(fixed))
            spacing, grid = self.levels(fixed, box)[0]
            coarse = shrink(fixed, spacing, grid), shrink(moving, spacing)
            ours, theirs = (moments(image, foreground_weights(image)) for image in coarse)
            frame = Starts.none(ours, theirs, box)
            return self._starts(coarse, (ours, theirs), frame, pair, recorder)

    def follow(self, fixed: Image, moving: Image, starts: Starts, recorder: Recorder) -> np.ndarray:
        """The homogeneous matrix (fixed-world mm → moving-world mm) that the best of `starts` leads to."""
        with recorder.timed("linear"):
            return self._descend(fixed, moving, self.levels(fixed, starts.box), starts, recorder)

    def finish(self, fixed: Image, moving: Image, starts: Starts, pair: Pair, recorder: Recorder) -> Solution:  # noqa: ARG002
        """The solution that `starts` lead to."""
        if not starts.found:
            return recorder.solution(Affine(np.eye(fixed.dim + 1)), None, Status.NO_OVERLAP)
        transform = Affine(self.follow(fixed, moving, starts, recorder), fixed.grid.centre)
        return recorder.solution(transform, transform.inverse(), Status.SUCCEEDED)

    def levels(self, fixed: Image, box: Box | None = None) -> list[tuple[float, Grid]]:
        """Voxel size (mm) and grid of each level, coarse to fine, each at most twice as fine as the one before.

        The grids cover the box around the anatomy, and a tenth of its size more on every side.

        Args:
            fixed: the fixed image, normalised.
            box: around its anatomy, where it is known already.
        """
        own = fixed.grid.spacing
        start, stop = box or bounding_box(foreground_weights(fixed))
        volume = float(np.prod((stop - start) * own))
        fewer = 4 if fixed.dim == 2 else 1
        first = (volume / self.coarse * fewer) ** (1 / fixed.dim)
        last = max((volume / self.fine * fewer) ** (1 / fixed.dim), float(own.min()))
        first = max(first, last)
        number = 1 + max(0, int(np.ceil(np.log2(first / last) - 0.1)))
        margin = np.ceil(np.maximum(0.1 * (stop - start), 2 * first / own)).astype(int)
        around = fixed.grid.cropped(
            np.maximum(start - margin, 0), np.minimum(stop + margin, fixed.grid.shape)
        )
        return [(float(s), coarse_grid(around, float(s))) for s in np.geomspace(first, last, number)]

    def _starts(self, coarse, masses, frame: Starts, pair: Pair, recorder: Recorder) -> Starts:
        fixed, moving = coarse
        problem, worst = Problem.of(self.search, fixed, moving), self.search.worst
        recorder.say("start", "looking for a start")
        header = pair.initial.matrix if isinstance(pair.initial, Affine) else np.eye(fixed.dim + 1)
        found = self._candidates(fixed, moving, masses, header, isinstance(pair.initial, Affine))
        found = scored(problem, found, worst)
        if all(s.score >= worst for s in found):
            return frame
        best = distinct(found, frame.probes, 0.2 * frame.radius, 16)
        refined = refine(problem, best, self._early, frame.centre, frame.radius, 20, worst)
        kept = distinct(refined, frame.probes, 0.15 * frame.radius, 5)
        runner_up = kept[1].score if len(kept) > 1 else worst
        margin = (runner_up - kept[0].score) / max(abs(worst - kept[0].score), 1e-9)
        recorder.evidence |= {"start_score": kept[0].score, "start_margin": margin}
        recorder.decide(_told(found, kept[0], apart(kept[0].matrix, header, frame.probes), margin))
        return replace(frame, found=tuple(kept))

    def _candidates(
        self, fixed: Image, moving: Image, masses, header: np.ndarray, given: bool
    ) -> list[Start]:
        if given or self.starts == 0:
            return [Start(header, "initial transform" if given else "header")]
        ratio = masses[1].size / masses[0].size
        scales = (1.0,) if self.model in ("rigid", "translation") or 0.95 < ratio < 1.05 else (1.0, ratio)
        number = max(1, self.starts // 2) if fixed.dim == 2 else self.starts
        return candidates(
            masses[0], masses[1], (fixed.grid.centre, moving.grid.centre), number, scales, header
        )

    @property
    def _early(self) -> str:
        """The model of the coarse levels: an affine one could shear there to make up for a bad start."""
        return "similarity" if self.model == "affine" else self.model

    def _descend(self, fixed, moving, levels, starts: Starts, recorder: Recorder) -> np.ndarray:
        worst, found = self.similarity.worst, in_reach(list(starts.found), self.search.worst, _RIVAL)
        basis = generators(self.model, starts.centre, starts.radius)
        for number, (spacing, grid) in enumerate(levels, start=1):
            problem = Problem.of(self.similarity, shrink(fixed, spacing, grid), shrink(moving, spacing))
            if number == 1 or len(found) > 1:
                found = refine(
                    problem, found, self._early, starts.centre, starts.radius, self.iterations, worst
                )
                found = found[: max(1, len(found) // 2)] if number < 3 else found[:1]

            def notify(iteration: int, value: float, number: int = number) -> None:
                recorder.step("linear", number, len(levels), iteration, self.iterations, value)

            leader = found[0]
            tolerance = (0.003 if grid.size < SMALL else 0.01) * spacing

            def followed(
                start: Start, problem: Problem = problem, leader=leader, notify=notify, tolerance=tolerance
            ):
                told = (notify,) if start is leader else ()  # several at a time would tell a muddle
                fit = optimise_linear(problem.apart(), start.matrix, basis, self.iterations, tolerance, *told)
                return Start(fit.matrix, start.origin, score(problem, fit.matrix, worst))

            found = sorted(spread(followed, found), key=lambda s: s.score)
        recorder.evidence |= {"linear_value": found[0].score, "overlap": problem.value(found[0].matrix)[1]}
        return found[0].matrix


def linear_similarity(similarity: Similarity) -> Similarity:
    """What a linear stage compares by before a deformation that follows `similarity`.

    That similarity, or NMI where its features do not turn; local windows twice as wide, as a few parameters are found
    more surely so.
    """
    if isinstance(similarity, LNCC):
        return replace(similarity, radius=2 * similarity.radius)
    return similarity if similarity.turns else NMI()


def normalised(pair: Pair, similarity: Similarity | None) -> tuple[Image, Image]:
    """Both images as `similarity` is to see them, in the range 0 to 1; lesions that are known are masked out."""
    fixed, moving = without(pair.fixed, pair.fixed_lesion), without(pair.moving, pair.moving_lesion)
    if similarity is not None and similarity.one_scale:
        fixed, moving = normalise_both(fixed, moving)
    else:
        fixed, moving = normalise(fixed), normalise(moving)
    return healed(fixed, pair.fixed_lesion), healed(moving, pair.moving_lesion)


@dataclass(frozen=True, eq=False)
class Starts:
    """Starts worth following, best first, and the frame they are seen in.

    Args:
        found: best first; none where nothing overlaps.
        centre: moving-world mm about which a linear registration turns.
        radius: size of the anatomy, mm.
        probes: points one radius along each principal axis, both ways, `(2 dim, dim)` fixed-world mm.
        box: around the fixed anatomy, first and last-plus-one voxel along each axis.
    """

    found: tuple[Start, ...]
    centre: np.ndarray
    radius: float
    probes: np.ndarray
    box: Box

    @classmethod
    def none(cls, fixed: Moments, moving: Moments, box: Box) -> Starts:
        """The frame alone, for two anatomies of these moments."""
        arms = fixed.axes.T * fixed.radii[:, None]
        probes = fixed.centre + np.concatenate([arms, -arms])
        return cls((), moving.centre, float(np.linalg.norm(fixed.radii)), probes, box)


def _told(found: list[Start], winner: Start, moved: float, margin: float) -> str:
    if len(found) == 1:
        return f"The start is the {winner.origin}; the coarse level moved it by {moved:.0f} mm."
    return (
        f"Of {len(found)} starts the one from the {winner.origin} won, {moved:.0f} mm from where the headers put it, "
        f"by {100 * margin:.0f} % of its gain over unrelated images."
    )
