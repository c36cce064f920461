"""How long a run will take at most, and how much of it is done: what a person who waits wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from coincide.methods.auto import Auto
from coincide.methods.base import AbstractMethod
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear
from coincide.methods.parts import INVERSE, Part, level_parts, linear_parts
from coincide.optimise.progress import Event, Progress
from coincide.pair import Pair
from coincide.similarity import LNCC, MIND, Similarity

# Processor time of all threads together, measured on brains of five million voxels.
STEP = {"mse": 40e-9, "ncc": 45e-9, "lncc": 45e-9, "nmi": 45e-9, "mind": 90e-9}
"""Seconds per voxel and iteration of the deformable stage, by similarity."""
MEASURE = 300e-9
"""Seconds per voxel for the measures."""
KEYPOINTS = 4.0
"""Seconds for the keypoints of two pictures of a million pixels, their matches and the spline, at most."""
TRIAL = 45
"""Iterations that a trial of a linear start is worth, on each of the two coarsest levels."""
EFFICIENCY = 0.8
"""How much of a further thread arrives as speed."""


def plan(method: AbstractMethod, pair: Pair, similarity: Similarity | None = None) -> tuple[Part, ...]:
    """The parts of a run in their order; none where nothing is known of the method.

    Args:
        method: what will run.
        pair: on what.
        similarity: what `auto` is taken to decide on; LNCC where left out.
    """
    again = False
    if isinstance(method, Auto):
        similarity = method.similarity or similarity or LNCC()
        deform = method.transform == "deformable"
        again = deform and method.tries_keypoints(similarity, pair)
        method = method.deformable(similarity, pair.dim) if deform else Linear()
    if isinstance(method, Deformable):
        bends = _deformable(method, pair)
        if again:
            bends = (*bends, Part("keypoints", 0, KEYPOINTS + sum(part.seconds for part in bends)))
        return (*linear_parts(pair), *bends, _measures(pair))
    parts = linear_parts(pair) if isinstance(method, Linear) else method.parts(pair)
    return (*parts, _measures(pair)) if parts else ()


def foreseen(progress: Progress, method: AbstractMethod, pair: Pair, threads: int) -> Progress:
    """Tell `progress` how long the run will take at most; what is returned then tells it of the run."""
    if expected := forecast(method, pair, threads):
        progress(Event("estimate", expected))
    return Share(progress, plan(method, pair))


def forecast(method: AbstractMethod, pair: Pair, threads: int) -> str:
    """How long a run will take at most, as a sentence; empty where nothing is known of the method."""
    usual = seconds(plan(method, pair), threads)
    other = seconds(plan(method, pair, MIND()), threads)
    if not usual:
        return ""
    most = f"this takes {'' if usual < 0.5 else 'about '}{as_time(usual)}{'' if usual < 0.5 else ' at most'}"
    if as_time(other) == as_time(usual):
        return most
    return f"{most}, or {as_time(other)} if the images differ in contrast"


def seconds(parts: Sequence[Part], threads: int) -> float:
    """Wall-clock seconds the parts take at most on `threads` threads."""
    return sum(part.seconds for part in parts) / (1 + EFFICIENCY * (threads - 1))


def as_time(duration: float) -> str:
    """Seconds for people: `"less than a second"`, `"8 s"`, `"1 min 20 s"`."""
    whole = round(duration)
    if whole < 1:
        return "less than a second"
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


class Share:
    """A progress callback that adds to each event which share of the run's work is done.

    Args:
        progress: where the events go on to.
        parts: of the run, in their order.
    """

    def __init__(self, progress: Progress, parts: Sequence[Part]) -> None:
        self._progress = progress
        self._parts = parts
        self._total = sum(part.seconds for part in parts)
        self._done = 0.0

    def __call__(self, event: Event) -> None:
        """Pass `event` on, with the share of the work that is done."""
        if event.fraction is None and self._total > 0:
            # A stage may come twice, as auto's linear one does: what is done stays done.
            self._done = max(self._done, self._before(event) / self._total)
            event = replace(event, fraction=self._done)
        self._progress(event)

    def _before(self, event: Event) -> float:
        before = 0.0
        for part in self._parts:
            if part.stage == event.stage and part.level in (0, event.level):
                within = event.iteration / event.iterations if event.iterations else 0.0
                if part.level == 0 and event.levels:
                    within = (event.level - 1 + within) / event.levels
                return before + within * part.seconds
            before += part.seconds
        return 0.0


def _deformable(method: Deformable, pair: Pair) -> tuple[Part, ...]:
    each = STEP.get(method.similarity.name, max(STEP.values()))
    grids = method.grids(pair.fixed)
    levels = level_parts(grids, each)
    coarse = sum(grid.size for grid, _ in grids[:2])
    trials = Part("trials", 0, each * TRIAL * method.trials * coarse)
    return (trials, *levels, Part("inverse", 0, INVERSE * grids[-1][0].size))


def _measures(pair: Pair) -> Part:
    return Part("measure", 0, MEASURE * (pair.fixed.grid.size + pair.moving.grid.size) / 2)
