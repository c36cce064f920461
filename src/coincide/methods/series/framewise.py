"""Every frame by itself, by any method for pairs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from coincide.errors import IntensityError, OverlapError
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Status
from coincide.methods.classical.linear import Linear
from coincide.methods.series.base import AbstractSeriesMethod, Series, SeriesSolution, as_told
from coincide.optimise.progress import Event
from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.linear import identity


@dataclass(frozen=True)
class Framewise(AbstractSeriesMethod):
    """Each frame onto the reference by a method for pairs, which knows of no other frame.

    A frame that is missing, or that the method gives up, has the transform of the last one before it that it did not.

    Args:
        method: for the pairs.
    """

    method: AbstractMethod = Linear()  # noqa: RUF009 - frozen

    def follow(self, reference: Image, series: Series, context: Context = Context()) -> SeriesSolution:  # noqa: B008 - frozen
        begun, found, lost = time.perf_counter(), {}, set()
        for done, n in enumerate(series.new):
            context.progress(
                Event("series", f"frame {n + 1} of {len(series)}", fraction=done / len(series.new))
            )
            transform = self._one(reference, series.frames[n], context)
            if transform is None:
                lost.add(int(n))
            else:
                found[int(n)] = transform
        last: Transform = identity(series.dim)
        kept = []
        for origin in series.origins:
            last = found.get(int(origin), last)
            kept.append(last)
        told = as_told(series, lost)
        decisions = (f"{len(lost)} of {len(series)} frames were given up by the method.",) if lost else ()
        return SeriesSolution(tuple(kept), told, decisions, {"frames": time.perf_counter() - begun})

    def _one(self, reference: Image, frame: Image, context: Context) -> Transform | None:
        """The transform of one frame; None where the method gives it up."""
        try:
            solution = self.method.solve(
                Pair(reference, frame), Context(seed=context.seed, device=context.device)
            )
        except (IntensityError, OverlapError):
            return None
        return solution.transform if solution.status is Status.SUCCEEDED else None
