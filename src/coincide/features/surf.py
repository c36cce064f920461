"""SURF: blobs found with box filters, described by sums of wavelet responses."""

from __future__ import annotations

import numpy as np

from coincide.features.keypoints import Keypoints, inside
from coincide.features.packages import mahotas_surf, opencv

_LEVELS, _SCALES, _LEAST = 4, 6, 32
"""Levels of the pyramid, filter sizes on each, and pixels that a level has at least."""


def surf(picture: np.ndarray, mask: np.ndarray, number: int, threshold: float) -> Keypoints:
    """Extrema of the box-filtered Hessian with SURF descriptors (Bay et al. 2008, doi:10.1016/j.cviu.2007.09.014).

    Args:
        picture: 8 bits, J rows and I columns.
        mask: likewise; where 0, nothing is looked for.
        number: the most key points, the strongest.
        threshold: least response of the Hessian's determinant.
    """
    cv2, found = opencv(), [np.zeros((0, 3 + 1 + 64))]
    for level in range(_LEVELS):
        size = [max(1, round(n / 2**level)) for n in picture.shape[::-1]]
        if min(size) < _LEAST:
            break
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        scale = np.array(picture.shape) / small.shape
        rows = _level(small, number, threshold)
        rows[:, :2] = (rows[:, :2] + 0.5) * scale - 0.5
        rows[:, 2] *= 2**level
        found.append(rows)
    rows = np.concatenate(found)
    rows = rows[inside(rows[:, :2], mask > 0)]
    rows = rows[np.argsort(-rows[:, 3], kind="stable")[:number]]
    return Keypoints(rows[:, 1::-1].copy(), 2 * rows[:, 2], rows[:, 4:].astype(np.float32))


def _level(picture: np.ndarray, number: int, threshold: float) -> np.ndarray:
    """Row, column, scale, response and descriptor of the key points of one octave."""
    module = mahotas_surf()
    found = module.interest_points(picture, 1, _SCALES, 1, threshold=threshold, max_points=number)
    if not len(found):
        return np.zeros((0, 3 + 1 + 64))
    rows = module.descriptors(picture, found)
    # mahotas moves each position from the voxel it was found at by the right fraction the wrong way
    places = 2 * np.floor(rows[:, :2] + 0.5) - rows[:, :2]
    return np.hstack([places, rows[:, 2:4], rows[:, 6:]])
