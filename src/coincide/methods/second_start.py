"""A second start for pictures: keypoints and a thin-plate spline, kept unless the deformation ends worse from there."""

from __future__ import annotations

from dataclasses import replace

import torch

from coincide.errors import InputError, MissingPackageError
from coincide.image import Image
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.bending import Bending, level_of
from coincide.methods.classical.features import Harris
from coincide.optimise.deformable import Level, compare
from coincide.pair import Pair

_TIE = 0.005
"""Share of its value by which the end from the linear start must be better to be kept: within it the similarity cannot
tell, and the keypoints that agree speak for the other."""
_ALIKE = 0.95
"""Mean squared local correlation from which nothing is left to find: one picture moved ends at 0.96 to 0.99, hands of
two children at 0.84 to 0.89."""


def better_start(
    first: Solution, chosen: Bending, fixed: Image, moving: Image, pair: Pair, context: Context
) -> Solution:
    """The better, by their similarity, of a deformation and of another one from where keypoints put the picture.

    Fingers of a hand look alike to a linear start, and a deformation that begins a finger's width off stays there.
    Their corners, matched and bent by a spline, begin within millimetres.

    Args:
        first: the deformation from a linear start.
        chosen: what made it, and makes the other one.
        fixed: the fixed image, normalised.
        moving: likewise.
        pair: what is registered.
        context: of the run.
    """
    if first.status is not Status.SUCCEEDED:
        return first
    grid = chosen.grids(fixed)[-1][0]
    still = torch.zeros((grid.dim, *grid.shape))

    def end(solution: Solution) -> Level:
        return level_of(grid, fixed, moving, solution.transform, chosen.cubic)

    here = end(first)
    if (value := compare([here], [still], chosen.compared)[0]) < -_ALIKE:
        # pictures of one thing: a start by keypoints could only bend what a turn explains
        return _told(
            first,
            f"The pictures agree ({chosen.compared.name} {value:.3f}): no start by keypoints is needed.",
        )
    try:
        start = Harris(model="thin_plate").solve(pair, context)
    except MissingPackageError as error:
        return _told(first, f"No start by keypoints was tried: {error}")
    except InputError:
        return first  # an image of a few pixels has no keypoints to look for
    if start.status is not Status.SUCCEEDED:
        return _told(first, "Keypoints did not agree on another start.")
    second = chosen.solve(replace(pair, initial=start.transform), context)
    values = compare([here, end(second)], [still] * 2, chosen.compared)
    ends = f"{chosen.compared.name} {values[1]:.3f}, {values[0]:.3f} from the linear one"
    if second.status is not Status.SUCCEEDED or values[0] < values[1] - _TIE * abs(values[1]):
        return _told(first, f"From a start by keypoints the deformation ended worse ({ends}).")
    seconds: dict[str, float] = {}
    for one in (first, start, second):
        seconds |= {name: seconds.get(name, 0.0) + spent for name, spent in one.seconds.items()}
    evidence = {**first.evidence, **second.evidence}
    kept = replace(second, evidence=evidence, seconds=seconds, decisions=first.decisions)
    return _told(
        kept,
        f"The deformation starts from keypoints bent by a spline, from where it ended as well or better ({ends}).",
    )


def _told(solution: Solution, sentence: str) -> Solution:
    return replace(solution, decisions=(*solution.decisions, sentence))
