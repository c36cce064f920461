"""Images of one's own to learn from: each laid onto one of them by a linear transform, once, and kept."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coincide.data import (
    Case,
    CasePair,
    DataSet,
    DataSetError,
    Preparation,
    Problem,
    inspect,
    prepare,
    read_data_set,
    split,
    write_split,
)
from coincide.data.prepared import Relation, ordered
from coincide.data.workers import one_thread_in_workers
from coincide.errors import DimensionError, OptionError, OutputError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_transform
from coincide.io.atomic import whole_file
from coincide.methods.base import Status
from coincide.methods.classical.linear import Linear
from coincide.methods.learned.pyramid import view
from coincide.methods.learned.view import shown
from coincide.pair import Pair
from coincide.similarity import NMI
from coincide.transforms.linear import Affine
from coincide.transforms.resample import resample

_UNKNOWN = -1
"""The label of every voxel of an image whose labels are not known."""


@dataclass(frozen=True)
class OwnData:
    """Images of one's own, instead of made-up pairs or in turn with them.

    Args:
        source: a folder, a CSV table or a BIDS tree; none where empty. Labels and true transforms are used where there
            are any.
        share: of the steps that learn from them; the others learn from made-up pairs.
        relation: which images make a pair where the data set lists none: `any` two, two of the `same` subject, or of
            `other` ones.
        kept_back: share of the subjects that nothing is learned from; their pairs say which weights are best. A part
            that the data set itself names goes before.
        steps: done on each image first, written as for `coincide preprocess`; images that the network is shown later
            want the same.

    Raises:
        OptionError: a share that is none, or steps that cannot be done.
    """

    source: str = ""
    share: float = 1.0
    relation: Relation = "any"
    kept_back: float = 0.2
    steps: str = ""

    def __post_init__(self) -> None:
        Preparation(steps=self.steps)
        if not (0 < self.share <= 1 and 0 < self.kept_back < 1):
            raise OptionError(
                f"data.share is {self.share} and data.kept_back {self.kept_back}; expected above 0 up to 1, and "
                "between 0 and 1."
            )


@dataclass(frozen=True, eq=False)
class Laid:
    """A case as a network is shown it, on the grid that all cases share.

    Args:
        image: `(1, *shape)`.
        labels: `(1, *shape)`, `_UNKNOWN` everywhere where there are none.
        matrix: from the grid's world to the case's, mm.
    """

    image: Tensor
    labels: Tensor
    matrix: Tensor


class OwnPairs(Dataset):
    """Pairs of cases on one grid; item `i` is always the same pair, drawn by its number.

    Args:
        pairs: that may come.
        laid: every case of theirs.
        grid: that all are on.
        seed: of the draws; without, item `i` is pair `i`.
    """

    def __init__(
        self, pairs: tuple[CasePair, ...], laid: dict[Case, Laid], grid: Grid, seed: int | None
    ) -> None:
        self.pairs, self.laid, self.grid, self.seed = pairs, laid, grid, seed

    def __len__(self) -> int:
        return len(self.pairs) if self.seed is None else 2**31 - 1

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        one_thread_in_workers()
        number = index
        if self.seed is not None:
            number = int(np.random.default_rng((self.seed, index)).integers(len(self.pairs)))
        pair = self.pairs[number]
        fixed, moving = self.laid[pair.fixed], self.laid[pair.moving]
        found = {
            "fixed": fixed.image,
            "moving": moving.image,
            "fixed_labels": fixed.labels,
            "moving_labels": moving.labels,
        }
        if any(p.truth is not None for p in self.pairs):
            found["displacement"] = self._truth(pair)
        return found

    def _truth(self, pair: CasePair) -> Tensor:
        """Where the true transform carries each voxel, less the voxel, `(dim, *shape)` voxels; NaN if not known."""
        dim = self.grid.dim
        if pair.truth is None:
            return torch.full((dim, *self.grid.shape), torch.nan)
        to_fixed, to_moving = (Affine(self.laid[c].matrix.numpy()) for c in (pair.fixed, pair.moving))
        place = self.grid.points().reshape(-1, dim)
        there = to_moving.inverse()(read_transform(pair.truth)(to_fixed(place)))
        apart = self.grid.index(there) - self.grid.index(place)
        return torch.from_numpy(apart.T.reshape(dim, *self.grid.shape).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Own:
    """What a run learns from and scores by.

    Args:
        train: pairs to learn from.
        kept_back: pairs with at least one subject that nothing is learned from.
    """

    train: OwnPairs
    kept_back: OwnPairs


def own_pairs(
    data: OwnData, network: Any, folder: Path, seed: int, tell: Callable[[str], None] = lambda line: None
) -> Own:
    """The pairs that `data` names, prepared for `network`.

    Every image is inspected first. The parts, by subject, are recorded in `folder/split.json`, and images as the
    network is shown them kept in `folder/prepared`.

    Args:
        data: with a source.
        network: that is to learn from them.
        folder: of the run.
        seed: of split and draws.
        tell: told in a sentence what takes its time.

    Raises:
        InputError: the data set will not do; all that is wrong is listed.
        OutputError: the folder cannot be written to.
    """
    found = read_data_set(data.source)
    tell(f"{data.source}: looking through {len(found.cases)} images")
    inspect(found).check()
    parts = split(found, (1 - data.kept_back, data.kept_back, 0.0), seed)
    write_split(parts, folder / "split.json")
    train, kept = (parts.subjects[part] for part in ("train", "validation"))
    pairs = _pairs(found, data.relation)
    learned = tuple(p for p in pairs if _subjects(p) <= train)
    judged = tuple(p for p in pairs if _subjects(p) <= train | kept and _subjects(p) & kept)
    problems = [
        Problem(
            "empty", name, f"{name}: no pair of images of {data.relation} subject. Add images, or list pairs."
        )
        for name, some in (("train", learned), ("validation", judged))
        if not some
    ]
    if problems:
        raise DataSetError(data.source, problems)
    cases = tuple(dict.fromkeys(case for p in (*learned, *judged) for case in (p.fixed, p.moving)))
    laid, grid = _laid(cases, network, Preparation(steps=data.steps), folder / "prepared", tell)
    return Own(OwnPairs(learned, laid, grid, seed), OwnPairs(judged, laid, grid, None))


def _pairs(data: DataSet, relation: Relation) -> tuple[CasePair, ...]:
    if data.pairs:
        return data.pairs
    return tuple(CasePair(data.cases[i], data.cases[j]) for i, j in ordered(data, relation))


def _subjects(pair: CasePair) -> frozenset[str]:
    return frozenset((pair.fixed.subject, pair.moving.subject))


def _laid(
    cases: tuple[Case, ...],
    network: Any,
    preparation: Preparation,
    folder: Path,
    tell: Callable[[str], None],
) -> tuple[dict[Case, Laid], Grid]:
    """Every case on one grid around the first one's anatomy."""
    first = prepare(cases[0], preparation)
    if first.image.dim != network.dim:
        raise DimensionError(
            f"{cases[0].title}: is {first.image.dim}-D, but the network takes {network.dim}-D images. Give the "
            "network's options the other dim, or other images."
        )
    grid = view(first.image, network)
    _made(folder)
    found = {}
    for number, case in enumerate(cases):
        path = folder / f"{_name(case, cases[0], preparation, grid)}.pt"
        # files that another program has damaged are made anew
        with suppress(OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError):
            found[case] = Laid(**torch.load(path, weights_only=True))
            continue
        tell(f"laying image {number + 1} of {len(cases)} onto the first: {case.title}")
        found[case] = _lay(case, first.image, preparation, grid)
        stream = io.BytesIO()
        torch.save(vars(found[case]), stream)
        with whole_file(path) as scratch:
            scratch.write_bytes(stream.getbuffer())
    return found, grid


def _lay(case: Case, first: Image, preparation: Preparation, grid: Grid) -> Laid:
    own = prepare(case, preparation)
    solution = Linear(similarity=NMI()).solve(Pair(first, own.image))
    if solution.status is not Status.SUCCEEDED or not isinstance(solution.transform, Affine):
        message = (
            f"{case.title}: cannot be laid onto {first.name} ({solution.status.value}). Mend or leave it out."
        )
        raise DataSetError(case.image, [Problem("values", case.title, message)])
    labels = torch.full((1, *grid.shape), _UNKNOWN)
    if own.labels is not None:
        labels = resample(own.labels, solution.transform, grid, "label").data.long()
    matrix = solution.transform.matrix
    return Laid(shown(own.image, grid, matrix).float(), labels, torch.tensor(matrix))


def _made(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}).") from error


def _name(case: Case, first: Case, preparation: Preparation, grid: Grid) -> str:
    """Of the file in which a case is kept: it changes with the case's files, the steps, and what it is laid onto."""
    parts = [f"{grid.shape} {grid.affine.tolist()} {preparation.steps}"]
    for path in (case.image, case.labels, case.mask, first.image, *preparation.references):
        if path is not None:
            state = path.stat()
            parts.append(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
