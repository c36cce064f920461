"""Looking through a data set: what its images are like, and everything that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coincide.data.cases import PARTS, Case, DataSet
from coincide.data.problems import DataSetError, Kind, Problem
from coincide.errors import (
    CoincideError,
    DimensionError,
    GeometryError,
    IntensityError,
    LabelError,
    MaskError,
    MissingFileError,
    PointsError,
    TransformError,
)
from coincide.image import Image
from coincide.io import as_mask, read_image, read_points, read_transform
from coincide.preprocess.check import check_registrable

_KINDS: tuple[tuple[type[Exception], Kind], ...] = (
    (MissingFileError, "missing"),
    (GeometryError, "geometry"),
    (DimensionError, "dimension"),
    (IntensityError, "values"),
    (LabelError, "labels"),
    (MaskError, "mask"),
    (PointsError, "points"),
    (TransformError, "truth"),
)


@dataclass(frozen=True)
class Look:
    """What an image is like.

    Args:
        case: whose image it is.
        shape: voxels.
        spacing: mm.
        percentiles: of its values, at 0, 1, 50, 99 and 100 %.
        labels: how many labels its label map holds, background apart; None without one.
        points: how many landmarks it has; None without any.
    """

    case: Case
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    percentiles: tuple[float, ...]
    labels: int | None
    points: int | None


@dataclass(frozen=True)
class Inspection:
    """What was found in a data set.

    Args:
        source: where it came from.
        looks: one for each image that can be read.
        problems: everything that is wrong.
    """

    source: Path
    looks: tuple[Look, ...]
    problems: tuple[Problem, ...]

    def check(self) -> None:
        """Make sure that nothing is wrong.

        Raises:
            DataSetError: with the list of what is.
        """
        if self.problems:
            raise DataSetError(self.source, self.problems)


def inspect(data: DataSet, progress: Callable[[int, int], None] = lambda done, of: None) -> Inspection:
    """Read every file of `data` once; `progress` is told how many cases are done, of how many."""
    looks: list[Look] = []
    problems = _twice(data.cases)
    for number, case in enumerate(data.cases):
        progress(number, len(data.cases))
        look, found = _look(case)
        problems += found
        if look:
            looks.append(look)
    progress(len(data.cases), len(data.cases))
    problems += _mixed(looks) + check_parts(data) + _bad_truths(data, looks)
    return Inspection(data.source, tuple(looks), tuple(problems))


def check_parts(data: DataSet) -> list[Problem]:
    """What is wrong with the parts that the data set itself names: a subject in two of them, or one that is empty."""
    where: dict[str, set[str]] = {}
    for case in data.cases:
        if case.part:
            where.setdefault(case.subject, set()).add(case.part)
    problems = [
        Problem(
            "split",
            subject,
            f"subject {subject} is in {' and '.join(sorted(parts))}; expected one part for all images of a subject. "
            "Move them together.",
        )
        for subject, parts in where.items()
        if len(parts) > 1
    ]
    used = set().union(*where.values())
    empty = [part for part in PARTS[:2] if used and part not in used]
    problems += [
        Problem("empty", part, f"the part {part!r} is empty; expected at least one subject in it.")
        for part in empty
    ]
    loose = [case.title for case in data.cases if used and not case.part]
    problems += [
        Problem("split", name, f"{name}: is in no part, while others are. Name one.") for name in loose
    ]
    return problems


def _look(case: Case) -> tuple[Look | None, list[Problem]]:
    try:
        image = read_image(case.image)
        check_registrable(image)
    except CoincideError as error:
        return None, [_problem(error, case.image)]
    problems: list[Problem] = []
    labels = _tried(problems, case.labels, lambda path: _labels(path, image))
    _tried(problems, case.mask, lambda path: as_mask(path, image.grid))
    points = _tried(problems, case.points, lambda path: _points(path, image))
    percentiles = np.percentile(image.numpy(), (0, 1, 50, 99, 100))
    shape, spacing = image.grid.shape, tuple(float(s) for s in image.grid.spacing)
    return Look(case, shape, spacing, tuple(float(p) for p in percentiles), labels, points), problems


def _tried(problems: list[Problem], path: Path | None, read: Callable):
    if path is None:
        return None
    try:
        return read(path)
    except CoincideError as error:
        problems.append(_problem(error, path))
    return None


def _problem(error: CoincideError, path: Path) -> Problem:
    kind: Kind = "unreadable"
    for cls, named in _KINDS:
        if isinstance(error, cls):
            kind = named
    return Problem(kind, str(path), str(error))


def _labels(path: Path, image: Image) -> int:
    labels = read_image(path, kind="label")
    if not labels.grid.matches(image.grid, tolerance=0.05):
        raise LabelError(
            f"{path}: lies on {labels.grid!r}, expected its image's {image.grid!r}. Resample the labels onto the image."
        )
    return len(np.unique(labels.numpy())) - 1


def _points(path: Path, image: Image) -> int:
    points = read_points(path)
    if points.dim != image.dim:
        raise DimensionError(f"{path}: holds {points.dim}-D points, but {image.name} is {image.dim}-D.")
    return len(points)


def _twice(cases: Iterable[Case]) -> list[Problem]:
    counts = Counter(case.image.resolve() for case in cases)
    return [
        Problem(
            "twice", str(path), f"{path}: is listed {n} times; expected once, with one set of companions."
        )
        for path, n in counts.items()
        if n > 1
    ]


def _mixed(looks: list[Look]) -> list[Problem]:
    usual = Counter(len(look.shape) for look in looks).most_common(1)
    return [
        Problem(
            "dimension",
            str(look.case.image),
            f"{look.case.image}: is {len(look.shape)}-D, but most images of the set are {usual[0][0]}-D; expected one "
            "number of dimensions.",
        )
        for look in looks
        if len(look.shape) != usual[0][0]
    ]


def _bad_truths(data: DataSet, looks: list[Look]) -> list[Problem]:
    dims = {look.case: len(look.shape) for look in looks}
    problems: list[Problem] = []
    for pair in data.pairs:
        truth = _tried(problems, pair.truth, read_transform)
        if truth is not None and truth.dim != dims.get(pair.fixed, truth.dim):
            problems.append(
                Problem(
                    "truth", str(pair.truth), f"{pair.truth}: is {truth.dim}-D, its images are not. Check it."
                )
            )
    return problems
