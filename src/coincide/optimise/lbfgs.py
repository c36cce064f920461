"""Minimisation with few memories of the curvature (L-BFGS), with sums that no number of threads changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_MEMORY = 8
_ENOUGH, _HALVINGS = 1e-4, 12
"""Share of the slope's promise that a step must keep, and how often it is shortened to do so."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a minimisation ended: the parameters, the value there, and the iterations it took."""

    at: np.ndarray
    value: float
    iterations: int


def minimise(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    reach: float,
    iterations: int,
    tolerance: float,
    notify: Callable[[int, float], None] = lambda i, v: None,
) -> Minimum:
    """Follow `function` down from `start`.

    Args:
        function: value and gradient, of the shape of `start`.
        start: parameters.
        reach: the most that any parameter changes in one step.
        iterations: the most there may be.
        tolerance: it ends when five steps gain less than this share of all that was gained.
        notify: called with the number of steps taken and the value there.

    Source: Nocedal 1980, doi:10.1090/S0025-5718-1980-0572855-7.
    """
    x, (value, gradient) = start.copy(), function(start)
    steps: list[tuple[np.ndarray, np.ndarray, float]] = []
    values = [value]
    for iteration in range(1, iterations + 1):
        direction = -_inverse_hessian(steps, gradient)
        slope = _dot(direction, gradient)
        if not slope < 0:
            steps, direction = [], -gradient
            slope = _dot(direction, gradient)
        longest = float(np.abs(direction).max())
        if longest < 1e-30:
            break
        # without memories the gradient says where to go, but not how far
        length = reach / longest if not steps else min(1.0, reach / longest)
        found = _search(function, x, value, direction, slope, length)
        if found is None:
            if not steps:
                break
            steps = []
            continue
        length, new_value, new_gradient = found
        move, bend = length * direction, new_gradient - gradient
        curved = _dot(move, bend)
        if curved > 1e-10 * np.sqrt(_dot(move, move) * _dot(bend, bend)):
            steps = [*steps[1 - _MEMORY :], (move, bend, curved)]
        x, value, gradient = x + move, new_value, new_gradient
        values.append(value)
        notify(iteration, value)
        if len(values) > 5 and values[-6] - value < tolerance * (values[0] - value):
            break
    return Minimum(x, value, len(values) - 1)


def _search(function, x, value: float, direction, slope: float, length: float):
    """The first of ever shorter steps that keeps a share of its promise: length, value and gradient there."""
    for _ in range(_HALVINGS):
        new_value, new_gradient = function(x + length * direction)
        if new_value <= value + _ENOUGH * length * slope:
            return length, new_value, new_gradient
        # to the bottom of the parabola through what is known
        bend = new_value - value - length * slope
        shorter = -slope * length / (2 * bend) if np.isfinite(bend) and bend > 0 else 0.5
        length *= min(max(shorter, 0.1), 0.5)
    return None


def _inverse_hessian(steps, gradient: np.ndarray) -> np.ndarray:
    """The gradient, turned and scaled by what the last steps told about the curvature."""
    q, shares = gradient.copy(), []
    for move, bend, curved in reversed(steps):
        share = _dot(move, q) / curved
        q -= share * bend
        shares.append(share)
    if steps:
        _, bend, curved = steps[-1]
        q *= curved / _dot(bend, bend)
    for (move, bend, curved), share in zip(steps, reversed(shares)):
        q += (share - _dot(bend, q) / curved) * move
    return q


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    # not by BLAS, which adds in an order that depends on the number of threads
    return float((a * b).sum())
