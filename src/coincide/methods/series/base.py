"""What a series is, and what is found of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from coincide.errors import DimensionError, GeometryError, IntensityError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context
from coincide.options import Checked
from coincide.transforms.base import Transform

Frame = Literal["registered", "repeated", "missing", "lost"]
"""What became of a frame: it was registered; it shows again what the one before did; there is nothing on it; or the
method gave it up."""


@dataclass(frozen=True, eq=False)
class Series:
    """Pictures of one thing, one after the other, on one grid.

    Args:
        frames: of one channel each.
        interval: seconds from one to the next; None where nobody knows.
        name: what to call the series in messages.

    Raises:
        DimensionError: fewer than two frames, or frames of several channels.
        GeometryError: frames on several grids.
        IntensityError: fewer than two frames show anything.
    """

    frames: tuple[Image, ...]
    interval: float | None = None
    name: str = "series"

    def __post_init__(self) -> None:
        if len(self.frames) < 2:
            raise DimensionError(
                f"{self.name}: holds {len(self.frames)} frames, expected two or more. For a pair of images there is "
                "coincide register."
            )
        for number, frame in enumerate(self.frames):
            if frame.channels != 1:
                raise DimensionError(
                    f"{self.name}: frame {number} has {frame.channels} channels, expected one."
                )
            if not frame.grid.matches(self.grid):
                raise GeometryError(
                    f"{self.name}: frame {number} lies on {frame.grid!r}, the first one on {self.grid!r}; expected one "
                    "grid for all. Resample them onto one first."
                )
        if self.seen.sum() < 2:
            raise IntensityError(
                f"{self.name}: {int(self.seen.sum())} of {len(self.frames)} frames show anything (the others have one "
                "value throughout), expected two or more. Check the file."
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def grid(self) -> Grid:
        """Where the voxels of every frame lie."""
        return self.frames[0].grid

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.grid.dim

    @cached_property
    def seen(self) -> np.ndarray:
        """Whether a frame shows anything, `(frame,)` bool: one that has but one value is missing."""
        return np.array([_shows(frame) for frame in self.frames])

    @cached_property
    def origins(self) -> np.ndarray:
        """The frame that each frame shows, `(frame,)`: itself, or the one before that it repeats value by value."""
        found = np.arange(len(self.frames))
        for n in range(1, len(self.frames)):
            if self.seen[n] and torch.equal(self.frames[n].data, self.frames[n - 1].data):
                found[n] = found[n - 1]
        return found

    @property
    def times(self) -> np.ndarray:
        """When what a frame shows was, in frames, `(frame,)`: a frame that repeats another shows that one's time."""
        return np.where(self.seen, self.origins, np.arange(len(self))).astype(float)

    @property
    def new(self) -> np.ndarray:
        """The numbers of the frames that there are and that repeat none."""
        return np.flatnonzero(self.seen & (self.origins == np.arange(len(self))))


def _shows(frame: Image) -> bool:
    values = frame.data if frame.mask is None else frame.data[:, frame.mask]
    return values.numel() > 0 and bool(values.max() > values.min())


@dataclass(frozen=True, eq=False)
class SeriesSolution:
    """Where the frames of a series lie.

    Args:
        transforms: reference-world mm → frame-world mm, one for each frame; one that is missing or lost has what the
            method makes of its neighbours.
        frames: what became of each.
        decisions: what was decided and why, a sentence each.
        seconds: wall-clock time by stage.
    """

    transforms: tuple[Transform, ...]
    frames: tuple[Frame, ...]
    decisions: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


class AbstractSeriesMethod(Checked, ABC):
    """A way to find where the frames of a series lie. A frozen dataclass of its options, without state."""

    @abstractmethod
    def follow(self, reference: Image, series: Series, context: Context = Context()) -> SeriesSolution:  # noqa: B008 - frozen
        """Find the transforms that carry the world of `reference` (mm) onto that of each frame (mm).

        Never touches a file and never prints.

        Args:
            reference: on the grid of the series.
            series: the frames; the reference may be one of them.
            context: where to report to, and where to compute.

        Raises:
            InputError: the series cannot be registered by this method.
        """


def as_told(series: Series, lost: set[int] = frozenset()) -> tuple[Frame, ...]:  # type: ignore[assignment] - empty
    """What became of each frame, given those that the method gave up."""
    found: list[Frame] = []
    for n, origin in enumerate(series.origins):
        if not series.seen[n]:
            found.append("missing")
        elif origin in lost:
            found.append("lost")
        else:
            found.append("registered" if origin == n else "repeated")
    return tuple(found)
