"""The convergence of a run as a small drawing that takes its colours from the page."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from coincide.methods.base import Step

WIDTH, HEIGHT = 340.0, 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 8.0, 14.0, 26.0


@dataclass(frozen=True)
class Chart:
    """One stage's similarity over its iterations, in the units of a `WIDTH` × `HEIGHT` drawing.

    Args:
        stage: its name.
        lines: one for each level, as the points of an SVG polyline, from its own highest value at the top
            to its own lowest, as levels see other images and their values cannot be compared.
        levels: where each level's number stands, and the number, where there is room for it.
        borders: where one level ends and the next begins.
        first: the value at the start.
        last: the value at the end.
        iterations: how many there were.
        seconds: how long they took.
    """

    stage: str
    lines: tuple[str, ...]
    levels: tuple[tuple[float, str], ...]
    borders: tuple[float, ...]
    first: float
    last: float
    iterations: int
    seconds: float


def charts(trace: tuple[Step, ...]) -> tuple[Chart, ...]:
    """A chart for each stage of a run, in the order the stages were run."""
    drawn, started = [], 0.0
    for stage, group in itertools.groupby(trace, key=lambda step: step.stage):
        steps = list(group)
        drawn.append(_chart(stage, steps, steps[-1].seconds - started))
        started = steps[-1].seconds
    return tuple(drawn)


def _chart(stage: str, steps: list[Step], seconds: float) -> Chart:
    across = (WIDTH - _LEFT - _RIGHT) / max(len(steps) - 1, 1)
    lines, levels, borders, at = [], [], [], 0
    for level, group in itertools.groupby(steps, key=lambda step: step.level):
        run = list(group)
        x = [_LEFT + (at + i) * across for i in range(len(run))]
        lines.append(" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, _heights([s.value for s in run]))))
        if x[-1] - x[0] + across > 12:
            levels.append(((x[0] + x[-1]) / 2, str(level)))
        at += len(run)
        borders.append(x[-1] + across / 2)
    first, last = steps[0].value, steps[-1].value
    return Chart(stage, tuple(lines), tuple(levels), tuple(borders[:-1]), first, last, len(steps), seconds)


def _heights(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    # a level that hardly changes is a flat line, not a picture of its noise
    span = max(high - low, 1e-3 * abs(high), 1e-12)
    return [_TOP + (high - value) / span * (HEIGHT - _TOP - _BOTTOM) for value in values]
