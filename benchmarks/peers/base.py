"""What a tool is: files in, a saved transform out, and a way to read that transform afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.geometry import Lattice

Map = Callable[[np.ndarray], np.ndarray]
THREADS = 2


@dataclass(frozen=True)
class Job:
    """The files of one run. `multimodal`: the images are of different modalities. Masks say what counts, if given."""

    fixed: Path
    moving: Path
    dim: int
    multimodal: bool
    fixed_mask: Path | None = None
    moving_mask: Path | None = None


class AbstractTool(ABC):
    """A tool with its options. A frozen dataclass; final, and without state."""

    random = False
    """Whether two runs of it may differ."""

    dims = (2, 3)

    @abstractmethod
    def version(self) -> str:
        """Name and version of the tool."""

    def load(self) -> None:  # noqa: B027 - most tools need none
        """Import what `run` needs; the time of a warm run begins after it."""

    @abstractmethod
    def run(self, job: Job, out: Path) -> None:
        """Register the files of `job` and save the transform in the folder `out`, with `THREADS` threads."""

    @abstractmethod
    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:
        """The saved transform as displacements at the voxels of the fixed lattice, `(*shape, dim)` RAS mm."""

    def maps(self, job: Job, out: Path) -> tuple[Map, Map] | None:  # noqa: ARG002
        """The saved transform and its saved inverse as maps of RAS points, where the tool writes both."""
        return None
