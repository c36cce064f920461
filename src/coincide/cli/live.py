"""Live progress: what a run is doing, how far it is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn

from coincide.cli import console
from coincide.optimise.progress import Event
from coincide.optimise.progress import Progress as Callback

_EVERY = 0.1
"""Seconds between two looks: a terminal shows no more, and the work is not to wait for it."""


class TimeLeft:
    """How long a run will still take, from the share of its work that is done.

    Time spent before the first reported share (compiling, reading) does not count.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None

    def update(self, now: float, fraction: float | None) -> None:
        """Note that at `now` (seconds) the share `fraction` (0 to 1) of the work was done."""
        if fraction is None:
            return
        self._first = self._first or (now, fraction)
        self._last = (now, fraction)

    @property
    def seconds(self) -> float | None:
        """Seconds left, or None while too little is done to tell."""
        if self._first is None or self._last is None:
            return None
        done = self._last[1] - self._first[1]
        if done < 0.02:
            return None
        return (self._last[0] - self._first[0]) * (1 - self._last[1]) / done


@contextmanager
def live() -> Iterator[Callback]:
    """A progress callback that draws on the terminal, or writes a line per level where there is none."""
    if console.err.is_terminal:
        with _bar() as bar:
            yield _Drawn(bar)
    else:
        yield _Written()


def as_words(event: Event) -> str:
    """Where a run is, in words: `"deformable · level 2/3 · iteration 17/50 · similarity -0.61234"`."""
    parts = [event.stage or "working"]
    if event.levels:
        parts.append(f"level {event.level}/{event.levels}")
    if event.iterations:
        parts.append(f"iteration {event.iteration}/{event.iterations}")
    if event.value is not None:
        parts.append(f"similarity {event.value:.5g}")
    return " · ".join(parts)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[left]}"))
    return Progress(*columns, console=console.err, transient=True, refresh_per_second=8)


class _Drawn:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None, left="")
        self._left = TimeLeft()
        self._looked = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        self._left.update(now, event.fraction)
        if event.message:
            console.note(event.message)
        elif now - self._looked < _EVERY:
            return
        self._looked = now
        from coincide.methods.plan import as_time

        seconds = self._left.seconds
        left = "" if seconds is None else f"{as_time(seconds)} left"
        total = None if event.fraction is None else 1.0
        self._bar.update(
            self._task, description=as_words(event), total=total, completed=event.fraction or 0.0, left=left
        )


class _Written:
    """For log files: a line when a stage or level begins."""

    def __init__(self) -> None:
        self._where = ("", 0)

    def __call__(self, event: Event) -> None:
        if event.message:
            console.note(event.message)
        where = (event.stage, event.level)
        if where != self._where and not event.message:
            self._where = where
            level = f" · level {event.level}/{event.levels}" if event.levels else ""
            console.note(f"{event.stage}{level}")
