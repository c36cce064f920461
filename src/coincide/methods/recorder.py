"""Keeping the trace of a run, and telling the progress callback about it."""

from __future__ import annotations

import time
from contextlib import contextmanager

from coincide.methods.base import Solution, Status, Step
from coincide.optimise.progress import Event, Progress
from coincide.transforms.base import Transform


class Recorder:
    """Collects the steps, decisions and times of one run.

    Args:
        progress: told about every step.
    """

    def __init__(self, progress: Progress):
        self.progress = progress
        self.begun = time.perf_counter()
        self.steps: list[Step] = []
        self.decisions: list[str] = []
        self.seconds: dict[str, float] = {}
        self.evidence: dict[str, float] = {}

    def step(
        self, stage: str, level: int, levels: int, iteration: int, iterations: int, value: float
    ) -> None:
        """One iteration: recorded with the time, and reported."""
        self.steps.append(Step(stage, level, iteration, value, time.perf_counter() - self.begun))
        self.progress(Event(stage, "", level, levels, iteration, iterations, value))

    def say(self, stage: str, message: str) -> None:
        """A sentence for the person who watches."""
        self.progress(Event(stage, message))

    def decide(self, sentence: str) -> None:
        """A decision and its reason, kept with the result."""
        self.decisions.append(sentence)

    @contextmanager
    def timed(self, stage: str):
        """Add the time spent inside to `seconds[stage]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def solution(self, transform: Transform, inverse: Transform | None, status: Status) -> Solution:
        """What was found, with everything that was recorded on the way."""
        return Solution(
            transform, inverse, status, tuple(self.steps), tuple(self.decisions), self.evidence, self.seconds
        )
