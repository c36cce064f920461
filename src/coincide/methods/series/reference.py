"""What the frames of a series are laid on: one of them, or their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.image import Image
from coincide.methods.base import Context
from coincide.methods.series.base import AbstractSeriesMethod, Series, SeriesSolution
from coincide.optimise.progress import Event
from coincide.transforms.resample import resample

REFERENCES = ("first", "mean")
"""What may be said for a reference, beside the number of a frame from 0."""


def follow(
    series: Series,
    method: AbstractSeriesMethod,
    reference: str = "first",
    context: Context = Context(),  # noqa: B008 - frozen
) -> tuple[Image, SeriesSolution]:
    """The reference, and where every frame lies against it.

    Args:
        series: the frames.
        method: by which they are followed.
        reference: `first`, the first frame that shows anything; the number of a frame, from 0; or `mean`: the series is
            laid on its middle frame, the mean of what comes out is the reference, and the series is laid on that.
        context: for the method.

    Raises:
        OptionError: no such reference, or a frame that shows nothing.
        InputError: the series cannot be registered by this method.
    """
    check_reference(reference)
    if reference != "mean":
        number = int(series.new[0]) if reference == "first" else _number(series, reference)
        chosen = series.frames[number]
        return chosen, method.follow(chosen, series, context)
    context.progress(Event("series", "first onto the middle frame, then onto the mean"))
    middle = int(series.new[len(series.new) // 2])
    first = method.follow(series.frames[middle], series, context)
    mean = _mean(series, first)
    solution = method.follow(mean, series, context)
    told = f"The reference is the mean of the frames, laid first on frame {middle}."
    seconds = {name: value + first.seconds.get(name, 0.0) for name, value in solution.seconds.items()}
    return mean, replace(solution, decisions=(told, *solution.decisions), seconds=seconds)


def check_reference(reference: str) -> None:
    """Refuse what names no reference, whatever the series.

    Raises:
        OptionError: it does.
    """
    if reference not in REFERENCES and not reference.isdecimal():
        raise OptionError(
            f"the reference is {reference!r}; expected {' or '.join(REFERENCES)}, or the number of a frame from 0."
        )


def aligned(series: Series, solution: SeriesSolution) -> list[Image]:
    """Every frame on the grid of the reference, in one interpolation; a missing one as it is."""
    pairs = zip(series.frames, solution.transforms, solution.frames)
    return [f if told == "missing" else resample(f, t, series.grid) for f, t, told in pairs]


def _number(series: Series, reference: str) -> int:
    number = int(reference)
    if number >= len(series) or not series.seen[number]:
        shown = ", ".join(map(str, series.new[:8])) + (", …" if len(series.new) > 8 else "")
        raise OptionError(
            f"{series.name}: frame {number} cannot be the reference: of {len(series)} frames, numbered from 0, it is "
            f"none that shows anything. These do: {shown}."
        )
    return number


def _mean(series: Series, solution: SeriesSolution) -> Image:
    """The mean of the frames where they are known."""
    total, count = torch.zeros((1, *series.grid.shape)), torch.zeros(series.grid.shape)
    ones = torch.ones((1, *series.grid.shape))
    for n in series.new:
        if solution.frames[n] != "registered":
            continue
        transform, frame = solution.transforms[n], series.frames[n]
        total += resample(frame, transform, series.grid).data
        count += resample(Image(ones, series.grid), transform, series.grid).data[0]
    known = count >= 0.5 * float(count.max())
    values = total / count.clamp(min=1e-3)
    outside = float(np.min(values[0][known].numpy()))
    return Image(torch.where(known, values, outside), series.grid, mask=known, name=f"{series.name}, mean")
