"""The pairs to register, from a `cases.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from benchmarks.turned import turned_pairs

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_CASES = ROOT.parent / "shared" / "data" / "cases.csv"
DEFAULT_CACHE = ROOT.parent / "bench-cache"
PATHS = (
    "fixed",
    "moving",
    "fixed_labels",
    "moving_labels",
    "fixed_points",
    "moving_points",
    "fixed_mask",
    "moving_mask",
)


@dataclass(frozen=True)
class Case:
    """One pair with its truth; paths are absolute, None where the table has none."""

    name: str
    task: str
    dim: int
    multimodal: bool
    fixed: Path
    moving: Path | None
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_points: Path | None = None
    moving_points: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None

    @property
    def has_truth(self) -> bool:
        """Whether there are labels or landmarks on both sides to score a result by."""
        labels = self.fixed_labels is not None and self.moving_labels is not None
        return labels or (self.fixed_points is not None and self.moving_points is not None)

    @property
    def skipped(self) -> str | None:
        """Why the case cannot be run, or None."""
        if self.moving is None:
            return "no moving image: a reader's test, not a registration"
        if not self.fixed.is_file():
            return f"{self.fixed} is no image file"
        return None


def read_cases(table: Path, cache: Path | None = None) -> list[Case]:
    """The cases of `table`, then the turned hand pairs where there is a `cache` folder to write them to."""
    with table.open(newline="") as file:
        cases = [_case(row, table.parent) for row in csv.DictReader(file)]
    if cache is not None:
        for case in [c for c in cases if c.task == "hand_xray"]:
            cases += turned_pairs(case, cache / "turned")
    return cases


def _case(row: dict[str, str], folder: Path) -> Case:
    paths = {key: (folder / row[key]).resolve() if row.get(key) else None for key in PATHS}
    multimodal = row["modality_fixed"] != row["modality_moving"]
    return Case(row["case"], row["task"], int(row["dim"]), multimodal, **paths)
