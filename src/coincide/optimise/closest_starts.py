"""Where two surfaces may be laid on each other from, so that the nearest points are the right ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.errors import PointsError
from coincide.features.surface import Surface
from coincide.optimise.closest import Closest, Metric, approach
from coincide.optimise.fit import Model
from coincide.optimise.starts import Start, apart, candidates, distinct
from coincide.preprocess.foreground import Moments

_POINTS = (250, 1000)
"""Points of either surface that look for partners, in the search and among its best."""
_FOLLOWED, _KEPT, _STEPS = 24, 5, 30
"""Starts that are followed, and that are followed further, for how many steps each."""
_DISTINCT = 0.2
"""Share of the anatomy's size that starts are apart, or else they are the same."""
_TIE = 0.02
"""Share of its score, and of the distance between points, by which the best must win over where the headers lead."""


@dataclass(frozen=True, eq=False)
class Search:
    """What a search for a start came to.

    Args:
        matrix: homogeneous, fixed-world mm → moving-world mm.
        origin: what kind of start led there.
        distance: mm that the surfaces lie apart there, seen coarsely.
        other: the same at the best position that is a different one; infinite where there is none.
        moved: mm from where the headers put the surface.
        tried: number of starts.
    """

    matrix: np.ndarray
    origin: str
    distance: float
    other: float
    moved: float
    tried: int

    @property
    def margin(self) -> float:
        """Share of its distance by which the best different position is worse: 1 at the most, 0 at a tie."""
        return 1 - self.distance / max(self.other, 1e-9)

    @property
    def told(self) -> str:
        """The search in a sentence."""
        other = (
            "no other fits" if np.isinf(self.other) else f"{self.other:.2g} mm at the best different position"
        )
        return (
            f"Of {self.tried} starts the one from the {self.origin} was taken, which moves the surface by "
            f"{self.moved:.0f} mm: the two lie {self.distance:.2g} mm apart there, {other}."
        )


def search(
    closest: Closest, model: Model, metric: Metric, number: int, centres: tuple[np.ndarray, np.ndarray]
) -> Search:
    """The start from which a few steps of closest points bring two surfaces together best.

    Args:
        closest: the surfaces.
        model: `"similarity"` and `"affine"` allow for another size from the start.
        metric: of the steps.
        number: of rotations in an even spread.
        centres: of the two fields of view, world mm.
    """
    coarse, finer = closest.part(_POINTS[0]), closest.part(_POINTS[1])
    masses = _moments(closest.fixed), _moments(closest.moving)
    ratio = masses[1].size / masses[0].size
    early: Model = "rigid" if model in ("translation", "rigid") else "similarity"
    scales = (1.0,) if early == "rigid" or 0.95 < ratio < 1.05 else (1.0, ratio)
    header = np.eye(closest.fixed.dim + 1)
    found = candidates(*masses, centres, number, scales, header)
    found = [Start(s.matrix, s.origin, coarse.score(s.matrix)) for s in found]
    arms = masses[0].axes.T * masses[0].radii[:, None]
    probes = masses[0].centre + np.concatenate([arms, -arms])
    near = _DISTINCT * closest.size
    ends = [
        _followed(coarse, s, early, metric) for s in [found[0], *distinct(found[1:], probes, near, _FOLLOWED)]
    ]
    # where the headers lead goes on whatever its score: it wins a tie
    home = _followed(finer, ends[0], early, metric)
    kept = [_followed(finer, s, early, metric) for s in distinct(ends, probes, near, _KEPT)]
    best = min(kept, key=lambda s: s.score)
    best = home if home.score <= (1 + _TIE) * best.score + _TIE * closest.noise else best
    others = [s.score for s in kept if apart(s.matrix, best.matrix, probes) > near]
    moved = apart(best.matrix, header, probes)
    return Search(best.matrix, best.origin, best.score, min(others, default=np.inf), moved, len(found))


def _followed(closest: Closest, start: Start, model: Model, metric: Metric) -> Start:
    """Where a start leads, and how well the surfaces fit there."""
    try:
        found = approach(closest, start.matrix, model, metric, _STEPS, 1e-3 * closest.size)
    except PointsError:  # everything is nearest to one point: the start leads nowhere
        return start
    return Start(found.matrix, start.origin, closest.score(found.matrix))


def _moments(surface: Surface) -> Moments:
    """Centre, principal axes and radii of a surface."""
    weights = surface.areas / surface.areas.sum()
    apart_from = surface.points - surface.centre
    values, axes = np.linalg.eigh(np.einsum("n,na,nb->ab", weights, apart_from, apart_from))
    order = np.argsort(values)[::-1]
    return Moments(surface.centre, axes[:, order], np.sqrt(np.maximum(values[order], 0)))
