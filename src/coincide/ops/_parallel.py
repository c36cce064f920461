"""Running a compiled kernel over slabs on several threads.

A kernel is a function `kernel(low, high, *arrays)` that does the planes `low <= i < high` of the first axis. It
releases the interpreter's lock, writes only what belongs to its planes, and leaves reductions as one number a
plane, so results are the same, bit for bit, for any number of threads. Plain threads compile several times faster
than numba's own `parallel=True`, and need no threading layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numba import njit

kernel = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc"})
"""Decorator of every compiled kernel. Its fastmath flags keep the meaning of NaN and infinity."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_threads = 0
_SMALL = 200_000
"""Elements of the largest array below which handing out the work costs more than doing it."""


def default_threads() -> int:
    """Number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_threads() -> int:
    """Number of threads kernels run on."""
    return _threads or default_threads()


def set_threads(number: int | None) -> None:
    """Let kernels run on `number` threads; None means all processors this process may use."""
    global _threads  # noqa: PLW0603 - one setting for the process, as in torch
    if number is not None and number < 1:
        raise ValueError(f"the number of threads must be at least 1, found {number}.")
    _threads = number or 0


@cache
def _pool(workers: int, kind: str = "kernels") -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix=f"coincide-{kind}")


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of every item, in order; several at a time, for work on arrays too small for `run` to cut up."""
    threads = min(get_threads(), len(items))
    if threads <= 1:
        return [function(item) for item in items]
    # a pool of its own: one that waited for kernels on theirs could wait for itself
    return list(_pool(threads, "items").map(function, items))


def run(compiled: Callable, planes: int, *arrays) -> None:
    """Run `compiled(low, high, *arrays)` over slabs that together cover `range(planes)`."""
    threads = min(get_threads(), planes)
    # without arrays it is work on blocks (see `blocks.py`), which are large enough by themselves
    largest = max((a.size for a in arrays if isinstance(a, np.ndarray)), default=_SMALL)
    if threads <= 1 or largest < _SMALL:
        compiled(0, planes, *arrays)
        return
    # more slabs than threads, so that a thread that finds air in its slab takes over work from the others
    slabs = min(planes, threads * 4)
    edges = [planes * i // slabs for i in range(slabs + 1)]
    left = iter(list(pairwise(edges)))

    def work() -> None:
        # one list iterator serves all threads: taking the next item of it is one step for the interpreter
        for low, high in left:
            compiled(low, high, *arrays)

    helpers = [_pool(threads).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


def on_compile(notify: Callable[[str], None]):
    """A context in which `notify(kernel name)` is called whenever a kernel must be compiled (not loaded from cache)."""
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, event):
            notify(getattr(event.data.get("dispatcher"), "__name__", "kernel"))

        def on_end(self, event):
            pass

    return event.install_listener("numba:compile", Listener())
