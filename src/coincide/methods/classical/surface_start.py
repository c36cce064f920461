"""What methods that lay surfaces on each other do alike: start, and say how well they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from coincide.errors import OptionError, PointsError
from coincide.features.matches import Matches
from coincide.methods.classical.surfaces import SurfaceOptions, surfaces
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.optimise.closest import Closest, Metric, Pairs
from coincide.optimise.closest_starts import search
from coincide.optimise.fit import Model
from coincide.options import Count, Range
from coincide.pair import Pair
from coincide.transforms.linear import Affine, identity

_DENSE = 30_000
"""Points of a surface among which the others look for their nearest."""
_USUAL = 4.0
"""Times the median distance up to which a pair is usual."""
_EXTRACTS, _SEARCHES = 1e-6, {2: 1.0, 3: 4.0}
"""Processor seconds per voxel for the surfaces, and for the search from the usual number of starts, at most."""
_SHOWN = 2000
"""Pairs that are kept with the solution, to look at."""


@dataclass(frozen=True)
class LayingOptions(SurfaceOptions):
    """What methods that lay points of surfaces on each other share.

    Args:
        points: the most points of either surface that look for partners.
        iterations: the most steps, of each stage.
    """

    points: Annotated[int, Range(50)] = 4000
    iterations: Count = 100

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        looked = Part("surfaces", 0, 0.3 + _EXTRACTS * (pair.fixed.grid.size + pair.moving.grid.size))
        if pair.initial is not None:
            return (looked,)
        return looked, Part(
            "start", 0, _SEARCHES[pair.dim] * self.points / 4000 * max(1.0, self.starts / 200)
        )


@dataclass(frozen=True, eq=False)
class Laid:
    """Two surfaces, roughly laid on each other.

    Args:
        closest: the surfaces, the moving one in the world the initial transform leads to.
        metric: that their normals allow.
        matrix: homogeneous, fixed → that world.
        start: the initial transform, fixed-world mm → moving-world mm; the identity where there is none.
    """

    closest: Closest
    metric: Metric
    matrix: np.ndarray
    start: Affine


def lay(
    options: LayingOptions,
    pair: Pair,
    model: Model,
    metric: Literal["auto", "point", "plane"],
    trim: float,
    recorder: Recorder,
) -> Laid:
    """Take the surfaces of a pair, and search for a start where none is given.

    Args:
        options: of the method.
        pair: whose surfaces.
        model: how far the linear transform will go.
        metric: as in `optimise.closest.approach`; auto takes planes where there are normals.
        trim: share of the points that need no partner.
        recorder: told what is done and decided.

    Raises:
        InputError: there are no surfaces, or they are too small.
        OptionError: the initial transform is no linear one.
    """
    start = linear_start(pair, model)
    with recorder.timed("surfaces"):
        recorder.say("surfaces", "extracting surfaces")
        fixed, moving, told = surfaces(pair, options)
        recorder.decide(told)
        directed = bool(fixed.normals.any() and moving.normals.any())
        if metric == "plane" and not directed:
            raise PointsError(
                "metric=plane needs surfaces, and points alone have no direction. Take metric=point, or another source."
            )
        moving = moving.carried(np.linalg.inv(start.matrix))
        closest = Closest(fixed.thinned(_DENSE), moving.thinned(_DENSE), options.points, trim)
    recorder.evidence |= {"points_fixed": len(closest.fixed), "points_moving": len(closest.moving)}
    taken: Metric = "plane" if directed and metric != "point" else "point"
    if pair.initial is not None:
        return Laid(closest, taken, np.eye(pair.dim + 1), start)
    with recorder.timed("start"):
        recorder.say("start", "looking for a start")
        number = max(1, options.starts // 4) if pair.dim == 2 else options.starts
        found = search(closest, model, taken, number, (pair.fixed.grid.centre, pair.moving.grid.centre))
        recorder.evidence["start_margin"] = found.margin
        recorder.decide(found.told)
    return Laid(closest, taken, found.matrix, start)


def linear_start(pair: Pair, model: str) -> Affine:
    """The pair's initial transform, or the identity.

    Raises:
        OptionError: it is not linear.
    """
    if pair.initial is None:
        return identity(pair.dim)
    if not isinstance(pair.initial, Affine):
        raise OptionError(
            f"a {model} registration cannot start from a deformable initial transform. Give a linear one, or none."
        )
    return pair.initial


def closeness(pairs: Pairs) -> dict[str, float]:
    """How far the surfaces lie apart over the pairs that count, and which share lies no farther than is usual."""
    kept = pairs.distances[pairs.kept]
    return {
        "residual_mean_mm": float(kept.mean()),
        "residual_p90_mm": float(np.percentile(kept, 90)),
        "inlier_share": float(inliers(pairs).mean()),
    }


def inliers(pairs: Pairs) -> np.ndarray:
    """Which pairs lie no farther apart than is usual, `(number,)` bool."""
    return pairs.distances <= _USUAL * np.median(pairs.distances[pairs.kept])


def shown(pairs: Pairs, start: Affine) -> Matches:
    """Some of the pairs, evenly, in the two images' own worlds."""
    few = np.unique(np.linspace(0, len(pairs.source) - 1, _SHOWN).round().astype(int))
    return Matches(pairs.source[few], start(pairs.target[few]), inliers(pairs)[few])
