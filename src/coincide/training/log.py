"""What happens during training, a line of JSON each, and for TensorBoard where it is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from coincide.errors import OutputError
from coincide.io.atomic import whole_file


class Log:
    """Appends records to `log.jsonl` and to the folder `tensorboard`; what came after the checkpoint is dropped.

    Args:
        folder: of the run.
        step: of the checkpoint, 0 for a new run.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.jsonl"
        kept = [line for line in self._lines() if line.get("step", 0) <= step]
        with whole_file(self.path) as scratch:
            scratch.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board = _board(folder / "tensorboard", step)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record, stamped with the time."""
        line = json.dumps({**record, "time": time.strftime("%Y-%m-%dT%H:%M:%S")})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error
        look = record.get("kept_back")
        numbers = record if look is None else {f"kept_back/{key}": value for key, value in look.items()}
        if self._board is not None:
            with self._told():
                for key in sorted(set(numbers) - {"step"}):
                    self._board.add_scalar(key, numbers[key], record["step"])
                self._board.flush()

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Show a picture, `(height, width)` uint8, on TensorBoard."""
        if self._board is not None:
            with self._told():
                self._board.add_image("sample", picture, step, dataformats="HW")
                self._board.flush()

    def close(self) -> None:
        """Let go of TensorBoard's file, in which everything is already."""
        if self._board is not None:
            with suppress(OSError):
                self._board.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.path.parent}: cannot be written ({error.strerror}).") from error

    def _lines(self) -> list[dict[str, Any]]:
        """The records so far; a last one that was cut off does not count."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("}\n")]


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        # what came after the checkpoint that training goes on from is not shown
        return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}).") from error


class Means:
    """Means of numbers since they were last asked for, and the seconds spent on data and on all."""

    def __init__(self) -> None:
        self._clear()

    def add(self, numbers: dict[str, float], waited: float) -> None:
        """One step's numbers, and the seconds it waited for its data."""
        for key, value in numbers.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._count += 1
        self._waited += waited

    def take(self, batch: int) -> dict[str, float]:
        """The means, and begin anew."""
        seconds = time.perf_counter() - self._begun
        found = {key: round(value / self._count, 5) for key, value in self._sums.items()}
        found["pairs_per_second"] = round(self._count * batch / seconds, 3)
        found["data_share"] = round(self._waited / seconds, 3)
        self._clear()
        return found

    def _clear(self) -> None:
        self._sums: dict[str, float] = {}
        self._count, self._waited, self._begun = 0, 0.0, time.perf_counter()
