"""Pictures as the two-dimensional detectors want them: 8 bits, rows first, local contrast evened out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincide.features.keypoints import Keypoints
from coincide.features.packages import opencv

_TILES = 8


def as_picture(values: np.ndarray, equalise: float) -> np.ndarray:
    """`(I, J)` values from 0 to 1 as an 8-bit picture of J rows and I columns.

    Args:
        values: what lies beyond 0 and 1 is cut off.
        equalise: clip limit of the contrast-limited adaptive histogram equalisation (Zuiderveld 1994); 0 leaves it
            out.
    """
    grey = np.ascontiguousarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8).T)
    return opencv().createCLAHE(equalise, (_TILES, _TILES)).apply(grey) if equalise > 0 else grey


def as_rows(mask: np.ndarray) -> np.ndarray:
    """An `(I, J)` mask as the detectors want it."""
    return np.ascontiguousarray(mask.T).astype(np.uint8)


def from_opencv(found: Sequence, descriptors: np.ndarray | None) -> Keypoints:
    """OpenCV's key points (columns before rows) as ours.

    Args:
        found: OpenCV's key points.
        descriptors: one row each, or None where there are none.
    """
    index = np.array([k.pt for k in found], np.float64).reshape(-1, 2)
    size = np.array([k.size for k in found], np.float64)
    return Keypoints(
        index, size, np.zeros((len(index), 0), np.float32) if descriptors is None else descriptors
    )
