"""SIFT: blobs over scale, described by the directions of the gradients round them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincide.features.keypoints import Keypoints
from coincide.features.packages import opencv
from coincide.features.picture import from_opencv


def sift(picture: np.ndarray, mask: np.ndarray, number: int, contrast: float, upright: bool) -> Keypoints:
    """Extrema of the difference of Gaussians, with RootSIFT descriptors.

    Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94; the root is of Arandjelović and Zisserman 2012,
    doi:10.1109/CVPR.2012.6248018.

    Args:
        picture: 8 bits, J rows and I columns.
        mask: likewise; where 0, nothing is looked for.
        number: the most key points, the strongest.
        contrast: least height of an extremum, as a share of the grey values' range.
        upright: take the picture's own axes as the frame of every description; else the main gradient direction.
    """
    # without the precise doubling all positions are off by a quarter of a pixel
    detector = opencv().SIFT_create(number, 3, contrast, 10, 1.6, True)
    return from_opencv(*rooted(detector, detector.detect(picture, mask), picture, upright))


def rooted(detector, found: Sequence, picture: np.ndarray, upright: bool):
    """OpenCV's key points `found` with the roots of their SIFT descriptors; turned upright first where wanted."""
    if upright:
        for keypoint in found:
            keypoint.angle = 0.0
        # a place with several main directions comes once for each
        found = list({(k.pt, k.size): k for k in found}.values())
    found, descriptors = detector.compute(picture, found)
    if descriptors is None:
        return (), None
    total = np.maximum(descriptors.sum(1, keepdims=True), 1e-6)
    return found, np.sqrt(descriptors / total).astype(np.float32)
