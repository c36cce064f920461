"""What a data set consists of: cases, and pairs of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PARTS = ("train", "validation", "test")
"""What a data set is split into."""


@dataclass(frozen=True)
class Case:
    """An image on disk with what belongs to it.

    Args:
        image: its file.
        subject: whose it is.
        labels: a label map of it.
        mask: the voxels that count.
        points: landmarks in its world, CSV.
        part: one of `PARTS` that it is meant for; empty where nobody has said.
        name: what to call it in messages.
    """

    image: Path
    subject: str
    labels: Path | None = None
    mask: Path | None = None
    points: Path | None = None
    part: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """What to call it in messages: its name, or its file's."""
        return self.name or str(self.image)


@dataclass(frozen=True)
class CasePair:
    """Two cases to be registered.

    Args:
        fixed: the one that stays.
        moving: the one that is warped onto it.
        truth: a transform file, fixed world → moving world, where it is known.
    """

    fixed: Case
    moving: Case
    truth: Path | None = None


@dataclass(frozen=True)
class DataSet:
    """Cases, and which pairs of them are to be registered.

    Args:
        cases: all of them.
        pairs: those that somebody has listed; where there are none, any two cases are a pair.
        source: the folder or table they were found in.
    """

    cases: tuple[Case, ...]
    pairs: tuple[CasePair, ...] = ()
    source: Path = Path()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Every subject once, by name."""
        return tuple(sorted({case.subject for case in self.cases}))

    def of(self, subjects: frozenset[str]) -> DataSet:
        """The cases of `subjects`, and the pairs that are wholly theirs."""
        cases = tuple(case for case in self.cases if case.subject in subjects)
        pairs = tuple(p for p in self.pairs if {p.fixed.subject, p.moving.subject} <= subjects)
        return DataSet(cases, pairs, self.source)
