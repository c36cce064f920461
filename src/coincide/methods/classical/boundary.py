"""Registration of boundaries: outlines, edges and borders of labels are laid on each other by their distance maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from coincide.errors import OptionError, unknown
from coincide.features.contours import closed_contours
from coincide.features.fourier import Descriptors, Match, match
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear
from coincide.methods.classical.outlines import Outlines, outlines
from coincide.methods.classical.surface_start import closeness, linear_start, shown
from coincide.methods.classical.surfaces import SurfaceOptions
from coincide.methods.parts import Part, linear_parts
from coincide.methods.recorder import Recorder
from coincide.optimise.closest import Closest
from coincide.optimise.fit import Model
from coincide.options import PositiveShare, Range
from coincide.pair import Pair
from coincide.similarity import MSE
from coincide.transforms.linear import Affine, identity

_WIDE, _NARROW = 0.15, 0.03
"""Distances, as shares of the anatomy's size, at which the maps have risen half-way: in the search, and after it."""
_ALIKE = 0.2
"""Residual of Fourier descriptors, as a share of the outline's size, up to which two outlines are of one shape."""
_APART = 0.15
"""Mean distance of the outlines in the end, as a share of their size, from which on nothing corresponds."""
_COSTS = 2e-6
"""Processor seconds per voxel for outlines and the maps of the distance from them, at most."""
_POINTS, _DENSE, _TRIM = 4000, 30_000, 0.1
"""Points that are looked at to say how well the outlines fit, of how many, and the share that need no partner."""


