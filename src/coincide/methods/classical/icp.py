"""Registration of surfaces by iterative closest points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.surface_start import LayingOptions, closeness, lay, shown
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.optimise.closest import approach
from coincide.options import ShareBelowOne
from coincide.pair import Pair
from coincide.transforms.linear import Affine

_TOLERANCE = 1e-4
"""Share of the anatomy's size that a step must move the surface."""
_STEP = 3e-6
"""Processor seconds per point and step, at most."""


@dataclass(frozen=True)
class Icp(LayingOptions):
    """Iterative closest points: lays surfaces on each other, whatever the grey values inside.

    The surfaces are those of masks or of what the images show, or, with `use_landmarks` or by naming the `source`, of
    labels (each is laid on its own kind) or of points. Many starts are tried, so that no rotation is too far; how much
    worse the best different position fits is reported. With an initial transform the search is left out.

    Args:
        model: how far the transform goes.
        metric: `"plane"` shortens the distances along the surface's normals, `"point"` those between points; auto takes
            planes where there are normals.
        trim: share of the points that are left out as the farthest: what one image shows and the other does not.

    Raises:
        OptionError: an unknown name, or a number out of its range.
    """

    model: Literal["translation", "rigid", "similarity", "affine"] = "rigid"
    metric: Literal["auto", "point", "plane"] = "auto"
    trim: ShareBelowOne = 0.1

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        return *super().parts(pair), Part("icp", 0, 0.2 + _STEP * self.iterations * self.points)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        laid = lay(self, pair, self.model, self.metric, self.trim, recorder)

        def notify(iteration: int, value: float) -> None:
            recorder.step("icp", 1, 1, iteration, self.iterations, value)

        with recorder.timed("icp"):
            closest, tolerance = laid.closest, _TOLERANCE * laid.closest.size
            found = approach(
                closest, laid.matrix, self.model, laid.metric, self.iterations, tolerance, notify
            )
            pairs = closest.pairs(found.matrix)
        recorder.evidence |= {"iterations": found.iterations, **closeness(pairs)}
        transform = Affine(laid.start.matrix @ found.matrix, pair.fixed.grid.centre)
        solution = recorder.solution(transform, transform.inverse(), Status.SUCCEEDED)
        return replace(solution, matches=shown(pairs, laid.start))
