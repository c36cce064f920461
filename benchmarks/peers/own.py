"""coincide through its command line: the contract every other program relies on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from benchmarks.geometry import Lattice, itk_displacement, itk_map
from benchmarks.peers.base import THREADS, AbstractTool, Job, Map

SOURCE = Path(__file__).resolve().parents[2] / "src" / "coincide"
RAN = (0, 4)
"""Exit codes after which there is a result: fine, and judged failed."""


@dataclass(frozen=True)
class Coincide(AbstractTool):
    """`coincide register` with a preset or a kind of transform, in a process of its own."""

    preset: str = ""
    transform: str = ""

    def version(self) -> str:
        number = re.search(r'__version__ = "([^"]+)"', (SOURCE / "__init__.py").read_text())
        digest = sha256()
        for file in sorted(SOURCE.rglob("*.py")):
            digest.update(file.read_bytes())
        return f"coincide {number.group(1) if number else '?'}+{digest.hexdigest()[:8]}"

    def arguments(self, job: Job, out: Path) -> list[str]:
        """What follows `coincide` on the command line."""
        options = ["--preset", self.preset] if self.preset else []
        options += ["--transform", self.transform] if self.transform else []
        return [
            "register",
            str(job.fixed),
            str(job.moving),
            "--out",
            str(out),
            "--threads",
            str(THREADS),
            *options,
        ]

    def run(self, job: Job, out: Path) -> None:
        program = shutil.which("coincide", path=str(Path(sys.executable).parent)) or shutil.which("coincide")
        if program is None:
            raise FileNotFoundError("there is no `coincide` command; install the package first.")
        done = subprocess.run(
            [program, *self.arguments(job, out)], capture_output=True, text=True, check=False
        )
        if done.returncode not in RAN:
            raise RuntimeError(
                f"coincide ended with exit code {done.returncode}: {done.stderr.strip()[-2000:]}"
            )

    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:  # noqa: ARG002
        return itk_displacement(_read(out / "transform.h5"), lattice)

    def maps(self, job: Job, out: Path) -> tuple[Map, Map]:  # noqa: ARG002
        there, back = _read(out / "transform.h5"), _read(out / "inverse.h5")
        return lambda p: itk_map(there, p), lambda p: itk_map(back, p)


def verdict(out: Path) -> str | None:
    """What coincide itself said of the result, or None where it said nothing."""
    file = out / "registration.json"
    return json.loads(file.read_text()).get("verdict", {}).get("level") if file.exists() else None


def _read(path: Path):
    import SimpleITK as sitk

    return sitk.ReadTransform(str(path))
