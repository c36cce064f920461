"""One process at a time, where several read a file and write it anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coincide.errors import OutputError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Until the block ends, no other `locked` block of the same path runs, in this process or another.

    Where the system can, its folder is locked, and nothing is left lying about; on Windows a hidden file beside it.

    Raises:
        OutputError: the folder is missing, or cannot be locked.
    """
    try:
        number = _hold(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be kept for one writer ({error.strerror}). Name a file elsewhere."
        ) from error
    try:
        yield
    finally:
        # closing gives the lock back
        os.close(number)


def _hold(path: Path) -> int:
    """A descriptor that holds the lock until it is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        number = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR)
        msvcrt.locking(number, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined] - elsewhere it is not there
        return number
    number = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_EX)
    return number
