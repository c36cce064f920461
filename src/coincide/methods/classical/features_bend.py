"""From doubtful pairs of points to a thin-plate spline: a pair counts if its neighbours bear it out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coincide.errors import PointsError
from coincide.grid import Grid
from coincide.transforms.thin_plate import ThinPlate, fit_thin_plate, left_out

_NEIGHBOURS = 12
"""Pairs nearest by, whose median says where a pair's partner ought to lie."""
_TOLERANCES = 0.5 ** (np.arange(14) / 2)
"""Tolerances that are tried, as shares of the reach partners were looked for within."""
_ROUNDS, _MOST = 5, 400
"""Refits, and pairs a spline is fitted to: more cost much and bring little."""
_STIFFNESSES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def bend(
    source, target, first: Callable[[np.ndarray], np.ndarray], reach: float, grid: Grid
) -> tuple[ThinPlate, np.ndarray, float] | None:
    """The thin-plate spline most pairs of points lie near, or None where too few bear each other out.

    Args:
        source: `(number, dim)` points, fixed-world mm, the surest first.
        target: their supposed partners, moving-world mm, near where `first` puts the points.
        first: fixed-world mm → moving-world mm, of points, what told where to look for partners.
        reach: how near, mm.
        grid: of the fixed world, as in `ThinPlate`.

    Returns:
        The spline; `(number,)` which pairs bear it; and its stiffness, the one that foretells left-out pairs best.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    dim = source.shape[1]
    if len(source) < 2 * _NEIGHBOURS:
        return None
    apart = _from_neighbours(source, target - first(source))
    keep = apart < _tolerance(apart, reach, dim)
    found = None
    for _ in range(_ROUNDS):
        chosen = _spread(source, keep)
        if len(chosen) < 4 * (dim + 1):
            return None
        try:
            stiffness, missed = _stiffness(source[chosen], target[chosen])
            spline = fit_thin_plate(source[chosen], target[chosen], stiffness, grid=grid)
        except PointsError:
            return None
        apart = np.linalg.norm(spline(source) - target, axis=1)
        apart[chosen] = missed
        kept, keep = keep, apart < _tolerance(apart, reach, dim)
        found = spline, keep, stiffness
        if (kept == keep).all():
            break
    return found


def _from_neighbours(source: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """How far each pair's shift lies from the median of its neighbours', mm."""
    from scipy.spatial import KDTree

    near = np.asarray(KDTree(source).query(source, k=_NEIGHBOURS + 1)[1])[:, 1:]
    return np.linalg.norm(shift - np.median(shift[near], axis=1), axis=1)


def _tolerance(apart: np.ndarray, reach: float, dim: int) -> float:
    """The tolerance, mm, within which more pairs lie than chance would bring there, by the widest margin of likelihood.

    Args:
        apart: `(number,)` deviations, mm; those of wrong pairs spread over a disc of radius `reach`, or wider.
        reach: mm.
        dim: 2 or 3.
    """
    expected = np.minimum(_TOLERANCES**dim, 1 - 1e-9)
    share = np.clip((apart[:, None] < _TOLERANCES * reach).mean(0), 1e-9, 1 - 1e-9)
    margin = share * np.log(share / expected) + (1 - share) * np.log((1 - share) / (1 - expected))
    return float(reach * _TOLERANCES[np.argmax(np.where(share > expected, margin, -np.inf))])


def _spread(source: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Indices of at most so many of the pairs to `keep`: the first in each cell of a lattice."""
    kept = np.flatnonzero(keep)
    if len(kept) <= _MOST:
        return kept
    size = np.ptp(source[kept], axis=0)
    cell = float(np.prod(size) / _MOST) ** (1 / len(size))
    while len(kept) > _MOST:
        cells = np.floor(source[kept] / cell).astype(int)
        kept = kept[np.sort(np.unique(cells, axis=0, return_index=True)[1])]
        cell *= 1.2
    return kept


def _stiffness(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """The stiffness that foretells left-out pairs best, and how far it misses them, `(number,)` mm."""
    tried = {s: np.linalg.norm(left_out(source, target, s), axis=1) for s in _STIFFNESSES}
    best = min(tried, key=lambda s: float(np.median(tried[s])))
    return best, tried[best]
