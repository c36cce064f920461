"""Anatomies from a folder of label maps."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from coincide.data.synthesis.anatomy import Anatomy, detail
from coincide.data.synthesis.structures import LAST
from coincide.errors import DimensionError, LabelError, MissingFileError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_image
from coincide.io.images import FORMATS
from coincide.transforms.linear import identity
from coincide.transforms.resample import resample

_MOST = 30_000
"""The largest label of a file; it becomes `LAST` more, which still fits into 16 bits."""


@lru_cache(maxsize=8)
def label_maps(folder: str) -> tuple[Path, ...]:
    """The images in `folder` and the folders below it, by name.

    Raises:
        MissingFileError: no such folder, or it holds none.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise MissingFileError(f"{folder}: is no folder; expected one of label maps to synthesise from.")
    suffixes = tuple(s for known in FORMATS.values() for s in known)
    found = tuple(sorted(p for p in root.rglob("*") if p.name.lower().endswith(suffixes)))
    if not found:
        raise MissingFileError(f"{folder}: holds no label map; expected images with integer labels.")
    return found


def mapped(rng: np.random.Generator, grid: Grid, folder: str) -> Anatomy:
    """One of the label maps in `folder`, its labels `LAST` more than in the file; of a volume in 2-D, one slice.

    Raises:
        MissingFileError: there is none.
        DimensionError: a picture, where volumes are asked for.
        LabelError: a label that is negative or above 30 000, or a map of nothing.
    """
    paths = label_maps(folder)
    path = paths[int(rng.integers(len(paths)))]
    step = float(grid.spacing.min())
    image = _read(path) if grid.dim == 2 else _coarse(path, step)
    if image.dim < grid.dim:
        raise DimensionError(
            f"{path}: is 2-D, but 3-D pairs are to be synthesised. Take it out of the folder."
        )
    labels = image.numpy()[0]
    if image.dim > grid.dim:
        axis = int(rng.integers(3))
        some = np.flatnonzero(labels.any(tuple(a for a in range(3) if a != axis)))
        place = int(rng.choice(some[len(some) // 8 : len(some) - len(some) // 8]))
        labels = np.ascontiguousarray(labels.take(place, axis))
        flat = Grid.from_spacing(labels.shape, np.delete(image.grid.spacing, axis))
        labels = _onto(Image(torch.from_numpy(labels), flat, "label"), step).numpy()[0]
    elif grid.dim == 2:
        labels = _onto(image, step).numpy()[0]
    lattice = Grid.from_spacing(labels.shape, step, -(np.asarray(labels.shape) - 1) / 2 * step)
    return Anatomy(labels, lattice, detail(rng, lattice))


@lru_cache(maxsize=4)
def _read(path: Path) -> Image:
    image = read_image(path, kind="label")
    values = image.numpy()
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > _MOST or high == low == 0:
        raise LabelError(
            f"{path}: holds labels from {low} to {high}, expected some between 1 and {_MOST}. Renumber them."
        )
    numbered = np.where(values[0] > 0, values[0].astype(np.int64) + LAST, 0).astype(np.int16)
    return Image(torch.from_numpy(numbered)[None], image.grid, "label", name=str(path))


@lru_cache(maxsize=256)
def _coarse(path: Path, step: float) -> Image:
    """The map at `step` mm, its axes along the world's, as far as there are labels."""
    return _onto(_read(path), step)


def _onto(image: Image, step: float) -> Image:
    some = image.grid.world(np.argwhere(image.numpy()[0]))
    low, high = some.min(0) - step, some.max(0) + step
    shape = np.ceil((high - low) / step).astype(int) + 1
    return resample(image, identity(image.dim), Grid.from_spacing(tuple(shape), step, low), "label")
