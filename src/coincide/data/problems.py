"""What can be wrong with a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from coincide.errors import InputError

Kind = Literal[
    "missing",
    "unreadable",
    "geometry",
    "dimension",
    "values",
    "labels",
    "mask",
    "points",
    "truth",
    "split",
    "empty",
    "twice",
]
"""A file is missing, cannot be read, or lies nowhere; 2-D and 3-D are mixed; an image shows nothing; labels, a mask,
points or a transform do not fit their image; a subject is in two parts; a part is empty; a case comes twice."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        kind: of what sort.
        where: the file, case or part.
        message: what was found, what was expected, and the way out.
    """

    kind: Kind
    where: str
    message: str

    def __str__(self) -> str:
        return f"[{self.kind}] {self.message}"


class DataSetError(InputError):
    """A data set that cannot be learned from; its `problems` are all that is wrong with it."""

    def __init__(self, source: object, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        number = "1 thing is" if len(self.problems) == 1 else f"{len(self.problems)} things are"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {number} wrong with this data set. Mend or leave out:\n{lines}")
