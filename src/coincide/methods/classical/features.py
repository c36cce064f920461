"""Registration of pictures by keypoints: five detectors, one way from their keypoints to a transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coincide.errors import DimensionError, OptionError, unknown
from coincide.features.keypoints import Keypoints
from coincide.features.matching import Matching
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution
from coincide.methods.classical.features_solve import MODELS, solve_by_keypoints
from coincide.methods.classical.features_view import Seen
from coincide.optimise.consensus import Consensus
from coincide.pair import Pair

_LARGEST, _SMALLEST = 1000.0, 500.0
"""Pixels across a picture beyond which more cost much and bring little, and below which too few are left."""


@dataclass(frozen=True)
class Sift(AbstractMethod):
    """2-D: SIFT keypoints; finds any rotation, scale and brightness of the same picture.

    Args:
        model: how far the transform goes.
        number: the most keypoints in each image.
        contrast: least height of a blob, as a share of the grey values' range.
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
        equalise: clip limit of the equalisation of local contrast (CLAHE) before; 0 leaves it out.
        spacing: pixel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    number: int = 4000
    contrast: float = 0.02
    upright: bool = False
    equalise: float = 3.0
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        check_options(self.model, self.number, self.contrast, self.equalise, self.spacing)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        from coincide.features.sift import sift

        def detect(picture: np.ndarray, mask: np.ndarray) -> Keypoints:
            return sift(picture, mask, self.number, self.contrast, self.upright)

        return _solve(self, pair, context, detect)


@dataclass(frozen=True)
class Orb(AbstractMethod):
    """2-D: ORB keypoints; the fastest, for images of one kind whose scales differ little.

    Args:
        model: how far the transform goes.
        number: the most keypoints in each image.
        threshold: by how many grey values of 255 a corner stands out.
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
        equalise: clip limit of the equalisation of local contrast (CLAHE) before; 0 leaves it out.
        spacing: pixel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    number: int = 4000
    threshold: int = 10
    upright: bool = False
    equalise: float = 3.0
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        check_options(self.model, self.number, self.threshold, self.equalise, self.spacing)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        from coincide.features.orb import orb

        def detect(picture: np.ndarray, mask: np.ndarray) -> Keypoints:
            return orb(picture, mask, self.number, self.threshold, self.upright)

        return _solve(self, pair, context, detect)


@dataclass(frozen=True)
class Akaze(AbstractMethod):
    """2-D: AKAZE keypoints; blobs in a scale space that keeps edges sharp.

    Args:
        model: how far the transform goes.
        number: the most keypoints in each image.
        threshold: least response of a blob.
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
        equalise: clip limit of the equalisation of local contrast (CLAHE) before; 0 leaves it out.
        spacing: pixel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    number: int = 4000
    threshold: float = 0.0002
    upright: bool = False
    equalise: float = 3.0
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        check_options(self.model, self.number, self.threshold, self.equalise, self.spacing)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        from coincide.features.akaze import akaze

        def detect(picture: np.ndarray, mask: np.ndarray) -> Keypoints:
            return akaze(picture, mask, self.number, self.threshold, self.upright)

        return _solve(self, pair, context, detect)


@dataclass(frozen=True)
class Harris(AbstractMethod):
    """2-D: corners of Harris, or of Shi and Tomasi, on several scales, described as SIFT does.

    Args:
        model: how far the transform goes.
        corner: the measure that corners are ranked by.
        number: the most keypoints in each image.
        quality: least response of a corner, as a share of the largest.
        upright: trust the images' orientation; finds more, where they are turned by less than some 20°.
        equalise: clip limit of the equalisation of local contrast (CLAHE) before; 0 leaves it out.
        spacing: pixel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model or corner, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    corner: Literal["harris", "shi_tomasi"] = "shi_tomasi"
    number: int = 4000
    quality: float = 0.01
    upright: bool = False
    equalise: float = 3.0
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.corner not in ("harris", "shi_tomasi"):
            raise unknown("corner", str(self.corner), ("harris", "shi_tomasi"))
        check_options(self.model, self.number, self.quality, self.equalise, self.spacing)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        from coincide.features.harris import harris

        def detect(picture: np.ndarray, mask: np.ndarray) -> Keypoints:
            by_eigenvalue = self.corner == "shi_tomasi"
            return harris(picture, mask, self.number, self.quality, self.upright, by_eigenvalue)

        return _solve(self, pair, context, detect)


@dataclass(frozen=True)
class Surf(AbstractMethod):
    """2-D: SURF keypoints of mahotas; good to about a pixel, less sure of rotations than the others.

    Args:
        model: how far the transform goes.
        number: the most keypoints in each image.
        threshold: least response of a blob.
        equalise: clip limit of the equalisation of local contrast (CLAHE) before; 0 leaves it out.
        spacing: pixel size that is looked at, mm; 0 decides from the images.
        matching: how keypoints are matched: `matching(search=brute|flann,ratio=0.95,cross=true)`.
        consensus: how those that agree are found: `consensus(kind=contrario|magsac|ransac,tolerance=0,…)`.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    model: Literal["rigid", "similarity", "affine", "thin_plate"] = "similarity"
    number: int = 4000
    threshold: float = 0.1
    equalise: float = 3.0
    spacing: float = 0.0
    matching: Matching = Matching()  # noqa: RUF009 - frozen
    consensus: Consensus = Consensus()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        check_options(self.model, self.number, self.threshold, self.equalise, self.spacing)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        from coincide.features.surf import surf

        def detect(picture: np.ndarray, mask: np.ndarray) -> Keypoints:
            return surf(picture, mask, self.number, self.threshold)

        return _solve(self, pair, context, detect)


Detector = Callable[[np.ndarray, np.ndarray], Keypoints]


def _solve(options, pair: Pair, context: Context, detector: Detector) -> Solution:
    from coincide.features.picture import as_picture, as_rows

    if pair.dim != 2:
        raise DimensionError(
            f"method {type(options).__name__.lower()!r} registers 2-D images, found {pair.dim}-D ones. "
            "Take keypoints3d, or another method."
        )

    def detect(seen: Seen) -> Keypoints:
        return detector(as_picture(seen.values, options.equalise), as_rows(seen.mask))

    spacings = look_at(pair.fixed, pair.moving, options.spacing)
    return solve_by_keypoints(
        pair, context, detect, options.model, spacings, options.matching, options.consensus
    )


def look_at(fixed: Image, moving: Image, spacing: float) -> tuple[float, float]:
    """Pixel sizes (mm) that two pictures are looked at with: alike, unless their sizes differ too much for that."""
    if spacing > 0:
        return spacing, spacing
    own = [float(image.grid.spacing.min()) for image in (fixed, moving)]
    across = [float(np.ptp(image.grid.corners, axis=0).max()) for image in (fixed, moving)]
    common = max(*own, *(size / _LARGEST for size in across))
    first, second = (max(o, min(common, size / _SMALLEST)) for o, size in zip(own, across))
    return first, second


def check_options(model: str, number: int, threshold: float, equalise: float, spacing: float) -> None:
    """Refuse what no detector can do.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """
    if model not in MODELS:
        raise unknown("model", str(model), MODELS)
    for name, value in (("number of keypoints", number), ("threshold", threshold)):
        if not value > 0:
            raise OptionError(f"the {name} must be above 0, found {value}.")
    for name, value in (("equalise", equalise), ("spacing", spacing)):
        if not value >= 0:
            raise OptionError(f"{name} must be 0 or more, found {value}.")
