"""Registration by regions: matched by shape and position, or by name, and laid centre on centre."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from coincide.errors import LabelError, OptionError
from coincide.features.matches import Matches
from coincide.features.regions import Regions, of_labels, stable
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.landmarks import Landmarks
from coincide.methods.classical.surface_start import linear_start
from coincide.methods.classical.surfaces import grown
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.optimise.consensus import Agreement, Consensus, agree
from coincide.optimise.fit import Model, fewest
from coincide.options import Fraction, Positive, PositiveShare
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.linear import Affine

Source = Literal["auto", "stable", "mask", "labels", "grown"]
_CANDIDATES = 5
"""Regions of the other image that each may turn out to be: those of the most like shape."""
_LIKE = 0.5
"""Difference of shape, in logarithms of lengths, from which on two regions are not the same."""
_TOLERANCE = 0.03
"""How far the centres of partners may lie apart, as a share of the image's size."""
_COSTS = 3e-6
"""Processor seconds per voxel in which regions are looked for, at most."""
_SURE = -8.0
"""log10 of how many agreements by chance are taken for none."""


@dataclass(frozen=True)
class RegionMatching(AbstractMethod):
    """Lays regions on regions: those that stand out at any threshold, matched by shape and position, or named ones.

    The regions are parts brighter or darker than their surroundings over a range of thresholds (`stable`), the separate
    parts of the masks, the labels, or what grows from the landmarks as seeds; the last two correspond by name.
    Whichever pairs of centres agree on a transform bear it. No start is needed, and no rotation is too far.

    Args:
        transform: how far it goes; deformable is a thin-plate spline through the centres.
        source: where the regions are from; auto takes labels with `use_landmarks`, or else stable ones.
        smallest: volume of a stable region, as a share of the anatomy's.
        largest: likewise.
        tolerance: how far the grey values of a grown region may be from its seed's, as a share of the image's range.
        use_landmarks: whether the pair's labels may steer.

    Raises:
        OptionError: an unknown name, or a number out of its range.
    """

    transform: Literal["rigid", "similarity", "affine", "deformable"] = "similarity"
    source: Literal["auto", "stable", "mask", "labels", "grown"] = "auto"
    smallest: Positive = 0.0003
    largest: PositiveShare = 0.3
    tolerance: Fraction = 0.1
    use_landmarks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest >= self.largest:
            raise OptionError(
                f"regions: smallest must be below largest, found {self.smallest} and {self.largest}."
            )

    @property
    def steered_by(self) -> tuple[str, ...]:
        return {"auto": ("labels",), "labels": ("labels",), "grown": ("landmarks",)}.get(self.source, ())

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        looked = 0.3 + _COSTS * (pair.fixed.grid.size + pair.moving.grid.size)
        laid = Landmarks(self.transform).parts(pair)
        return Part("regions", 0, looked), Part("matching", 0, 0.5), *laid

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        start = linear_start(pair, self.transform)
        with recorder.timed("regions"):
            recorder.say("regions", "looking for regions")
            fixed, moving, named = self._regions(pair)
        recorder.evidence |= {"regions_fixed": len(fixed), "regions_moving": len(moving)}
        model: Model = "affine" if self.transform == "deformable" else self.transform
        if not named:
            if min(len(fixed), len(moving)) < fewest(model, pair.dim) + 2:
                recorder.decide(
                    f"{len(fixed)} fixed and {len(moving)} moving regions stand out, which is too few."
                )
                return recorder.solution(start, None, Status.NO_INFORMATION)
            with recorder.timed("matching"):
                pairs = _candidates(fixed, moving, model)
                found = _agreed(fixed, moving, pairs, model, pair, context.seed)
            told = f"Of {len(fixed)} fixed and {len(moving)} moving regions"
            inlier = np.zeros(len(pairs), bool) if found is None else found.inlier
            if found is None or found.chance > _SURE:
                recorder.decide(f"{told} {inlier.sum()} agree, which is no more than chance brings about.")
                matches = Matches(fixed.centre[pairs[:, 0]], moving.centre[pairs[:, 1]], inlier)
                return replace(recorder.solution(start, None, Status.NO_CORRESPONDENCE), matches=matches)
            pairs = _one_to_one(fixed, moving, pairs[inlier], found.matrix)
            recorder.evidence |= {"chance_log10": found.chance, "tolerance_mm": found.tolerance}
            recorder.decide(f"{told} {len(pairs)} agree within {found.tolerance:.2g} mm.")
            fixed, moving = fixed.chosen(pairs[:, 0]), moving.chosen(pairs[:, 1])
        return self._laid(fixed, moving, pair, context, recorder)

    def _regions(self, pair: Pair) -> tuple[Regions, Regions, bool]:
        """The regions of both images; where they correspond by name, row by row, and True."""
        labelled = pair.fixed_labels is not None and pair.moving_labels is not None
        source = self.source
        if source == "auto":
            source = "labels" if self.use_landmarks and labelled else "stable"
        if source == "grown":
            pair = grown(pair, self.tolerance)
        if source in ("labels", "grown"):
            return (*_named(pair, fewest("affine", pair.dim)), True)
        if source == "mask":
            return _parts(pair.fixed), _parts(pair.moving), False
        both = [stable(image, self.smallest, self.largest) for image in (pair.fixed, pair.moving)]
        return both[0], both[1], False

    def _laid(
        self, fixed: Regions, moving: Regions, pair: Pair, context: Context, recorder: Recorder
    ) -> Solution:
        """The centres as landmarks, which lie, and are checked, like any others."""
        points = [Points(r.centre, tuple(map(str, fixed.name))) for r in (fixed, moving)]
        given = replace(pair, fixed_points=points[0], moving_points=points[1], initial=None)
        solution = Landmarks(self.transform).solve(given, context)
        recorder.evidence |= solution.evidence
        told = tuple(d.replace("andmark", "egion") for d in solution.decisions)
        return replace(
            solution,
            evidence=recorder.evidence,
            decisions=(*recorder.decisions, *told),
            seconds=recorder.seconds,
        )


