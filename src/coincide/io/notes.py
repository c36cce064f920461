"""What a person should hear about a file that is read all the same."""

from __future__ import annotations

import warnings


class InputWarning(UserWarning):
    """The file is read, but something about it may not be what its owner thinks."""


class InputNote(InputWarning):
    """The file is read, nothing is wrong, and this is how it was understood."""


def warn(message: str) -> None:
    """Issue an `InputWarning`."""
    warnings.warn(message, InputWarning, stacklevel=2)


def note(message: str) -> None:
    """Issue an `InputNote`."""
    warnings.warn(message, InputNote, stacklevel=2)
