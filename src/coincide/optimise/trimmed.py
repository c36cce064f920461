"""Least trimmed squares: the linear transform that most pairs of points agree on."""

from __future__ import annotations

import numpy as np

from coincide.optimise.fit import Model, fewest, fit_linear

_ROUNDS = 50


def fit_trimmed(source, target, model: Model, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit to all pairs, keep the nearest, fit again to these, until the same stay.

    Args:
        source: `(number, dim)` points, mm.
        target: their partners, mm.
        model: of the transform.
        share: of the pairs that are kept.

    Returns:
        The homogeneous matrix, and which pairs it rests on, `(number,)` bool.

    Raises:
        PointsError: too few or too degenerate points.

    Source: Rousseeuw and Van Driessen 2006, doi:10.1007/s10618-005-0024-4 (concentration steps).
    """
    number = min(len(source), max(round(share * len(source)), fewest(model, source.shape[1]) + 1))
    kept = np.ones(len(source), dtype=bool)
    matrix = fit_linear(source, target, model)
    for _ in range(_ROUNDS):
        carried = np.einsum("nj,ij->ni", source, matrix[:-1, :-1]) + matrix[:-1, -1]
        apart = ((carried - target) ** 2).sum(1)
        nearest = np.zeros(len(source), dtype=bool)
        nearest[np.argsort(apart, kind="stable")[:number]] = True
        if (nearest == kept).all():
            break
        kept = nearest
        matrix = fit_linear(source[kept], target[kept], model)
    return matrix, kept
