"""Arrays worked through in blocks of fixed size on several threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from coincide.ops._parallel import run

BLOCK = 1 << 15
"""Numbers in a block: what is made of one stays in the processor's cache."""

Result = TypeVar("Result")


def over_blocks(number: int, work: Callable[[int, int], Result]) -> list[Result]:
    """What `work(low, high)` returns for each block of `range(number)`, in the blocks' order.

    The blocks do not depend on the number of threads; so neither does anything that is made of them.

    Args:
        number: how many there are to go through.
        work: must not call anything that runs over slabs or blocks itself; NumPy and kernels let go of the
            interpreter, so that the threads really run side by side.
    """
    results: list = [None] * -(-number // BLOCK)

    def slab(first: int, last: int) -> None:
        for block in range(first, last):
            results[block] = work(block * BLOCK, min((block + 1) * BLOCK, number))

    run(slab, len(results))
    return results
