"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TextIO

from rich.console import Console
from rich.text import Text


class _Patient(Console):
    """A console that goes on without a reader: the work is not over because nobody looks on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        hush(sys.stderr if self.stderr else sys.stdout)


def hush(stream: TextIO) -> None:
    """Send to nowhere what is yet written to a stream whose reader is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


out = _Patient(highlight=False)
err = _Patient(stderr=True, highlight=False)


def error(message: str) -> None:
    """Print what went wrong, as one red line."""
    err.print(Text(f"error: {' '.join(message.split())}", style="red"), soft_wrap=True)


def note(message: str) -> None:
    """Print something worth knowing that is no result."""
    err.print(Text(message, style="dim"), soft_wrap=not err.is_terminal)


def warn(message: str) -> None:
    """Print something worth a second look."""
    err.print(Text(f"warning: {' '.join(message.split())}", style="yellow"), soft_wrap=True)


def show_python_warnings() -> None:
    """Let warnings of the library appear as lines for people, without the source line they come from."""

    def show(message, category, filename, lineno, file=None, line=None) -> None:  # noqa: ARG001 - Python's
        from coincide.io.notes import InputNote

        if issubclass(category, InputNote):
            note(str(message))
        elif issubclass(category, UserWarning):
            warn(str(message))

    warnings.showwarning = show
