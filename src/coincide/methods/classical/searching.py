"""What linear methods share that set out from a search over many starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coincide.methods.base import AbstractMethod
from coincide.methods.classical.linear import Linear
from coincide.options import Whole
from coincide.similarity import Similarity


@dataclass(frozen=True)
class Searching(AbstractMethod):
    """What linear methods share that set out from a search over many starts, by normalised mutual information.

    Args:
        model: how far the transform goes.
        starts: rotations in the even spread that is searched (3-D; half as many in 2-D); 0 takes the header alone.

    Raises:
        OptionError: an unknown model.
    """

    model: Literal["translation", "rigid", "similarity", "affine"] = "affine"
    starts: Whole = 200

    def linear(self, similarity: Similarity) -> Linear:
        """The linear registration that finds the start, and may follow `similarity` on."""
        return Linear(self.model, similarity, starts=self.starts)
