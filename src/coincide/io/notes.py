"""What a person should hear about a file that is read all the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)


class InputWarning(UserWarning):
    """The file is read, but something about it may not be what its owner thinks."""


class InputNote(InputWarning):
    """The file is read, nothing is wrong, and this is how it was understood."""


@contextmanager
def gathered() -> Iterator[list[str]]:
    """What is issued meanwhile, whatever filter of warnings there is, for a record; it is issued all the same."""
    heard: list[str] = []
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


def warn(message: str) -> None:
    """Issue an `InputWarning`."""
    _keep(message)
    warnings.warn(message, InputWarning, stacklevel=2)


def note(message: str) -> None:
    """Issue an `InputNote`."""
    _keep(message)
    warnings.warn(message, InputNote, stacklevel=2)


def _keep(message: str) -> None:
    heard = _HEARD.get()
    if heard is not None and message not in heard:
        heard.append(message)
