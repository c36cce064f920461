"""Checkpoints: everything a training run needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from coincide.errors import OutputError, UnreadableFileError
from coincide.io.atomic import whole_file

NAME = "checkpoint.pt"


def write(folder: Path, state: dict[str, Any]) -> None:
    """Keep `state` in `folder`, in the place of the one before, which stays until this one is whole.

    Raises:
        OutputError: it cannot be written; says which step the last good one is of.
    """
    held = io.BytesIO()
    torch.save(state, held)
    try:
        with whole_file(folder / NAME) as scratch:
            scratch.write_bytes(held.getbuffer())
    except OutputError as error:
        before = (folder / NAME).exists()
        kept = "The checkpoint before it is whole: go on from there with --resume." if before else ""
        raise OutputError(
            f"the checkpoint of step {state['step']} is lost: {error} {kept}".strip()
        ) from error


def read(folder: Path) -> dict[str, Any] | None:
    """The state that was kept in `folder`, or None where there is none.

    Raises:
        UnreadableFileError: the file is broken.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UnreadableFileError(
            f"{path}: is no checkpoint ({error}). Move it away to train from the start."
        ) from error
