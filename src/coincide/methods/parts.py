"""What a run consists of, and how long each part takes at most."""

from __future__ import annotations

from dataclasses import dataclass

from coincide.grid import Grid
from coincide.pair import Pair

START, LINEAR = 0.7, 1.0
"""Processor seconds for the search and for the linear levels of a million voxels, at most."""
INVERSE = 250e-9
"""Processor seconds per voxel of a field for its inverse, at most."""


@dataclass(frozen=True)
class Part:
    """A part of a run: its stage and level as in `Event`, and the processor seconds it takes at most."""

    stage: str
    level: int
    seconds: float


def linear_parts(pair: Pair) -> tuple[Part, ...]:
    """The parts of a linear registration that looks for its own start."""
    small = min(1.0, pair.fixed.grid.size / 1e6)
    return Part("start", 0, START * small + 0.2), Part("linear", 0, LINEAR * small + 0.2)


def level_parts(levels: list[tuple[Grid, int]], each: float) -> tuple[Part, ...]:
    """The levels of a deformation, coarse to fine.

    Args:
        levels: the grid and the iterations of each.
        each: processor seconds per voxel and iteration.
    """
    return tuple(
        Part("deformable", number, each * iterations * grid.size)
        for number, (grid, iterations) in enumerate(levels, 1)
    )
