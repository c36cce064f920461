"""Linear registration: many starts at a coarse level, the best few followed down a pyramid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from coincide.errors import OptionError
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status, Step
from coincide.optimise.linear import Problem, generators, optimise_linear
from coincide.optimise.recorder import Recorder
from coincide.optimise.starts import Start, apart, candidates, distinct, refine, score
from coincide.pair import Pair
from coincide.preprocess.foreground import Moments, bounding_box, foreground_weights, moments
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import shrink
from coincide.similarity import NMI, Similarity
from coincide.transforms.linear import Affine

WORST = {"nmi": -1.0, "mi": 0.0, "ncc": 1.0, "mse": 0.3, "lncc": 0.0, "mind": 0.3}
"""What two unrelated images score by each similarity: what voxels outside the moving image count as."""


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
        starts: rotations in the even spread (3-D; a quarter as many in 2-D); 0 starts from the header alone.
        iterations: the most steps a level takes.
        coarse: voxels of the coarsest level (3-D; a quarter as many in 2-D).
        fine: voxels of the finest level.

    Raises:
        OptionError: an unknown model.
    """

    model: Literal["translation", "rigid", "similarity", "affine"] = "affine"
    similarity: Similarity = NMI()  # noqa: RUF009 - frozen
    search: Similarity = NMI()  # noqa: RUF009 - frozen
    starts: int = 200
    iterations: int = 30
    coarse: int = 20_000
    fine: int = 600_000

    def __post_init__(self) -> None:
        if self.model not in ("translation", "rigid", "similarity", "affine"):
            raise OptionError(f"unknown model {self.model!r}. Known: translation, rigid, similarity, affine.")

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        fixed, moving = normalise(pair.fixed), normalise(pair.moving)
        matrix, status = self.find(fixed, moving, pair, recorder)
        transform = Affine(matrix, fixed.grid.centre)
        return Solution(
            transform,
            transform.inverse(),
            status,
            tuple(Step(*s) for s in recorder.steps),
            tuple(recorder.decisions),
            recorder.evidence,
            recorder.seconds,
        )

    def find(self, fixed: Image, moving: Image, pair: Pair, recorder: Recorder) -> tuple[np.ndarray, Status]:
        """The homogeneous matrix (fixed-world mm → moving-world mm) for images that are normalised already."""
        with recorder.timed("start"):
            spacings = self._spacings(fixed)
            coarse = shrink(fixed, spacings[0]), shrink(moving, spacings[0])
            masses = [moments(image, foreground_weights(image)) for image in coarse]
            frame = Frame(masses[1].centre, float(np.linalg.norm(masses[0].radii)), _probes(masses[0]))
            starts = self._starts(coarse, masses, frame, pair, recorder)
        if not starts:
            return np.eye(fixed.dim + 1), Status.NO_OVERLAP
        with recorder.timed("linear"):
            return self._descend(fixed, moving, spacings, starts, frame, recorder), Status.SUCCEEDED

    def _spacings(self, fixed: Image) -> list[float]:
        """Voxel size (mm) of each level, coarse to fine, each at most twice as fine as the one before."""
        start, stop = bounding_box(foreground_weights(fixed))
        volume = float(np.prod((stop - start) * fixed.grid.spacing))
        fewer = 4 if fixed.dim == 2 else 1
        first = (volume / self.coarse * fewer) ** (1 / fixed.dim)
        last = max((volume / self.fine * fewer) ** (1 / fixed.dim), float(fixed.grid.spacing.min()))
        first = max(first, last)
        number = 1 + max(0, int(np.ceil(np.log2(first / last) - 0.1)))
        return [float(s) for s in np.geomspace(first, last, number)]

    def _starts(self, coarse, masses, frame: Frame, pair: Pair, recorder: Recorder) -> list[Start]:
        fixed, moving = coarse
        problem, worst = Problem.of(self.search, fixed, moving), WORST[self.search.name]
        given = isinstance(pair.initial, Affine)
        header = pair.initial.matrix if isinstance(pair.initial, Affine) else np.eye(fixed.dim + 1)
        recorder.say("start", "looking for a start")
        if given or self.starts == 0:
            recorder.decide("The start is the " + ("initial transform that was given." if given else "headers' own."))
            found = [Start(header, "header")]
        else:
            ratio = masses[1].size / masses[0].size
            scales = (1.0,) if self.model in ("rigid", "translation") or 0.95 < ratio < 1.05 else (1.0, ratio)
            number = max(1, self.starts // 4) if fixed.dim == 2 else self.starts
            centres = fixed.grid.centre, moving.grid.centre
            found = candidates(masses[0], masses[1], centres, number, scales, header)
        found = [Start(s.matrix, s.origin, score(problem, s.matrix, worst)) for s in found]
        if all(s.score >= worst for s in found):
            return []
        best = distinct(found, frame.probes, 0.2 * frame.radius, 16)
        model = {"affine": "similarity"}.get(self.model, self.model)
        refined = refine(problem, best, model, frame.centre, frame.radius, 20, worst)
        kept = distinct(refined, frame.probes, 0.15 * frame.radius, 5)
        runner_up = kept[1].score if len(kept) > 1 else worst
        recorder.evidence["start_score"] = kept[0].score
        recorder.evidence["start_margin"] = (runner_up - kept[0].score) / max(abs(worst - kept[0].score), 1e-9)
        moved = apart(kept[0].matrix, header, frame.probes)
        recorder.decide(
            f"Of {len(found)} starts the one from the {kept[0].origin} won, {moved:.0f} mm from where the headers put "
            f"it, by {100 * recorder.evidence['start_margin']:.0f} % of its gain over unrelated images."
            if len(found) > 1
            else f"The coarse level moved the start by {moved:.0f} mm."
        )
        return kept

    def _descend(self, fixed, moving, spacings, starts: list[Start], frame: Frame, recorder: Recorder) -> np.ndarray:
        worst = WORST[self.similarity.name]
        early = {"affine": "similarity"}.get(self.model, self.model)
        levels = len(spacings)
        for number, spacing in enumerate(spacings):
            problem = Problem.of(self.similarity, shrink(fixed, spacing), shrink(moving, spacing))
            if number == 0 or len(starts) > 1:
                refined = refine(problem, starts, early, frame.centre, frame.radius, self.iterations, worst)
                starts = refined[: max(1, len(starts) // 2)]
            basis = generators(self.model, frame.centre, frame.radius)
            followed = []
            for start in starts:
                fit = optimise_linear(
                    problem,
                    start.matrix,
                    basis,
                    self.iterations,
                    0.01 * spacing,
                    lambda i, v, n=number: recorder.step("linear", n + 1, levels, i, self.iterations, v),
                )
                followed.append(Start(fit.matrix, start.origin, score(problem, fit.matrix, worst)))
            starts = sorted(followed, key=lambda s: s.score)
            if number > 0:
                starts = starts[:1]
        recorder.evidence["linear_value"] = starts[0].score
        recorder.evidence["overlap"] = problem.value(starts[0].matrix)[1]
        return starts[0].matrix


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a linear registration turns about (moving-world mm), how large the anatomy is (mm), and where to look."""

    centre: np.ndarray
    radius: float
    probes: np.ndarray


def _probes(mass: Moments) -> np.ndarray:
    """Points one radius along each principal axis, both ways, `(2 dim, dim)` fixed-world mm."""
    arms = mass.axes.T * mass.radii[:, None]
    return mass.centre + np.concatenate([arms, -arms])
