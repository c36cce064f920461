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
        lines: one for each level, as the points of an SVG polyline.
        levels: where each level's name stands, and the name.
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
    values = [step.value for step in steps]
    low, high = min(values), max(values)
    across = (WIDTH - _LEFT - _RIGHT) / max(len(steps) - 1, 1)
    up = (HEIGHT - _TOP - _BOTTOM) / ((high - low) or 1.0)
    lines, levels, borders, at = [], [], [], 0
    for level, group in itertools.groupby(steps, key=lambda step: step.level):
        run = list(group)
        x = [_LEFT + (at + i) * across for i in range(len(run))]
        lines.append(" ".join(f"{a:.1f},{_TOP + (high - s.value) * up:.1f}" for a, s in zip(x, run)))
        levels.append(((x[0] + x[-1]) / 2, f"level {level}"))
        at += len(run)
        borders.append(x[-1] + across / 2)
    return Chart(
        stage, tuple(lines), tuple(levels), tuple(borders[:-1]), values[0], values[-1], len(steps), seconds
    )
