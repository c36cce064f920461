"""Pairs of prepared cases for a torch DataLoader, with a cache."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coincide.data.augmentation import Augmentation, augmented
from coincide.data.cases import Case, CasePair, DataSet
from coincide.data.preparation import Preparation, Prepared, prepare
from coincide.data.problems import DataSetError, Problem
from coincide.data.tensors import tensors
from coincide.data.workers import one_thread_in_workers
from coincide.errors import OutputError, unknown
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_points, read_transform
from coincide.io.atomic import whole_file
from coincide.pair import Pair
from coincide.points import matched
from coincide.transforms.base import Transform

Relation = Literal["any", "same", "other"]


@dataclass(eq=False)
class Cache:
    """Prepared images, the last ones in memory, all of them in a folder where one is given.

    What is kept goes by the files' paths, sizes and times of change, and by the preparation: a file that changes is
    prepared anew.

    Args:
        preparation: how.
        folder: where to keep them between runs; it is made where it is missing.
        most: images kept in memory.
    """

    preparation: Preparation
    folder: Path | None = None
    most: int = 64
    _kept: OrderedDict[Case, Prepared] = field(default_factory=OrderedDict)

    def __getitem__(self, case: Case) -> Prepared:
        if case in self._kept:
            self._kept.move_to_end(case)
            return self._kept[case]
        found = (
            prepare(case, self.preparation) if self.folder is None else self._from_folder(case, self.folder)
        )
        self._kept[case] = found
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return found

    def _from_folder(self, case: Case, folder: Path) -> Prepared:
        path = folder / f"{self._name(case)}.pt"
        # files that another program has damaged are made anew
        with suppress(OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError):
            return _loaded(path, case)
        found = prepare(case, self.preparation)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: no folder for prepared images can be made there ({error.strerror}). Name another cache."
            ) from error
        with whole_file(path) as scratch:
            scratch.write_bytes(_packed(found))
        return found

    def _name(self, case: Case) -> str:
        parts = [repr(self.preparation)]
        for path in (case.image, case.labels, case.mask, *self.preparation.references):
            if path is not None:
                # a file that is missing is for the preparation to tell of
                state = path.stat() if path.exists() else None
                parts.append(f"{path.resolve()} {state and (state.st_size, state.st_mtime_ns)}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _packed(found: Prepared) -> bytes:
    parts = {"image": found.image.data, "affine": torch.tensor(found.image.grid.affine)}
    if found.image.mask is not None:
        parts["mask"] = found.image.mask
    if found.labels is not None:
        parts |= {"labels": found.labels.data, "labels_affine": torch.tensor(found.labels.grid.affine)}
    stream = io.BytesIO()
    torch.save(parts, stream)
    return stream.getvalue()


def _loaded(path: Path, case: Case) -> Prepared:
    parts = torch.load(path, weights_only=True)
    data, labels = parts["image"], parts.get("labels")
    grid = Grid(data.shape[1:], parts["affine"].numpy())
    image = Image(data, grid, mask=parts.get("mask"), name=case.title)
    if labels is not None:
        labels = Image(
            labels, Grid(labels.shape[1:], parts["labels_affine"].numpy()), "label", name=str(case.labels)
        )
    return Prepared(image, labels, None if case.points is None else read_points(case.points))


class PreparedPairs(Dataset):
    """Pairs of a data set as tensors that batch, under the keys of `synthesis.as_tensors` as far as they are known.

    Item `i` is always the same pair, changed in the same way: training resumes by where it was.

    Args:
        data: the cases, or the pairs where it lists some.
        preparation: how each image is prepared; it needs a shape, so that pairs batch.
        augmentation: how pairs are changed; not at all where left out.
        relation: which cases make a pair where the data set lists none: `any` two, two of the `same` subject, or of
            `other` ones.
        length: how many items there are; drawn from the pairs by `seed`. Each pair once, in order, where left out.
        seed: of the draws.
        cache: a folder to keep prepared images in between runs.

    Raises:
        OptionError: an unknown relation.
        DataSetError: there is no such pair.
        OutputError: on taking an item, where the cache cannot be written.
    """

    def __init__(
        self,
        data: DataSet,
        preparation: Preparation,
        augmentation: Augmentation | None = None,
        relation: Relation = "any",
        length: int | None = None,
        seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        if relation not in get_args(Relation):
            raise unknown("relation", relation, get_args(Relation))
        self.data = data
        self._made = None if data.pairs else ordered(data, relation)
        number = len(data.pairs) if self._made is None else len(self._made)
        if number == 0:
            message = (
                f"no two cases of {relation} subject among {len(data.cases)}; expected at least one pair."
            )
            raise DataSetError(data.source, [Problem("empty", str(data.source), message)])
        self.augmentation, self.seed = augmentation, seed
        self.length = number if length is None else length
        self._number = number
        self._drawn = length is not None
        self._cache = Cache(preparation, None if cache is None else Path(cache).expanduser())

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        one_thread_in_workers()
        pair, truth = self.pair(index)
        return tensors(pair, truth)

    def pair(self, index: int) -> tuple[Pair, Transform | None]:
        """Item `index` as a pair, and its true transform (fixed-world mm → moving-world mm) where it is known."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        number = index
        if self._drawn:
            number = int(np.random.default_rng((self.seed, index)).integers(self._number))
        pair, truth = self._opened(self._files(number))
        if self.augmentation is None:
            return pair, truth
        seed = int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0])
        return augmented(pair, truth, self.augmentation, seed)

    def _files(self, number: int) -> CasePair:
        if self._made is None:
            return self.data.pairs[number]
        fixed, moving = self._made[number]
        return CasePair(self.data.cases[fixed], self.data.cases[moving])

    def _opened(self, pair: CasePair) -> tuple[Pair, Transform | None]:
        fixed, moving = self._cache[pair.fixed], self._cache[pair.moving]
        points = (None, None)
        if fixed.points is not None and moving.points is not None:
            points = matched(fixed.points, moving.points)
        truth = None if pair.truth is None else read_transform(pair.truth)
        return Pair(fixed.image, moving.image, fixed.labels, moving.labels, *points), truth


def ordered(data: DataSet, relation: Relation) -> np.ndarray:
    """Every ordered pair of different cases that stand in the relation, `(pair, 2)` places in `data.cases`."""
    subjects = np.unique([case.subject for case in data.cases], return_inverse=True)[1]
    same = subjects[:, None] == subjects[None]
    chosen = {"any": np.ones_like(same), "same": same, "other": ~same}[relation]
    return np.argwhere(chosen & ~np.eye(len(subjects), dtype=bool))
