"""Registration of volumes by keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from coincide.errors import DimensionError
from coincide.features.keypoints import Keypoints
from coincide.features.volume import volume_keypoints
from coincide.methods.base import Context, Solution
from coincide.methods.classical.features_options import TurningOptions
from coincide.methods.classical.features_solve import keypoint_parts, solve_by_keypoints
from coincide.methods.classical.features_view import Seen
from coincide.methods.parts import Part
from coincide.options import Positive
from coincide.pair import Pair

_VOXELS = 2e6
"""Voxels beyond which more cost much and bring little."""
_COSTS = 1e-6
"""Processor seconds per voxel that keypoints are looked for in, at most."""


@dataclass(frozen=True)
class Keypoints3d(TurningOptions):
    """3-D: blobs described as SIFT does, or by MIND; finds any rotation of the same anatomy, without a start.

    Args:
        describe: `gradient` for images of one kind; `mind`, with `upright`, where contrasts differ.
        contrast: least height of a blob, as a share of the intensities' range.

    Raises:
        OptionError: an unknown model or description, or a number out of its range.
    """

    describe: Literal["gradient", "mind"] = "gradient"
    contrast: Positive = 0.004

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        spacing = self._spacing(pair)
        volumes = [float(np.prod(i.grid.spacing * i.grid.shape)) for i in (pair.fixed, pair.moving)]
        return keypoint_parts(0.3 + _COSTS * sum(volumes) / spacing**3, self.model)

    def _spacing(self, pair: Pair) -> float:
        return self.spacing or max(_suits(image.grid) for image in (pair.fixed, pair.moving))

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        if pair.dim != 3:
            raise DimensionError(
                f"method 'keypoints3d' registers 3-D images, found {pair.dim}-D ones. Take sift, or another method."
            )

        def detect(seen: Seen) -> Keypoints:
            return volume_keypoints(
                seen.values, seen.mask, self.number, self.contrast, self.upright, self.describe
            )

        spacing = self._spacing(pair)
        return solve_by_keypoints(pair, context, detect, self, (spacing, spacing))


def _suits(grid) -> float:
    """The voxel size (mm) that suits an image: its own mean one, or a larger where it has very many voxels."""
    own = float(np.prod(grid.spacing) ** (1 / 3))
    volume = float(np.prod(grid.spacing * grid.shape))
    return max(own, (volume / _VOXELS) ** (1 / 3))
