"""Closed curves in the plane: outlines in world mm, all turning the same way."""

from __future__ import annotations

import numpy as np

from coincide.features.surface import Levels

_SMALL = 0.02
"""Share of the largest area from which on a curve counts."""


def closed_contours(levels: Levels) -> list[np.ndarray]:
    """The outlines in a picture, the one round the largest area first, `(number, 2)` world mm each.

    They turn counter-clockwise (holes too), are closed (the first point is not repeated), and run along the border
    where it cuts them off.
    """
    from skimage.measure import find_contours

    outside = min(float(levels.values.min()), levels.level) - 1.0
    values = np.pad(levels.values, 1, constant_values=outside)
    # on the border itself, not somewhere between it and what was put round it
    lines = [
        np.clip(line - 1, 0, np.array(levels.values.shape) - 1)
        for line in find_contours(values, levels.level)
    ]
    found = [levels.grid.world(line[:-1]) for line in lines if len(line) > 3]
    found = [line if area(line) > 0 else line[::-1] for line in found]
    found = sorted(found, key=area, reverse=True)
    return [line for line in found if area(line) > _SMALL * area(found[0])]


def area(contour: np.ndarray) -> float:
    """The area a closed curve goes round, mm², positive where it goes counter-clockwise."""
    x, y = (contour - contour[0]).T
    return float(0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def even(contour: np.ndarray, number: int) -> np.ndarray:
    """So many points at equal distances along a closed curve, from its first point on."""
    closed = np.concatenate([contour, contour[:1]])
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))]
    at = np.arange(number) * along[-1] / number
    return np.stack([np.interp(at, along, axis) for axis in closed.T], axis=1)
