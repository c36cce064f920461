"""Registration of pictures by keypoints: five detectors, one way from their keypoints to a transform."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coincide.errors import DimensionError
from coincide.features.keypoints import Keypoints
from coincide.image import Image
from coincide.methods.base import Context, Solution
from coincide.methods.classical.features_options import KeypointOptions, TurningOptions
from coincide.methods.classical.features_solve import keypoint_parts, solve_by_keypoints
from coincide.methods.classical.features_view import Seen
from coincide.methods.parts import Part
from coincide.options import Count, NotNegative, Positive
from coincide.pair import Pair

_LARGEST, _SMALLEST = 1000.0, 500.0
"""Pixels across a picture beyond which more cost much and bring little, and below which too few are left."""
_COSTS = 1.5e-6
"""Processor seconds per pixel that keypoints are looked for in, at most."""


@dataclass(frozen=True)
class PictureKeypoints(KeypointOptions):
    """What methods by keypoints of pictures share: all but the detector.

    Args:
        equalise: clip limit of the equalisation of local contrast (CLAHE) before; 0 leaves it out.
    """

    equalise: NotNegative = 3.0

    @abstractmethod
    def detect(self, picture: np.ndarray, mask: np.ndarray) -> Keypoints:
        """The keypoints of a picture, 8 bits, J rows and I columns; where the mask is 0, nothing is looked for."""

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        spacings = look_at(pair.fixed, pair.moving, self.spacing)
        areas = [float(np.prod(i.grid.spacing * i.grid.shape)) for i in (pair.fixed, pair.moving)]
        pixels = sum(area / spacing**2 for area, spacing in zip(areas, spacings))
        return keypoint_parts(0.3 + _COSTS * pixels, self.model)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        from coincide.features.picture import as_picture, as_rows

        if pair.dim != 2:
            raise DimensionError(
                f"method {type(self).__name__.lower()!r} registers 2-D images, found {pair.dim}-D ones. "
                "Take keypoints3d, or another method."
            )

        def detect(seen: Seen) -> Keypoints:
            return self.detect(as_picture(seen.values, self.equalise), as_rows(seen.mask))

        return solve_by_keypoints(pair, context, detect, self, look_at(pair.fixed, pair.moving, self.spacing))


@dataclass(frozen=True)
class Sift(PictureKeypoints, TurningOptions):
    """2-D: SIFT keypoints; finds any rotation, scale and brightness of the same picture.

    Args:
        contrast: least height of a blob, as a share of the grey values' range.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    contrast: Positive = 0.02

    def detect(self, picture: np.ndarray, mask: np.ndarray) -> Keypoints:
        from coincide.features.sift import sift

        return sift(picture, mask, self.number, self.contrast, self.upright)


@dataclass(frozen=True)
class Orb(PictureKeypoints, TurningOptions):
    """2-D: ORB keypoints; the fastest, for images of one kind whose scales differ little.

    Args:
        threshold: by how many grey values of 255 a corner stands out.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    threshold: Count = 10

    def detect(self, picture: np.ndarray, mask: np.ndarray) -> Keypoints:
        from coincide.features.orb import orb

        return orb(picture, mask, self.number, self.threshold, self.upright)


@dataclass(frozen=True)
class Akaze(PictureKeypoints, TurningOptions):
    """2-D: AKAZE keypoints; blobs in a scale space that keeps edges sharp.

    Args:
        threshold: least response of a blob.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    threshold: Positive = 0.0002

    def detect(self, picture: np.ndarray, mask: np.ndarray) -> Keypoints:
        from coincide.features.akaze import akaze

        return akaze(picture, mask, self.number, self.threshold, self.upright)


@dataclass(frozen=True)
class Harris(PictureKeypoints, TurningOptions):
    """2-D: corners of Harris, or of Shi and Tomasi, on several scales, described as SIFT does.

    Args:
        corner: the measure that corners are ranked by.
        quality: least response of a corner, as a share of the largest.

    Raises:
        OptionError: an unknown model or corner, or a number out of its range.
    """

    corner: Literal["harris", "shi_tomasi"] = "shi_tomasi"
    quality: Positive = 0.01

    def detect(self, picture: np.ndarray, mask: np.ndarray) -> Keypoints:
        from coincide.features.harris import harris

        by_eigenvalue = self.corner == "shi_tomasi"
        return harris(picture, mask, self.number, self.quality, self.upright, by_eigenvalue)


@dataclass(frozen=True)
class Surf(PictureKeypoints):
    """2-D: SURF keypoints of mahotas; good to about a pixel, less sure of rotations than the others.

    Args:
        threshold: least response of a blob.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    threshold: Positive = 0.1

    def detect(self, picture: np.ndarray, mask: np.ndarray) -> Keypoints:
        from coincide.features.surf import surf

        return surf(picture, mask, self.number, self.threshold)


def look_at(fixed: Image, moving: Image, spacing: float) -> tuple[float, float]:
    """Pixel sizes (mm) that two pictures are looked at with: alike, unless their sizes differ too much for that."""
    if spacing > 0:
        return spacing, spacing
    own = [float(image.grid.spacing.min()) for image in (fixed, moving)]
    across = [float(np.ptp(image.grid.corners, axis=0).max()) for image in (fixed, moving)]
    common = max(*own, *(size / _LARGEST for size in across))
    first, second = (max(o, min(common, size / _SMALLEST)) for o, size in zip(own, across))
    return first, second
