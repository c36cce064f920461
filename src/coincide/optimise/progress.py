"""How long work tells where it is: events handed to a callback, which may stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One sign of life.

    Args:
        stage: what is being done: `"kernels"`, `"start"`, `"linear"`, `"discrete"`, `"deformable"`, `"inverse"` …
        message: a sentence where there is something to say, else empty.
        level: pyramid level, from 1 (coarsest) to `levels`.
        levels: number of levels of this stage.
        iteration: from 1 to `iterations` within the level.
        iterations: the most there can be within the level.
        value: the similarity's value, lower is better, or None.
        fraction: share of the whole run's estimated work that is done, 0 to 1, or None where unknown.
    """

    stage: str
    message: str = ""
    level: int = 0
    levels: int = 0
    iteration: int = 0
    iterations: int = 0
    value: float | None = None
    fraction: float | None = None


Progress = Callable[[Event], None]
"""Called often and cheaply. To stop the work, raise from it: `KeyboardInterrupt` or `CancelledError`."""


def silent(event: Event) -> None:
    """The progress callback that does nothing."""
