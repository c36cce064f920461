"""What a method is: a way to find the transform of a pair."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from coincide.features.matches import Matches
from coincide.image import Image
from coincide.methods.parts import Part
from coincide.optimise.progress import Progress, silent
from coincide.options import Checked
from coincide.pair import Pair
from coincide.transforms.base import Transform


class Status(enum.Enum):
    """How a method ended; the value is the sentence a person reads."""

    SUCCEEDED = "The method ran to its end."
    NO_OVERLAP = "The images stopped overlapping; give an initial transform, or check the headers."
    DIVERGED = "The similarity never improved on the start; check that both images show the same anatomy."
    NO_INFORMATION = "The images hold too little structure to register inside their masks."
    NO_CORRESPONDENCE = (
        "Too few places of the two images could be found to correspond; check that both show the same anatomy, "
        "or take a method that compares intensities, such as auto."
    )


@dataclass(frozen=True)
class Step:
    """One recorded iteration: where it was, the similarity's value there (lower is better), seconds since the start."""

    stage: str
    level: int
    iteration: int
    value: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Solution:
    """What a method found.

    Args:
        transform: fixed-world mm → moving-world mm.
        inverse: moving-world mm → fixed-world mm, where the method has it; else it is computed from `transform`.
        status: how the method ended.
        trace: the recorded iterations.
        decisions: what was decided and why, a sentence each.
        evidence: numbers that help to judge the result (the margin by which the winning start won, …).
        seconds: wall-clock time by stage.
        matches: the pairs of points a feature method worked with, or None.
        uncertainty: standard deviation of where each fixed point goes, along each axis of the fixed world, mm: a
            channel an axis, on a grid of its own; or None.
        ran: the method that ran in the end, with what was decided in the place of what was left open; None where it
            ran as it was asked to.
    """

    transform: Transform
    inverse: Transform | None = None
    status: Status = Status.SUCCEEDED
    trace: tuple[Step, ...] = ()
    decisions: tuple[str, ...] = ()
    evidence: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    matches: Matches | None = None
    uncertainty: Image | None = None
    ran: AbstractMethod | None = None


@dataclass(frozen=True)
class Context:
    """What a run is given beside the pair: where to report to, where the randomness comes from, where to compute."""

    progress: Progress = silent
    seed: int = 0
    device: str = "cpu"


class AbstractMethod(Checked, ABC):
    """A way to find the transform of a pair. A frozen dataclass of its options; final, and without state.

    Raises:
        OptionError: an option of another type, not finite, or out of the range its type states.
    """

    follows_landmarks: ClassVar[bool] = False
    """Whether landmarks steer it by its nature, so that nobody need ask for it."""

    heeds_lesions: ClassVar[bool] = False
    """Whether it leaves the pair's lesions out of what it compares."""

    @property
    def steered_by(self) -> tuple[str, ...]:
        """What of the pair steers it when its option `use_landmarks` is set: `"landmarks"`, `"labels"`.

        Landmarks pull at a deformation; a method that is steered otherwise says so.
        """
        return ("landmarks",) if getattr(self, "transform", "deformable") == "deformable" else ()

    def parts(self, pair: Pair) -> tuple[Part, ...]:  # noqa: ARG002 - the methods that know need it
        """What a run on `pair` consists of, in its order, and how long each takes at most; none where it cannot say."""
        return ()

    @abstractmethod
    def solve(self, pair: Pair, context: Context = Context()) -> Solution:
        """Find the transform that carries the fixed world (mm) onto the moving world (mm).

        Never touches a file and never prints. A failure that is no bug comes back as a `Status`.

        Raises:
            InputError: the pair cannot be registered by this method, whatever the options.
        """
