"""What the methods share whose network sees a start, which the linear optimiser then refines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from coincide.errors import OptionError
from coincide.image import Image
from coincide.methods.base import AbstractMethod
from coincide.methods.classical.linear import Linear, Starts
from coincide.methods.recorder import Recorder
from coincide.optimise.linear import Problem
from coincide.optimise.starts import Start, apart, distinct, refine, rotations, scored
from coincide.options import Count, Whole
from coincide.pair import Pair
from coincide.preprocess.foreground import Moments, bounding_box, foreground_weights
from coincide.preprocess.shrink import shrink
from coincide.similarity import NMI, Similarity
from coincide.transforms.linear import Affine

_FOLLOWED, _DISTINCT = 8, 0.15
"""How many starts are refined, and how far apart they are, as a share of the size of the anatomy."""


@dataclass(frozen=True)
class StartOptions(AbstractMethod):
    """What the methods share by which a network sees a start that the linear optimiser refines.

    Args:
        model: `"rigid"`, `"similarity"` or `"affine"`.
        similarity: followed by the optimiser.
        looks: how often the network looks at the moving image in a row, each time as turned by what it found before.
        turns: how many ways the moving image is turned for the first look, beside as it stands.
        weights: a file that `coincide train` wrote; those that come with coincide where empty.

    Raises:
        OptionError: fewer than one look or 0 turns, or a similarity whose features do not turn with the image.
    """

    heeds_lesions: ClassVar[bool] = True
    model: Literal["rigid", "similarity", "affine"] = "affine"
    similarity: Similarity = NMI()  # noqa: RUF009 - frozen
    looks: Count = 2
    turns: Whole = 12
    weights: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._linear  # noqa: B018 - it refuses what it cannot follow

    @property
    def _linear(self) -> Linear:
        return Linear(self.model, self.similarity)

    def _header(self, pair: Pair) -> np.ndarray:
        """What the headers, or the initial transform, say: fixed-world mm → moving-world mm.

        Raises:
            OptionError: a deformable initial transform.
        """
        if pair.initial is None:
            return np.eye(pair.dim + 1)
        if not isinstance(pair.initial, Affine):
            raise OptionError(
                f"a {self.model} registration cannot start from a deformable initial transform. Give a linear one, or "
                "none."
            )
        return pair.initial.matrix

    def _turned(self, header: np.ndarray) -> list[np.ndarray]:
        """The ways the moving image is turned for the first look, as it stands by its header first."""
        dim = len(header) - 1
        return [header[:dim, :dim] @ turn for turn in rotations(dim, max(self.turns, 1))[: self.turns + 1]]

    def _starts(
        self,
        images: tuple[Image, Image],
        masses: tuple[Moments, Moments],
        header: np.ndarray,
        seen: Sequence[np.ndarray],
        recorder: Recorder,
    ) -> Starts:
        """What the network found and what the headers say, refined at the coarsest level, the best ones first.

        Args:
            images: fixed and moving, normalised.
            masses: where their brightness lies.
            header: matrix of the headers' start.
            seen: those of the network's.
            recorder: of the run.
        """
        found = [Start(header, "headers")] + [Start(matrix, "network") for matrix in seen]
        frame, problem, found = self._scored(images, masses, found)
        if not found:
            return frame
        worst = self._linear.search.worst
        best = distinct(found, frame.probes, _DISTINCT * frame.radius, _FOLLOWED)
        early = "similarity" if self.model == "affine" else self.model
        kept = refine(problem, best, early, frame.centre, frame.radius, 20, worst)
        kept = distinct(kept, frame.probes, _DISTINCT * frame.radius, len(kept))
        moved = apart(kept[0].matrix, header, frame.probes)
        recorder.evidence |= {"start_score": kept[0].score}
        which = "that of the headers" if kept[0].origin == "headers" else "one of the network"
        recorder.decide(
            f"Of {len(seen)} starts that the network saw and that of the headers, {which} won, "
            f"{moved:.0f} mm from where the headers put it."
        )
        return replace(frame, found=tuple(kept))

    def _scored(
        self, images: tuple[Image, Image], masses: tuple[Moments, Moments], found: list[Start]
    ) -> tuple[Starts, Problem, list[Start]]:
        """The frame of the coarsest level without starts, the level, and those of `found` that overlap, with scores."""
        linear, (fixed, moving) = self._linear, images
        box = bounding_box(foreground_weights(fixed))
        spacing, grid = linear.levels(fixed, box)[0]
        problem = Problem.of(linear.search, shrink(fixed, spacing, grid), shrink(moving, spacing))
        worst = linear.search.worst
        told = [start for start in scored(problem, found, worst) if start.score < worst]
        return Starts.none(*masses, box), problem, told
