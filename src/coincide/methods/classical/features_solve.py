"""From keypoints to a transform: what all feature methods do alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from coincide.errors import OptionError
from coincide.features.keypoints import Keypoints
from coincide.features.matches import Matches
from coincide.features.matching import Matching, match, match_near
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.features_bend import bend
from coincide.methods.classical.features_options import KeypointOptions
from coincide.methods.classical.features_view import Seen, see
from coincide.methods.classical.field import field_grid, fielded
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.optimise.consensus import Agreement, Consensus, agree, agree_opencv, refit, settle
from coincide.optimise.fit import Model
from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine

_TOLERANCE = 0.04
"""Largest tolerance, as a share of the fixed image's size: two people differ so much after a similarity."""
_SURE = -15.0
"""log10 of how many agreements by chance are taken for none; pictures of different things reach −7, as what looks alike
is not spread evenly."""
_REACH = 1.5
"""How far, in tolerances of the agreement so far, the next search looks for partners."""
_SEARCHES = 5
_FIELD = {2: 300, 3: 100}
"""Voxels across the field that stands in for a spline; it bends over no shorter lengths than its points lie apart."""
_REACHES = (1.0, 0.7, 0.5)
"""How far, in the largest tolerance, each search for a spline looks for partners round the one before."""
_MATCHING, _SPLINE = 1.0, 4.0
"""Processor seconds at most."""
_LEAST_JACOBIAN = 0.1
"""Smallest Jacobian determinant that a spline may have, relative to its linear part."""
_NARROWER = 0.02
"""By how much more (log10, for each pair) a closer agreement must defy chance, lest a few pairs of many win by it."""


Detect = Callable[[Seen], Keypoints]


def keypoint_parts(looking: float, model: str) -> tuple[Part, ...]:
    """The parts of a run by keypoints that are looked for in so many processor seconds."""
    spline = (Part("spline", 0, _SPLINE),) if model == "thin_plate" else ()
    return Part("keypoints", 0, looking), Part("matching", 0, _MATCHING), *spline


def solve_by_keypoints(
    pair: Pair,
    context: Context,
    detect: Detect,
    options: KeypointOptions,
    spacings: tuple[float, float],
) -> Solution:
    """Detect, match, agree, search again where partners are now expected, and fit in mm.

    Args:
        pair: what to register.
        context: of the run.
        detect: finds the keypoints of one image.
        options: of the method.
        spacings: voxel size, mm, that the fixed and the moving image are seen at.

    Raises:
        OptionError: the initial transform is a deformation.
    """
    model = options.model
    if pair.initial is not None and not isinstance(pair.initial, Affine):
        raise OptionError(
            f"a {model} registration cannot start from a deformable initial transform. Give a linear one, or none."
        )
    start = Affine(np.eye(pair.dim + 1)) if pair.initial is None else pair.initial
    recorder = Recorder(context.progress)
    with recorder.timed("keypoints"):
        recorder.say("keypoints", "looking for keypoints")
        fixed = see(pair.fixed, spacings[0], np.eye(pair.dim + 1))
        moving = see(pair.moving, spacings[1], start.matrix)
        found = detect(fixed), detect(moving)
    with recorder.timed("matching"):
        recorder.say("matching", f"matching {len(found[0])} with {len(found[1])} keypoints")
        linear: Model = "affine" if model == "thin_plate" else model
        search = Search(fixed, moving, found, linear, options.matching, options.consensus, context.seed)
        agreement, pairs = search.run()
    recorder.evidence |= {"keypoints_fixed": len(found[0]), "keypoints_moving": len(found[1])}
    if agreement is None or agreement.chance > _SURE:
        return _refused(recorder, search, agreement, pairs, start)
    if model == "thin_plate":
        return _bent(recorder, search, agreement, start, pair)
    return _straight(recorder, search, agreement, pairs, start, pair)


