"""Registration of surfaces by coherent point drift."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from coincide.features.matches import Matches
from coincide.features.surface import bare
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.field import field_grid, settled
from coincide.methods.classical.surface_start import Laid, LayingOptions, closeness, lay
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.ops.jacobian import determinants
from coincide.optimise.closest import Closest
from coincide.optimise.coherent import Coherent, Drift
from coincide.optimise.fit import Model
from coincide.options import Count, Positive, Range, ShareBelowOne
from coincide.pair import Pair
from coincide.transforms.linear import Affine
from coincide.transforms.thin_plate import bending

_KERNELS = (40, 200)
"""The fewest and the most kernels that bend."""
_BLUR = 0.03
"""Width that the Gaussians of a bending keep, in sizes of the anatomy: narrower ones bend at any price."""
_STIFFER = (1, 10, 100, 1000)
"""Times the stiffness that is tried when a bending folds."""
_KNOWN = 0.3
"""Share of the mean from which on what a point accounts for is a partner."""
_KNOWN_TO = 0.25
"""Share of the distance between a surface's points that Gaussians need not be narrower than."""
_STEP, _FIELDS = 2e-8, {2: 1.0, 3: 6.0}
"""Processor seconds for each two points and step, and for the field and its inverse, at most."""
_LOOSE = 2.0
"""Times the distance of the surfaces after the search that the Gaussians are wide at first."""


@dataclass(frozen=True)
class Cpd(LayingOptions):
    """Coherent point drift: lays surfaces on each other by probability, linearly or bending them smoothly.

    Each point of the fixed surface is the centre of a Gaussian, and the moving points are taken for drawn from these,
    but for a share that belongs to nothing (Myronenko and Song 2010, doi:10.1109/TPAMI.2010.46). The surfaces are those
    of masks or of what the images show, or, with `use_landmarks` or by naming the `source`, of labels (each is laid on
    its own kind) or of points. Many starts are tried; how much worse the best different position fits is reported. With
    an initial transform the search is left out. Away from the surfaces the bending fades to the linear part.

    Args:
        transform: how far it goes; deformable bends after an affine part.
        width: of the kernels that bend, over which points move coherently, as a share of the anatomy's size.
        stiffness: price of bending; where it folds, a higher one is taken.
        outliers: share of the moving points that belong to nothing.
        least_jacobian: smallest Jacobian determinant the bending may have, relative to its linear part.

    Raises:
        OptionError: an unknown name, or a number out of its range.
    """

    transform: Literal["rigid", "similarity", "affine", "deformable"] = "deformable"
    width: Annotated[float, Range(0.05, 5)] = 0.3
    stiffness: Positive = 10.0
    outliers: ShareBelowOne = 0.1
    points: Annotated[int, Range(50)] = 1500
    iterations: Count = 150
    least_jacobian: ShareBelowOne = 0.1

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        stage = 0.2 + _STEP * self.iterations * self.points**2
        bent = (Part("cpd bending", 0, 2 * stage), Part("inverse", 0, _FIELDS[pair.dim]))
        return *super().parts(pair), Part("cpd", 0, stage), *(bent if self.transform == "deformable" else ())

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        model: Model = "affine" if self.transform == "deformable" else self.transform
        laid = lay(self, pair, model, "auto", self.outliers, recorder)
        frame = _Frame.of(laid)
        clouds = Coherent(
            frame.fixed(laid.closest.fixed.points),
            frame.moving(laid.closest.moving.points),
            (laid.closest.fixed.normals, laid.closest.moving.normals),
            (laid.closest.fixed.group, laid.closest.moving.group),
            self.outliers,
            self.iterations,
            _known_to(laid.closest) / frame.size,
        )
        with recorder.timed("cpd"):
            sigma = max(_LOOSE * laid.closest.score(laid.matrix), laid.closest.gap) / frame.size
            drift = clouds.linear(frame.into(laid.matrix), sigma, model, self._notify(recorder, "cpd", frame))
        if self.transform == "deformable":
            return self._bend(clouds, drift, laid, frame, pair, recorder)
        matrix = frame.out_of(drift.matrix)
        transform = Affine(laid.start.matrix @ matrix, pair.fixed.grid.centre)
        solution = recorder.solution(transform, transform.inverse(), Status.SUCCEEDED)
        return self._told(solution, drift, laid, frame)

    def _bend(
        self, clouds: Coherent, drift: Drift, laid: Laid, frame: _Frame, pair: Pair, recorder: Recorder
    ) -> Solution:
        """Go on from a linear drift, and turn what bends into a field."""
        linear = Affine(laid.start.matrix @ frame.out_of(drift.matrix), pair.fixed.grid.centre)
        # a kernel is smooth over its width: sixteen voxels along it are as good as more
        spacing = max(self.width * frame.size / 16, float(pair.fixed.grid.spacing.min()))
        grid = field_grid(pair.fixed.grid, spacing)
        kernels = frame.fixed(laid.closest.fixed.thinned(self._kernels(laid)).points)
        clouds = replace(clouds, smallest=max(clouds.smallest, _BLUR))
        notify = self._notify(recorder, "cpd bending", frame)
        for stiffness in self.stiffness * np.array(_STIFFER):
            with recorder.timed("cpd"):
                bent = clouds.bent(drift.matrix, drift.sigma, kernels, self.width, float(stiffness), notify)

            def bends(points: np.ndarray, bent: Drift = bent) -> np.ndarray:
                flat = bent.moved(frame.fixed(points.reshape(-1, pair.dim)), self.width)
                return laid.start(frame.back(flat)).reshape(points.shape)

            with recorder.timed("inverse"):
                recorder.say("inverse", "computing the field")
                field = bending(bends, linear, grid)
                least = float(determinants(field.voxel_vectors()).least.min())
            if least >= self.least_jacobian:
                break
        with recorder.timed("inverse"):
            found = settled(field, linear, self.least_jacobian)
        recorder.evidence["stiffness"] = float(stiffness)
        if stiffness > self.stiffness or found.mended:
            recorder.decide(_told_stiffer(self.stiffness, float(stiffness), found.mended))
        solution = recorder.solution(found.transform, found.inverse, Status.SUCCEEDED)
        total = replace(bent, iterations=drift.iterations + bent.iterations)
        return self._told(solution, total, laid, frame)

    def _kernels(self, laid: Laid) -> int:
        """How many kernels stand about 0.4 of their width apart."""
        surface = laid.closest.fixed
        number = surface.areas.sum() / (0.4 * self.width * laid.closest.size) ** (surface.dim - 1)
        return int(np.clip(number, *_KERNELS))

    def _notify(self, recorder: Recorder, stage: str, frame: _Frame):
        def notify(iteration: int, sigma: float) -> None:
            recorder.step(stage, 1, 1, iteration, self.iterations, sigma * frame.size)

        return notify

    def _told(self, solution: Solution, drift: Drift, laid: Laid, frame: _Frame) -> Solution:
        """The solution with its evidence, and with each fixed point's partner, the mean of what it accounts for."""
        surface, belief = laid.closest.fixed, drift.belief
        points = laid.start.inverse()(solution.transform(surface.points))
        moved = replace(bare(points), areas=surface.areas, group=surface.group)
        pairs = Closest(moved, laid.closest.dense[1], self.points, self.outliers).pairs(
            np.eye(surface.dim + 1)
        )
        solution.evidence.update(closeness(pairs), iterations=drift.iterations)
        solution.evidence["accounted_share"] = float(belief.accounted.mean())
        known = belief.weights > _KNOWN * belief.weights.mean()
        return replace(solution, matches=Matches(surface.points, laid.start(frame.back(belief.means)), known))


