"""The options that methods by keypoints share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from coincide.errors import OptionError, unknown
from coincide.features.matching import Matching
from coincide.methods.base import AbstractMethod
from coincide.optimise.consensus import Consensus

Reach = Literal["rigid", "similarity", "affine", "thin_plate"]


@dataclass(frozen=True)
class KeypointOptions(AbstractMethod):
    """What all methods by keypoints share.

    Args:
        model: how far the transform goes.
        number: the most keypoints in each image.
        spacing: pixel or voxel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    number: int = 4000
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.model not in get_args(Reach):
            raise unknown("model", str(self.model), get_args(Reach))
        self._check("number", above=True)
        self._check("spacing", above=False)

    def _check(self, name: str, above: bool) -> None:
        """Refuse an option that is not above 0, or, where 0 is allowed, one below."""
        value = getattr(self, name)
        if not (value > 0 if above else value >= 0):
            raise OptionError(f"{name} must be {'above 0' if above else '0 or more'}, found {value}.")


@dataclass(frozen=True)
class TurningOptions(KeypointOptions):
    """What methods share whose descriptions turn with the image, unless they are told not to.

    Args:
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
    """

    upright: bool = False
