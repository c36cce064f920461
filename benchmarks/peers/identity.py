"""No registration at all: where every case starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.geometry import Lattice
from benchmarks.peers.base import AbstractTool, Job


@dataclass(frozen=True)
class Identity(AbstractTool):
    def version(self) -> str:
        return "identity"

    def run(self, job: Job, out: Path) -> None:
        pass

    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:  # noqa: ARG002
        return np.zeros((*lattice.shape, lattice.dim))