def _named(pair: Pair, least: int) -> tuple[Regions, Regions]:
    """The regions of both label maps that have one name, row by row."""
    if pair.fixed_labels is None or pair.moving_labels is None:
        raise LabelError(
            "source=labels needs label maps of both images. Give --fixed-labels and --moving-labels, or leave the "
            "source out."
        )
    fixed, moving = (of_labels(m.numpy()[0], m.grid) for m in (pair.fixed_labels, pair.moving_labels))
    _, a, b = np.intersect1d(fixed.name, moving.name, return_indices=True)
    if len(a) < least:
        raise LabelError(
            f"the label maps have {len(a)} regions in common, expected at least {least}. Check that they belong "
            "together, or take another method, such as boundary, which looks at outlines."
        )
    return fixed.chosen(a), moving.chosen(b)


def _parts(image: Image) -> Regions:
    """The separate parts of an image's mask; all of it where there is none."""
    from skimage.measure import label

    if image.mask is None:
        return of_labels(np.ones(image.grid.shape, np.int32), image.grid)
    return of_labels(np.asarray(label(image.mask.numpy(), connectivity=1)), image.grid)


def _candidates(fixed: Regions, moving: Regions, model: Model) -> np.ndarray:
    """Pairs of regions of like shape, the most alike first, `(number, 2)`."""
    apart = np.abs(fixed.form[:, None] - moving.form[None]).sum(-1)
    if model == "rigid":
        apart += np.abs(np.log(fixed.size[:, None] / moving.size[None]))
    apart[fixed.bright[:, None] != moving.bright[None]] = np.inf
    near = [np.argsort(apart, axis=axis, kind="stable") for axis in (0, 1)]
    close = np.zeros(apart.shape, bool)
    np.put_along_axis(close, near[1][:, :_CANDIDATES], True, axis=1)
    back = np.zeros(apart.shape, bool)
    np.put_along_axis(back, near[0][:_CANDIDATES], True, axis=0)
    pairs = np.argwhere(close & back & (apart < _LIKE))
    return pairs[np.argsort(apart[tuple(pairs.T)], kind="stable")]


def _agreed(
    fixed: Regions, moving: Regions, pairs: np.ndarray, model: Model, pair: Pair, seed: int
) -> Agreement | None:
    sizes = [np.ptp(image.grid.corners, axis=0) for image in (pair.fixed, pair.moving)]
    largest = _TOLERANCE * float(np.prod(sizes[0]) ** (1 / pair.dim))
    source, target = fixed.centre[pairs[:, 0]], moving.centre[pairs[:, 1]]
    return agree(source, target, model, largest, sizes[1], seed, Consensus())


def _one_to_one(fixed: Regions, moving: Regions, pairs: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The pairs in which neither region has a nearer partner."""
    apart = np.linalg.norm(Affine(matrix)(fixed.centre[pairs[:, 0]]) - moving.centre[pairs[:, 1]], axis=1)
    taken: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for row in np.argsort(apart, kind="stable"):
        a, b = (int(p) for p in pairs[row])
        if a not in taken[0] and b not in taken[1]:
            taken[0].add(a)
            taken[1].add(b)
            kept.append(row)
    return pairs[np.sort(kept)]
