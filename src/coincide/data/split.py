"""A data set split into parts by subject, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coincide.data.cases import PARTS, DataSet
from coincide.data.inspection import check_parts
from coincide.data.problems import DataSetError, Problem
from coincide.errors import MissingFileError, OptionError, UnreadableFileError
from coincide.io.atomic import whole_file


@dataclass(frozen=True)
class Split:
    """Which subjects are in which part.

    Args:
        subjects: by part, each subject in one of them.
        seed: what they were drawn by; None where the data set itself names the parts.
    """

    subjects: Mapping[str, frozenset[str]]
    seed: int | None

    def part(self, data: DataSet, name: str) -> DataSet:
        """The cases of one part, and the pairs that lie wholly in it."""
        return data.of(self.subjects[name])


def split(data: DataSet, shares: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0) -> Split:
    """Split by subject: no subject is in two parts.

    The parts that the data set names are kept. Otherwise a subject's place is drawn from `seed`, and does not depend on
    the order of files.

    Args:
        data: what to split.
        shares: of subjects for training, validation and test; a part with a share gets at least one.
        seed: of the draw.

    Raises:
        OptionError: shares that are none.
        DataSetError: too few subjects for the parts, or parts named by the data set that will not do.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise OptionError(
            f"the shares of a split are {shares}; expected three that add up to 1, the first above 0."
        )
    if any(case.part for case in data.cases):
        return _named(data)
    wanted = [part for part, share in zip(PARTS, shares) if share]
    subjects = data.subjects
    if len(subjects) < len(wanted):
        message = (
            f"{len(subjects)} subject(s) for {len(wanted)} parts ({', '.join(wanted)}); expected one in each."
        )
        raise DataSetError(data.source, [Problem("empty", wanted[-1], message)])
    order = np.random.default_rng(seed).permutation(len(subjects))
    shuffled = [subjects[n] for n in order]
    counts = _counts(shares, len(subjects))
    ends = np.cumsum(counts)
    parts = {part: frozenset(shuffled[end - n : end]) for part, n, end in zip(PARTS, counts, ends)}
    return Split(parts, seed)


def _counts(shares: tuple[float, ...], number: int) -> list[int]:
    """How many subjects each part gets; training takes what rounding leaves."""
    rest = [max(1, round(share * number)) if share else 0 for share in shares[1:]]
    while sum(rest) > number - 1:
        rest[int(np.argmax(rest))] -= 1
    return [number - sum(rest), *rest]


def _named(data: DataSet) -> Split:
    problems = check_parts(data)
    if problems:
        raise DataSetError(data.source, problems)
    return Split({p: frozenset(c.subject for c in data.cases if c.part == p) for p in PARTS}, None)


def write_split(chosen: Split, path: str | Path) -> None:
    """Record a split as JSON: the seed, and the subjects of each part.

    Raises:
        OutputError: the file cannot be written.
    """
    record = {
        "seed": chosen.seed,
        "subjects": {part: sorted(names) for part, names in chosen.subjects.items()},
    }
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_split(path: str | Path, data: DataSet) -> Split:
    """The split recorded in `path`, for the same data set.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it is no record of a split.
        DataSetError: it is of other subjects, or has one of them in two parts.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: [str(name) for name in record["subjects"][part]] for part in PARTS}
        chosen = Split({part: frozenset(names) for part, names in parts.items()}, record["seed"])
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such record of a split.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(f"{path}: is no record of a split ({error}).") from error
    problems = _differences(chosen, data, path)
    if problems:
        raise DataSetError(path, problems)
    return chosen


def _differences(chosen: Split, data: DataSet, path: Path) -> list[Problem]:
    places: dict[str, list[str]] = {}
    for part, names in chosen.subjects.items():
        for name in names:
            places.setdefault(name, []).append(part)
    problems = [
        Problem("split", name, f"{path}: subject {name} is in {' and '.join(parts)}; expected one part.")
        for name, parts in places.items()
        if len(parts) > 1
    ]
    for name in sorted(set(places) ^ set(data.subjects)):
        lacks = "the split" if name in data.subjects else "the data set"
        problems.append(Problem("split", name, f"{path}: subject {name} is not in {lacks}. Split anew."))
    return problems
