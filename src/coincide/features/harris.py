"""Corners of Harris or of Shi and Tomasi over scale, described as SIFT does."""

from __future__ import annotations

import numpy as np

from coincide.features.keypoints import Keypoints
from coincide.features.packages import opencv
from coincide.features.picture import from_opencv
from coincide.features.sift import rooted

_SIZE, _BORDER = 10.0, 8
"""Diameter (pixels of its level) a corner is described over: SIFT's patch is six times as wide. And the least
distance from the border."""


def harris(
    picture: np.ndarray,
    mask: np.ndarray,
    number: int,
    quality: float,
    upright: bool,
    shi_tomasi: bool = False,
    levels: int = 4,
) -> Keypoints:
    """Corners on each level of a pyramid, found to a fraction of a pixel, with RootSIFT descriptors.

    Harris and Stephens 1988, doi:10.5244/C.2.23; Shi and Tomasi 1994, doi:10.1109/CVPR.1994.323794.

    Args:
        picture: 8 bits, J rows and I columns.
        mask: likewise; where 0, nothing is looked for.
        number: the most key points; each level gets its share, the finest the largest.
        quality: least response, as a share of the level's largest.
        upright: take the picture's own axes as the frame of every description; else the direction of the centroid.
        shi_tomasi: rank by the smaller eigenvalue of the structure tensor, not by Harris' measure.
        levels: of the pyramid, each coarser by the root of two.
    """
    cv2, found = opencv(), []
    shares = 0.5 ** np.arange(levels)
    for level, share in enumerate(shares / shares.sum()):
        factor = 2 ** (level / 2)
        size = [max(1, round(n / factor)) for n in picture.shape[::-1]]
        if min(size) < 4 * _BORDER:
            break
        smooth = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        corners = _corners(cv2, smooth, inside, max(8, int(number * share)), quality, not shi_tomasi)
        angles = np.zeros(len(corners)) if upright else _directions(smooth, corners)
        scale = np.array(picture.shape[::-1]) / size
        places = (corners + 0.5) * scale - 0.5
        found += [
            cv2.KeyPoint(float(x), float(y), _SIZE * factor, float(angle), octave=_octave(factor))
            for (x, y), angle in zip(places, angles)
        ]
    return from_opencv(*rooted(cv2.SIFT_create(), found, picture, upright))


def _corners(cv2, picture, mask, number: int, quality: float, by_harris: bool) -> np.ndarray:
    found = cv2.goodFeaturesToTrack(
        picture, number, quality, 3, mask=mask, blockSize=5, useHarrisDetector=by_harris, k=0.04
    )
    if found is None:
        return np.zeros((0, 2), np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 30, 0.01)
    found = cv2.cornerSubPix(picture, found, (4, 4), (-1, -1), stop)[:, 0]
    rows, columns = picture.shape
    within = ((found >= _BORDER) & (found < (columns - _BORDER, rows - _BORDER))).all(1)
    return found[within]


def _directions(picture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Direction from each corner to the centroid of the grey values round it, degrees."""
    from skimage.feature import corner_orientations

    ring = np.arange(-_BORDER + 1, _BORDER)
    disc = (ring[:, None] ** 2 + ring**2 < _BORDER**2).astype(np.uint8)
    nearest = np.floor(corners[:, ::-1] + 0.5).astype(np.intp)
    return np.rad2deg(corner_orientations(picture, nearest, disc)) % 360


def _octave(factor: float) -> int:
    """The octave and layer of SIFT's own scale space nearest to a pyramid level, packed as OpenCV packs them."""
    octave = int(np.floor(np.log2(factor) + 0.25))
    return (octave & 255) | (1 << 8)
