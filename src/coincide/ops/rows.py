"""Which stretch of each row of a volume there is anything to do in: half of a head's volume is air.

Stretches are an array `(2, i, j)`, int64, of the first position and of the one after the last, along k, of the hull
of what counts; both are equal where nothing does.
"""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel, run


def where(volume: np.ndarray, above: float) -> np.ndarray:
    """The stretches that hold what is larger than `above` in `volume` `(i, j, k)`."""
    stretch = np.zeros((2, *volume.shape[:2]), np.int64)
    run(_where, volume.shape[0], volume, above, stretch)
    return stretch


def grown(stretch: np.ndarray, radius: int, size: int) -> np.ndarray:
    """Stretches that hold all that is within `radius` along each axis of what is in `stretch`; rows have `size`."""
    empty = stretch[0] == stretch[1]
    first, last = np.where(empty, size, stretch[0]), np.where(empty, 0, stretch[1])
    for axis in (0, 1):
        first, last = _extreme(first, radius, axis, np.minimum), _extreme(last, radius, axis, np.maximum)
    found = first < last
    first, last = np.maximum(first - radius, 0), np.minimum(last + radius, size)
    return np.stack([np.where(found, first, 0), np.where(found, last, 0)])


def _extreme(values: np.ndarray, radius: int, axis: int, extreme: np.ufunc) -> np.ndarray:
    """The extreme of `values` within `radius` along `axis`."""
    values = np.moveaxis(values, axis, 0)
    out = values.copy()
    for shift in range(1, min(radius, len(values) - 1) + 1):
        extreme(out[shift:], values[:-shift], out=out[shift:])
        extreme(out[:-shift], values[shift:], out=out[:-shift])
    return np.moveaxis(out, 0, axis)


@kernel
def _where(low, high, volume, above, stretch):
    _, nj, nk = volume.shape
    for i in range(low, high):
        for j in range(nj):
            first, last = 0, nk
            while first < nk and not volume[i, j, first] > above:
                first += 1
            while last > first and not volume[i, j, last - 1] > above:
                last -= 1
            stretch[0, i, j], stretch[1, i, j] = first, last
