"""The linear transform on which the most of many doubtful pairs of points agree.

How far apart two points may lie and still agree is not known beforehand: half a pixel in two exposures of one person,
a centimetre in two people. So the tolerance is chosen with the transform, as the one at which the agreement is least
likely to be chance (a contrario; Moisan and Stival 2004, doi:10.1023/B:VISI.0000013094.38752.08). That likelihood also
says when there is no agreement at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from scipy.special import gammaln

from coincide.errors import OptionError, PointsError
from coincide.optimise.fit import Model, fewest, fit_linear
from coincide.optimise.guesses import guesses, plausible
from coincide.options import Checked, Count, NotNegative, Range

Kind = Literal["contrario", "magsac", "ransac"]
_LEVELS = 16
"""Tolerances that are tried, each smaller by the root of two."""
_BATCH = 500
"""Guesses that are weighed at once."""
_KEPT = 20
"""Guesses that are polished."""
_MISSED = 1e-6
"""How likely all samples may hold a mistake when no more are drawn."""
_ROUNDS = 3
"""Refits at each tolerance."""
_LAST_ROUNDS = 5
_WIDER = 1.5
"""How far a refit reaches, in tolerances: a little further, so that an agreement can grow."""


@dataclass(frozen=True)
class Consensus(Checked):
    """How the pairs that agree are told from those that do not.

    Args:
        kind: `"contrario"` chooses the tolerance with the transform; `"magsac"` and `"ransac"` are OpenCV's for
            affine transforms in 2-D, at the given tolerance.
        tolerance: the largest distance (mm) between partners that agree; 0 takes 4 % of the images' size, or 3 voxels
            for `"magsac"` and `"ransac"`.
        trials: random samples of pairs from which a transform is guessed.
        stretch: the most a transform may stretch or shrink any direction, as a factor.

    Raises:
        OptionError: an unknown kind, or a number out of its range.
    """

    kind: Literal["contrario", "magsac", "ransac"] = "contrario"
    tolerance: NotNegative = 0.0
    trials: Count = 10_000
    stretch: Annotated[float, Range(1, above=True)] = 3.0


@dataclass(frozen=True, eq=False)
class Agreement:
    """What pairs of points agree on.

    Args:
        matrix: homogeneous, source mm → target mm.
        inlier: `(number,)` which pairs agree.
        tolerance: mm, within which.
        chance: log10 of the number of agreements as good as this one to expect among pairs made at random.
    """

    matrix: np.ndarray
    inlier: np.ndarray
    tolerance: float
    chance: float


def agree(
    source, target, model: Model, largest: float, extent, seed: int, options: Consensus
) -> Agreement | None:
    """The transform of `model` on which pairs of points agree, or None where no sample gives any.

    Args:
        source: `(number, dim)` points, mm, the surest pairs first.
        target: `(number, dim)` their supposed partners, mm.
        model: of the transform.
        largest: tolerance, mm, that is not to be exceeded.
        extent: `(dim,)` size of the region, mm, that a wrong partner might lie in.
        seed: of the samples.
        options: the rules.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if len(source) < fewest(model, source.shape[1]) + 2:
        return None
    judge = _Judge(source, target, largest, float(np.prod(extent)), fewest(model, source.shape[1]))
    rng = np.random.default_rng(seed)
    found: list[tuple[float, float, np.ndarray]] = []
    # two people are more alike up to a similarity than any four points of theirs are up to an affine map
    kinds: list[Model] = ["similarity", "affine"] if model == "affine" else [model]
    for kind in kinds:
        found += _explore(judge, kind, max(1, options.trials // len(kinds)), options.stretch, rng)
    polished = [
        judge.polish(matrix, model, options.stretch) for _, _, matrix in sorted(found, key=lambda f: f[0])
    ]
    return min((p for p in polished if p is not None), key=lambda p: p.chance, default=None)


def _explore(
    judge: _Judge, kind: Model, trials: int, stretch: float, rng
) -> list[tuple[float, float, np.ndarray]]:
    """The best guesses, each with its chance and the share of the pairs that agree with it.

    No more are made than it takes for a sample without a mistake to come up.
    """
    n, size = len(judge.source), fewest(kind, judge.source.shape[1])
    found: list[tuple[float, float, np.ndarray]] = []
    for done in range(0, trials, _BATCH):
        among = np.linspace(done, min(done + _BATCH, trials), _BATCH)[: trials - done] / trials
        pool = 4 * size + among**0.5 * max(n - 4 * size, 0)
        matrices = guesses(judge.source, judge.target, kind, np.minimum(pool, n), stretch, rng)
        chances, shares = judge.chances(matrices)
        best = np.argsort(chances, kind="stable")[:_KEPT]
        found += [(float(chances[i]), float(shares[i]), matrices[i]) for i in best]
        found = sorted(found, key=lambda f: f[0])[:_KEPT]
        enough = (
            np.log(_MISSED) / np.log1p(-min(found[0][1] ** size, 0.999))
            if found and found[0][1] > 0
            else np.inf
        )
        if found and found[0][0] < 0 and done + _BATCH > enough:
            break
    return found


def agree_opencv(
    source, target, model: Model, tolerance: float, extent, options: Consensus
) -> Agreement | None:
    """As `agree`, by OpenCV's MAGSAC++ or RANSAC for affine transforms in 2-D, refitted to `model`.

    Raises:
        OptionError: the points are in 3-D.
    """
    from coincide.features.packages import opencv

    cv2 = opencv()
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape[1] != 2:
        raise OptionError(f"consensus {options.kind!r} is for 2-D images. Take contrario.")
    if len(source) < fewest("affine", 2) + 2:
        return None
    method = cv2.USAC_MAGSAC if options.kind == "magsac" else cv2.RANSAC
    matrix, inlier = cv2.estimateAffine2D(
        source,
        target,
        method=method,
        ransacReprojThreshold=tolerance,
        maxIters=options.trials,
        confidence=0.9999,
    )
    if matrix is None:
        return None
    judge = _Judge(source, target, tolerance, float(np.prod(extent)), fewest(model, 2))
    try:
        start = fit_linear(source, target, model, inlier[:, 0].astype(float))
    except PointsError:
        return None
    return judge.polish(start, model, options.stretch)


def settle(
    source, target, first: Agreement, model: Model, reach: float, options: Consensus
) -> Agreement | None:
    """What pairs of points that were looked for near where `first` expects them agree on, or None.

    Args:
        source: `(number, dim)` points, mm.
        target: their partners, mm, none further than `reach` from where `first` puts the points.
        first: the agreement that told where to look.
        model: of the transform.
        reach: mm.
        options: the rules.
    """
    if len(source) < fewest(model, np.shape(source)[1]) + 2:
        return None
    dim = np.shape(source)[1]
    ball = {2: np.pi, 3: 4 / 3 * np.pi}[dim] * reach**dim
    judge = _Judge(source, target, min(reach, first.tolerance), ball, fewest(model, dim))
    return judge.polish(first.matrix, model, options.stretch, reach)


def refit(source, target, found: Agreement, model: Model) -> Agreement:
    """`found` with the transform that fits all of its pairs best, and those that then agree within its tolerance.

    The least likely agreement may be that of a guess by a few pairs; the fit to all is the more exact. Pairs count the
    less, the further apart they lie.

    Args:
        source: `(number, dim)` points, mm, that the agreement was found among.
        target: their partners, mm.
        found: the agreement.
        model: of the transform.
    """
    source, target, matrix = np.asarray(source, np.float64), np.asarray(target, np.float64), found.matrix
    try:
        for _ in range(_LAST_ROUNDS):
            weights = _weights(_distances(matrix, source, target), found.tolerance)
            matrix = fit_linear(source, target, model, weights)
    except PointsError:
        return found
    inlier = _distances(matrix, source, target) < found.tolerance
    return replace(found, matrix=matrix, inlier=inlier)


def _distances(matrix: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    mapped = source @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return np.linalg.norm(mapped - target, axis=1)


def _weights(distances: np.ndarray, tolerance: float) -> np.ndarray:
    return np.maximum(1 - (distances / (_WIDER * tolerance)) ** 2, 0) ** 2


class _Judge:
    """Weighs transforms by how many pairs agree with them, and how closely.

    Args:
        source: `(number, dim)` points, mm.
        target: their partners.
        largest: tolerance, mm.
        volume: of the region a wrong partner might lie in, mm**dim.
        sample: pairs that settle the transform.
    """

    def __init__(self, source: np.ndarray, target: np.ndarray, largest: float, volume: float, sample: int):
        self.source, self.target = source, target
        dim, n = source.shape[1], len(source)
        self.tolerances = largest * 0.5 ** (np.arange(_LEVELS) / 2)
        ball = {2: np.pi, 3: 4 / 3 * np.pi}[dim] * self.tolerances**dim
        k = np.arange(n + 1)
        free = np.maximum(k - sample, 0)
        choices = (
            _log_choose(n, k) + _log_choose(k, np.minimum(sample, k)) + np.log(max(n - sample, 1) * _LEVELS)
        )
        share = np.log(np.minimum(ball / volume, 1))
        self.table = (choices + free * share[:, None]) / np.log(10)
        self.table[:, : sample + 1] = np.inf

    def residuals(self, matrices: np.ndarray) -> np.ndarray:
        """Distances (mm) of all partners under each of `matrices` `(m, dim+1, dim+1)`, `(m, number)`."""
        mapped = np.einsum("mij,nj->mni", matrices[:, :-1, :-1], self.source) + matrices[:, None, :-1, -1]
        return np.sqrt(((mapped - self.target) ** 2).sum(-1))

    def chances(self, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The chance of each of `matrices` at its best tolerance, and the share of the pairs that agree there."""
        if not len(matrices):
            return np.zeros(0), np.zeros(0)
        residuals = self.residuals(matrices)
        chances = self._each(residuals)
        level = np.argmin(chances, axis=0)
        agreeing = (residuals < self.tolerances[level][:, None]).mean(1)
        return np.take_along_axis(chances, level[None], 0)[0], agreeing

    def _each(self, residuals: np.ndarray) -> np.ndarray:
        return np.stack([self.table[i, (residuals < t).sum(1)] for i, t in enumerate(self.tolerances)])

    def polish(
        self, matrix: np.ndarray, model: Model, stretch: float, widest: float = 0.0
    ) -> Agreement | None:
        """The best agreement met on the way from a wide tolerance to a narrow one, refitting at each.

        Args:
            matrix: where to begin.
            model: of the transform.
            stretch: the most it may stretch, as a factor.
            widest: mm; twice the tolerance that suits `matrix` best where left out.
        """
        best = self._agreement(matrix)
        widest = widest or 2 * best.tolerance
        for tolerance in self.tolerances[self.tolerances <= 1.01 * widest]:
            for _ in range(_ROUNDS):
                weights = _weights(self.residuals(matrix[None])[0], tolerance)
                try:
                    matrix = fit_linear(self.source, self.target, model, weights)
                except PointsError:
                    return self._allowed(best, model, stretch)
            refitted = self._agreement(matrix)
            if refitted.chance < best.chance and plausible(matrix[None], stretch)[0]:
                best = refitted
        return self._allowed(best, model, stretch)

    def _allowed(self, found: Agreement, model: Model, stretch: float) -> Agreement | None:
        fits = plausible(found.matrix[None], stretch)[0] and _is(found.matrix, model)
        return found if fits and np.isfinite(found.chance) else None

    def _agreement(self, matrix: np.ndarray) -> Agreement:
        residuals = self.residuals(matrix[None])
        chances = self._each(residuals)[:, 0]
        level = int(np.argmin(chances))
        tolerance = float(self.tolerances[level])
        return Agreement(matrix, residuals[0] < tolerance, tolerance, float(chances[level]))


def _is(matrix: np.ndarray, model: Model) -> bool:
    """Whether a matrix is no more than `model` allows."""
    lengths = np.linalg.svd(matrix[:-1, :-1], compute_uv=False)
    if model == "affine":
        return True
    return bool(np.ptp(lengths) < 1e-6) and (model == "similarity" or abs(lengths[0] - 1) < 1e-6)


def _log_choose(n, k) -> np.ndarray:
    return gammaln(np.asarray(n) + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(np.asarray(n - k) + 1.0)
