"""AKAZE: blobs in a scale space that keeps edges, described by bits."""

from __future__ import annotations

import numpy as np

from coincide.features.keypoints import Keypoints
from coincide.features.packages import opencv
from coincide.features.picture import from_opencv


def akaze(picture: np.ndarray, mask: np.ndarray, number: int, threshold: float, upright: bool) -> Keypoints:
    """Extrema of the Hessian in a non-linear scale space, with M-LDB descriptors.

    Alcantarilla et al. 2013, doi:10.5244/C.27.13.

    Args:
        picture: 8 bits, J rows and I columns.
        mask: likewise; where 0, nothing is looked for.
        number: the most key points, the strongest.
        threshold: least response of the Hessian's determinant.
        upright: take the picture's own axes as the frame of every description; else the main gradient direction.
    """
    cv2 = opencv("AKAZE_create")
    kind = cv2.AKAZE_DESCRIPTOR_MLDB_UPRIGHT if upright else cv2.AKAZE_DESCRIPTOR_MLDB
    detector = cv2.AKAZE_create(descriptor_type=kind, threshold=threshold)
    found = sorted(detector.detect(picture, mask), key=lambda k: -k.response)[:number]
    return from_opencv(*detector.compute(picture, found))