@dataclass(frozen=True, eq=False)
class Search:
    """One search for partners: the keypoints of both images, and the rules.

    Args:
        fixed: the fixed image.
        moving: the moving image, in the start's world.
        found: the keypoints of both.
        model: of the transform.
        matching: how keypoints are matched.
        consensus: how the pairs that agree are found.
        seed: of the random samples.
    """

    fixed: Seen
    moving: Seen
    found: tuple[Keypoints, Keypoints]
    model: Model
    matching: Matching
    consensus: Consensus
    seed: int

    def run(self) -> tuple[Agreement | None, np.ndarray]:
        """What the keypoints agree on, and the pairs `(number, 2)` it was found among."""
        pairs, _ = match(*self.found, self.matching)
        agreement = self._agree(pairs)
        if agreement is None or agreement.chance > _SURE:
            return agreement, pairs
        for _ in range(_SEARCHES):
            near = self.near(Affine(agreement.matrix), _REACH * max(agreement.tolerance, self._pixel))
            again = settle(
                *self.points(near), agreement, self.model, _REACH * agreement.tolerance, self.consensus
            )
            if again is None or again.chance > _SURE - _NARROWER * len(near):
                break
            settled = again.tolerance > 0.9 * agreement.tolerance
            agreement, pairs = replace(again, chance=agreement.chance), near
            if settled:
                break
        return agreement, pairs

    def _agree(self, pairs: np.ndarray) -> Agreement | None:
        source, target = self.points(pairs)
        size, rules = (np.array(self.moving.grid.shape) - 1) * self.moving.grid.spacing, self.consensus
        if rules.kind == "contrario":
            return agree(source, target, self.model, self.largest, size, self.seed, rules)
        return agree_opencv(source, target, self.model, rules.tolerance or 3 * self._pixel, size, rules)

    @property
    def _pixel(self) -> float:
        return float(max(self.fixed.grid.spacing.max(), self.moving.grid.spacing.max()))

    @property
    def largest(self) -> float:
        """The largest tolerance, mm."""
        size = (np.array(self.fixed.grid.shape) - 1) * self.fixed.grid.spacing
        return self.consensus.tolerance or _TOLERANCE * float(np.prod(size) ** (1 / len(size)))

    def near(self, first: Transform, reach: float) -> np.ndarray:
        """Pairs that look alike and lie within `reach` (mm) of where `first` expects them."""
        grid = self.moving.grid
        expected = grid.index(first(self.fixed.grid.world(self.found[0].index)))
        return match_near(*self.found, expected, reach / grid.spacing.max(), self.matching.ratio)[0]

    def points(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs' places in the fixed and in the start's world, mm."""
        source, target = (self.found[i].index[pairs[:, i]] for i in (0, 1))
        return self.fixed.grid.world(source), self.moving.grid.world(target)

    def matches(self, pairs: np.ndarray, inlier: np.ndarray, start: Affine) -> Matches:
        """The pairs in the two images' own worlds."""
        source, target = self.points(pairs)
        return Matches(source, start(target), inlier)


def _refused(
    recorder: Recorder, search: Search, agreement: Agreement | None, pairs, start: Affine
) -> Solution:
    """The start as it was, with the status that says so."""
    inlier = np.zeros(len(pairs), bool) if agreement is None else agreement.inlier
    _count(recorder, inlier)
    told = (
        f"{inlier.sum()} of {len(pairs)} matched keypoints agree, which is no more than chance brings about."
    )
    recorder.decide(told)
    solution = recorder.solution(start, None, Status.NO_CORRESPONDENCE)
    return replace(solution, matches=search.matches(pairs, inlier, start))


def _straight(
    recorder: Recorder, search: Search, agreement: Agreement, pairs, start: Affine, pair: Pair
) -> Solution:
    """The linear transform that was agreed on."""
    source, target = search.points(pairs)
    agreement = refit(source, target, agreement, search.model)
    _count(recorder, agreement.inlier)
    _weigh(recorder, agreement, (Affine(agreement.matrix)(source) - target)[agreement.inlier])
    recorder.decide(
        f"{agreement.inlier.sum()} of {len(pairs)} matched keypoints agree within {agreement.tolerance:.2g} mm; chance "
        f"brings this about in fewer than one of 10^{min(-agreement.chance, 30):.0f} pairs of images."
    )
    transform = Affine(start.matrix @ agreement.matrix, pair.fixed.grid.centre)
    solution = recorder.solution(transform, transform.inverse(), Status.SUCCEEDED)
    return replace(solution, matches=search.matches(pairs, agreement.inlier, start))


def _bent(recorder: Recorder, search: Search, agreement: Agreement, start: Affine, pair: Pair) -> Solution:
    """The thin-plate spline near the pairs that their neighbours bear out."""
    with recorder.timed("spline"):
        recorder.say("spline", "fitting a spline")
        size = np.ptp(pair.fixed.grid.corners, axis=0).max()
        grid = field_grid(pair.fixed.grid, max(float(pair.fixed.grid.spacing.max()), size / _FIELD[pair.dim]))
        first: Transform = Affine(agreement.matrix)
        for share in _REACHES:
            reach = share * search.largest
            pairs = search.near(first, reach)
            source, target = search.points(pairs)
            found = bend(source, target, first, reach, grid)
            if found is None:
                return _refused(recorder, search, None, pairs, start)
            first, inlier, stiffness = found
        done = fielded(first, found[0].linear, grid, _LEAST_JACOBIAN)
    _count(recorder, inlier)
    _weigh(recorder, agreement, (first(source) - target)[inlier])
    recorder.evidence["stiffness"] = stiffness
    recorder.decide(
        f"{inlier.sum()} of {len(pairs)} keypoints, matched near where an affine transform puts them, are borne out by "
        f"their neighbours; a stiffness of {stiffness:g} foretells left-out ones best."
    )
    if done.mended:
        recorder.decide(f"The spline folded at {done.mended:,} voxels of its field and was smoothed there.")
    solution = recorder.solution(start @ done.transform, done.inverse @ start.inverse(), Status.SUCCEEDED)
    return replace(solution, matches=search.matches(pairs, inlier, start))


def _count(recorder: Recorder, inlier: np.ndarray) -> None:
    number = int(inlier.sum())
    share = number / max(len(inlier), 1)
    recorder.evidence |= {"matches": len(inlier), "inliers": number, "inlier_ratio": share}


def _weigh(recorder: Recorder, agreement: Agreement, residual: np.ndarray) -> None:
    recorder.evidence |= {
        "residual_mm": float(np.sqrt((residual**2).sum(1).mean())),
        "tolerance_mm": agreement.tolerance,
        "chance_log10": agreement.chance,
    }