def _told_stiffer(asked: float, taken: float, mended: int) -> str:
    told = (
        f"With a stiffness of {asked:g} the bending folded, so {taken:g} was taken." if taken > asked else ""
    )
    if mended:
        told += f" It folded at {mended:,} voxels of its field, which were smoothed; give it more width."
    return told.strip()


def _known_to(closest: Closest) -> float:
    """How exactly the clouds can be brought together, mm: points of a surface need not meet, bare points may."""
    surface = closest.fixed
    if not closest.noise:
        return 1e-5 * closest.size
    return _KNOWN_TO * float(surface.areas.sum() / len(surface)) ** (1 / (surface.dim - 1))


@dataclass(frozen=True, eq=False)
class _Frame:
    """Where lengths have the anatomy's size for their unit, and either cloud its middle for the origin.

    Args:
        centres: of the fixed and the moving cloud, mm.
        size: mm.
    """

    centres: tuple[np.ndarray, np.ndarray]
    size: float

    @classmethod
    def of(cls, laid: Laid) -> _Frame:
        return cls((laid.closest.fixed.centre, laid.closest.moving.centre), laid.closest.size)

    def fixed(self, points: np.ndarray) -> np.ndarray:
        """Points of the fixed world in this frame."""
        return (points - self.centres[0]) / self.size

    def moving(self, points: np.ndarray) -> np.ndarray:
        """Points of the moving world in this frame."""
        return (points - self.centres[1]) / self.size

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points of this frame in the moving world."""
        return points * self.size + self.centres[1]

    def into(self, matrix: np.ndarray) -> np.ndarray:
        """A matrix of the world in this frame."""
        framed = matrix.copy()
        framed[:-1, -1] = self.moving(matrix[:-1, :-1] @ self.centres[0] + matrix[:-1, -1])
        return framed

    def out_of(self, matrix: np.ndarray) -> np.ndarray:
        """A matrix of this frame in the world."""
        world = matrix.copy()
        world[:-1, -1] = self.back(matrix[:-1, -1]) - matrix[:-1, :-1] @ self.centres[0]
        return world
