"""Registration of volumes by keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from coincide.errors import DimensionError, unknown
from coincide.features.keypoints import Keypoints
from coincide.features.matching import Matching
from coincide.features.volume import volume_keypoints
from coincide.methods.base import AbstractMethod, Context, Solution
from coincide.methods.classical.features import check_options
from coincide.methods.classical.features_solve import solve_by_keypoints
from coincide.methods.classical.features_view import Seen
from coincide.optimise.consensus import Consensus
from coincide.pair import Pair

_VOXELS = 2e6
"""Voxels beyond which more cost much and bring little."""


@dataclass(frozen=True)
class Keypoints3d(AbstractMethod):
    """3-D: blobs described as SIFT does, or by MIND; finds any rotation of the same anatomy, without a start.

    Args:
        model: how far the transform goes.
        describe: `gradient` for images of one kind; `mind`, with `upright`, where contrasts differ.
        number: the most keypoints in each image.
        contrast: least height of a blob, as a share of the intensities' range.
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
        spacing: voxel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model or description, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    describe: Literal["gradient", "mind"] = "gradient"
    number: int = 4000
    contrast: float = 0.004
    upright: bool = False
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.describe not in ("gradient", "mind"):
            raise unknown("description", str(self.describe), ("gradient", "mind"))
        check_options(self.model, self.number, self.contrast, 0.0, self.spacing)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        if pair.dim != 3:
            raise DimensionError(
                f"method 'keypoints3d' registers 3-D images, found {pair.dim}-D ones. Take sift, or another method."
            )

        def detect(seen: Seen) -> Keypoints:
            return volume_keypoints(
                seen.values, seen.mask, self.number, self.contrast, self.upright, self.describe
            )

        spacing = self.spacing or max(_suits(image.grid) for image in (pair.fixed, pair.moving))
        return solve_by_keypoints(
            pair, context, detect, self.model, (spacing, spacing), self.matching, self.consensus
        )


def _suits(grid) -> float:
    """The voxel size (mm) that suits an image: its own mean one, or a larger where it has very many voxels."""
    own = float(np.prod(grid.spacing) ** (1 / 3))
    volume = float(np.prod(grid.spacing * grid.shape))
    return max(own, (volume / _VOXELS) ** (1 / 3))
