"""The options that methods by keypoints share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coincide.features.matching import Matching
from coincide.methods.base import AbstractMethod
from coincide.optimise.consensus import Consensus
from coincide.options import Count, NotNegative

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
    number: Count = 4000
    spacing: NotNegative = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class TurningOptions(KeypointOptions):
    """What methods share whose descriptions turn with the image, unless they are told not to.

    Args:
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
    """

    upright: bool = False
