"""How strong the noise of an image is, seen from what neighbours do not share."""

from __future__ import annotations

import numpy as np

_NORMAL = 1.4826
"""Standard deviation of a normal distribution, by the median of its absolute values."""


def noise_sd(values: np.ndarray, known: np.ndarray | None = None) -> float:
    """Standard deviation of white noise, in the image's unit; structure finer than two voxels counts as noise.

    Each voxel less the mean of its neighbours along the axes has, scaled, the noise's variance (pseudo-residuals,
    Gasser et al. 1986, doi:10.1093/biomet/73.3.625); the median of their sizes is little moved by edges. Voxels that
    equal all their neighbours, as those of air that was set to zero, are left out.

    Args:
        values: `(*shape)`.
        known: `(*shape)` bool, the voxels that count with their neighbours; all where left out.
    """
    axes = [axis for axis, n in enumerate(values.shape) if n >= 3]
    inner = tuple(slice(1, -1) if axis in axes else slice(None) for axis in range(values.ndim))
    if not axes:
        return 0.0
    known = np.ones(values.shape, bool) if known is None else known
    total, counted = np.zeros(values[inner].shape), known[inner].copy()
    for axis in axes:
        for side in (slice(0, -2), slice(2, None)):
            there = tuple(side if a == axis else s for a, s in enumerate(inner))
            total += values[there]
            counted &= known[there]
    number = 2 * len(axes)
    left = (values[inner] - total / number)[counted] * np.sqrt(number / (number + 1))
    left = np.abs(left[left != 0])
    return float(_NORMAL * np.median(left)) if left.size else 0.0
