"""ORB: fast corners over scale, described by bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coincide.features.keypoints import Keypoints
from coincide.features.packages import opencv
from coincide.features.picture import from_opencv

_FACTOR, _LEVELS = 1.2, 8


def orb(picture: np.ndarray, mask: np.ndarray, number: int, threshold: int, upright: bool) -> Keypoints:
    """Oriented FAST corners with rotated BRIEF descriptors (Rublee et al. 2011, doi:10.1109/ICCV.2011.6126544).

    Args:
        picture: 8 bits, J rows and I columns.
        mask: likewise; where 0, nothing is looked for.
        number: the most key points, the strongest.
        threshold: by how many grey values a corner's ring must differ from its middle.
        upright: take the picture's own axes as the frame of every description; else the direction of the centroid.
    """
    detector = opencv().ORB_create(number, _FACTOR, _LEVELS, fastThreshold=threshold)
    found = detector.detect(picture, mask)
    if upright:
        for keypoint in found:
            keypoint.angle = 0.0
    found, descriptors = detector.compute(picture, found)
    keypoints = from_opencv(found, descriptors)
    # OpenCV multiplies positions on a level by the nominal factor, about the middle of the first pixel; the level was
    # made by the ratio of the sizes in whole pixels, about the corner of the picture
    factors = np.array([_FACTOR**k.octave for k in found]).reshape(-1, 1)
    whole = np.array(picture.shape[::-1])
    ratios = whole / np.round(whole / factors)
    return replace(keypoints, index=(keypoints.index / factors + 0.5) * ratios - 0.5)