@dataclass(frozen=True)
class Boundary(SurfaceOptions):
    """Lays outline on outline, linearly or bending smoothly, by maps of the distance from it.

    A map of the distance from a boundary is smooth where the boundary is not, so two of them are registered like
    images: from any rotation, and with the diffeomorphic deformation of the other methods (Paragios et al. 2003,
    doi:10.1016/S1077-3142(03)00010-9). In 2-D closed outlines are matched by their Fourier descriptors first. Inside a
    mask, a label or a foreground distances are positive; labels are laid each on its own kind; edges have no inside.
    With an initial transform the search is left out.

    Args:
        transform: how far it goes; deformable bends after an affine part.
        harmonics: order of the Fourier descriptors, 2-D: what is finer does not count for the start.
        width: distance at which the maps flatten, as a share of the anatomy's size.

    Raises:
        OptionError: an unknown name, or a number out of its range.
    """

    transform: Literal["rigid", "similarity", "affine", "deformable"] = "deformable"
    harmonics: Annotated[int, Range(2)] = 24
    width: PositiveShare = _NARROW

    def __post_init__(self) -> None:
        super().__post_init__()
        known = ("rigid", "similarity", "affine", "deformable")
        if self.transform not in known:
            raise unknown("transform", str(self.transform), known)
        if self.source == "points":
            raise OptionError(
                "points have no outline. Take icp or cpd, or source=grown for what grows from them."
            )
        if self.harmonics < 2 or not 0 < self.width <= 1:
            raise OptionError(
                f"boundary needs 2 harmonics or more and a width from 0 to 1, found {self.harmonics} and {self.width}."
            )

    @property
    def steered_by(self) -> tuple[str, ...]:
        # points have no outline
        return tuple(kind for kind in super().steered_by if kind == "labels" or self.source == "grown")

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        looked = Part("outlines", 0, 0.3 + _COSTS * (pair.fixed.grid.size + pair.moving.grid.size))
        if self.transform != "deformable":
            return looked, *linear_parts(pair), *linear_parts(pair)
        return looked, *linear_parts(pair), *Deformable(similarity=MSE(), trials=1, cubic=False).parts(pair)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        model: Model = "affine" if self.transform == "deformable" else self.transform
        start = linear_start(pair, model)
        with recorder.timed("outlines"):
            recorder.say("outlines", "extracting outlines")
            fixed, moving, told = outlines(pair, self)
            recorder.decide(told)
        if pair.initial is None:
            with recorder.timed("start"):
                found = self._start(fixed, moving, model, recorder)
            if found is None:
                return recorder.solution(start, None, Status.NO_OVERLAP)
            start = found
        given = replace(pair, initial=start)
        here, there = (o.drawn(max(self.width * o.size, 2 * o.spacing)) for o in (fixed, moving))
        linear = Linear(model, MSE(), MSE())
        starts = linear.explore(here, there, given, recorder)
        if self.transform == "deformable":
            bending = Deformable(linear=linear, similarity=MSE(), trials=1, cubic=False)
            solution = bending.finish(here, there, starts, given, recorder)
        else:
            solution = linear.finish(here, there, starts, given, recorder)
        return self._told(solution, fixed, moving)

    def _start(self, fixed: Outlines, moving: Outlines, model: Model, recorder: Recorder) -> Affine | None:
        """Where wide maps, from the outlines' shapes or over all rotations, come together best; None where nowhere."""
        here, there = (o.drawn(_WIDE * o.size) for o in (fixed, moving))
        linear = Linear(model, MSE(), MSE(), starts=self.starts, fine=60_000)
        shaped = self._by_shape(fixed, moving, model, recorder)
        found = []
        for given in (None,) if shaped is None else (shaped, None):
            one = Recorder(recorder.progress)
            starts = linear.explore(here, there, Pair(here, there, initial=given), one)
            if starts.found:
                matrix = linear.follow(here, there, starts, one)
                found.append((one.evidence["linear_value"], matrix, one.decisions))
        if not found:
            return None
        value, matrix, decisions = min(found, key=lambda f: f[0])
        recorder.evidence["start_value"] = value
        recorder.decisions += decisions
        return Affine(matrix)

    def _by_shape(self, fixed: Outlines, moving: Outlines, model: Model, recorder: Recorder) -> Affine | None:
        """Where the shapes of the largest closed outlines put them, in 2-D, where they are of one shape."""
        if fixed.dim == 3 or fixed.levels is None or moving.levels is None or len(fixed.levels) != 1:
            return None
        shapes = [
            Descriptors.of(closed_contours(levels[0])[0], self.harmonics)
            for levels in (fixed.levels, moving.levels)
        ]
        found = match(*shapes, reflect=False)
        recorder.evidence |= {"shape_residual": found.residual, "shape_mirror_residual": found.mirror}
        recorder.decide(_told_shape(found))
        if found.residual > _ALIKE:
            return None
        matrix = found.matrix.copy()
        if model == "rigid":
            matrix[:2, :2] /= found.scale
            matrix[:2, 2] = shapes[1].centre - matrix[:2, :2] @ shapes[0].centre
        return Affine(matrix)

    def _told(self, solution: Solution, fixed: Outlines, moving: Outlines) -> Solution:
        """The solution with how well the outlines fit, and the pairs that lie nearest to each other."""
        if solution.status is not Status.SUCCEEDED or solution.inverse is None:
            return solution
        surface = fixed.surface.thinned(_DENSE)
        # of the fixed normals nothing is known after a bending; those of the moving outline are enough
        moved = replace(surface, points=solution.transform(surface.points), normals=0 * surface.normals)
        closest = Closest(moved, moving.surface.thinned(_DENSE), _POINTS, _TRIM)
        pairs = closest.pairs(np.eye(fixed.dim + 1))
        solution.evidence.update(closeness(pairs))
        back = replace(pairs, source=solution.inverse(pairs.source))
        solution = replace(solution, matches=shown(back, identity(fixed.dim)), ran=self)
        if solution.evidence["residual_mean_mm"] > _APART * moving.size:
            return replace(solution, status=Status.NO_CORRESPONDENCE)
        return solution


def _told_shape(found: Match) -> str:
    told = (
        f"By the shape of its outline the fixed image is turned by {found.rotation:.0f}° and scaled by "
        f"{found.scale:.2f} ({100 * found.residual:.0f} % of its size off)"
    )
    if found.mirror < 0.7 * found.residual:
        return f"{told}; the mirror image of the outline fits better ({100 * found.mirror:.0f} %): check the headers."
    return f"{told}." if found.residual <= _ALIKE else f"{told}, which is too much to start from."
