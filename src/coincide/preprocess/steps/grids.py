"""Other grids: axes named anew, coarser or finer voxels, less or more round the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch

from coincide.errors import MaskError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample as sample_at
from coincide.options import NotNegative, Positive
from coincide.preprocess.orientation import to_letters
from coincide.preprocess.step import AbstractStep, GridStep, Sample, box_of, intensities_on


@dataclass(frozen=True)
class Reorient(AbstractStep):
    """Index axes exchanged and turned round until they run as named; nothing is interpolated. 3-D alone.

    Args:
        axes: towards what the three axes run: one each of L/R, P/A, I/S.
    """

    name: ClassVar[str] = "reorient"
    axes: str = "RAS"

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:  # noqa: ARG002
        turn = to_letters(self.axes, sample.image.grid)
        labels = None if sample.labels is None else turn.image(sample.labels)
        shown = None if sample.shown is None else turn.array(sample.shown)
        return Sample(turn.image(sample.image), labels, shown)


@dataclass(frozen=True)
class Resample(GridStep):
    """Voxels of another size over the same field of view, axes as they are; smoothed first where they grow coarser.

    Args:
        spacing: mm: one number, or one for each axis of the world (right, front, up).
        interpolation: between voxels; a cubic B-spline rings at edges. Where voxels grow coarser by more than half, and
            what lies between them was smoothed away, cubic is linear.
    """

    name: ClassVar[str] = "resample"
    spacing: tuple[Positive, ...] = (1.0,)
    interpolation: Literal["linear", "cubic", "nearest"] = "linear"

    def target(self, image: Image) -> Grid:
        grid = image.grid
        if len(self.spacing) not in (1, grid.dim):
            raise OptionError(
                f"resample: {len(self.spacing)} spacings for a {grid.dim}-D image; expected one, or one for each axis."
            )
        return respaced(image, np.broadcast_to(np.asarray(self.spacing, float), (grid.dim,)))

    def values(self, image: Image, grid: Grid) -> torch.Tensor:
        if self.interpolation == "nearest":
            index = torch.from_numpy(np.moveaxis(image.grid.index(grid.points()), -1, 0).copy())
            return sample_at(image.data.contiguous(), index, "nearest", "edge")
        return intensities_on(image, grid, cubic=self.interpolation == "cubic")


@dataclass(frozen=True)
class Crop(AbstractStep):
    """What lies outside the box round the mask is cut away; whole voxels, axes as they are.

    Args:
        margin: left round the box, mm.
    """

    name: ClassVar[str] = "crop"
    margin: NotNegative = 0.0

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:  # noqa: ARG002
        if sample.image.mask is None:
            raise MaskError(
                f"{sample.image.name}: has no mask to crop to. Give one, or make one first: threshold | crop."
            )
        box = box_of(sample.image.mask.numpy())
        room = voxels(self.margin, sample.image.grid)
        start = np.maximum(np.array([s.start for s in box]) - room, 0)
        stop = np.minimum(np.array([s.stop for s in box]) + room, sample.image.grid.shape)
        return _cut(sample, start, stop, 0.0)


@dataclass(frozen=True)
class Pad(AbstractStep):
    """More voxels round the image; the mask says that they do not count.

    Args:
        margin: on every side, mm.
        value: that they hold.
    """

    name: ClassVar[str] = "pad"
    margin: Positive = 10.0
    value: float = 0.0

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:  # noqa: ARG002
        image = sample.image
        if image.mask is None:
            image = image.with_mask(torch.ones(image.grid.shape, dtype=torch.bool))
        room = voxels(self.margin, image.grid)
        shown = torch.ones(image.grid.shape, dtype=torch.bool) if sample.shown is None else sample.shown
        return _cut(
            Sample(image, sample.labels, shown), -room, np.asarray(image.grid.shape) + room, self.value
        )


def voxels(margin: float, grid: Grid) -> np.ndarray:
    """The fewest voxels along each axis that reach as far as `margin`, mm."""
    return np.ceil(margin / grid.spacing - 1e-6).astype(int)


def respaced(image: Image, spacing: np.ndarray) -> Grid:
    """A grid of another `spacing` (mm) along the same axes, over the same field of view: all of it and less than one
    voxel more.

    Its voxels are laid out from the box of those that count: what was put round these moves none.
    """
    grid = image.grid
    box = [slice(0, n) for n in grid.shape] if image.mask is None else box_of(image.mask.numpy())
    start, stop = np.array([s.start for s in box]), np.array([s.stop for s in box])
    number = np.maximum(np.ceil((stop - start) * grid.spacing / spacing - 1e-6), 1)
    # in index positions of the old grid
    size = spacing / grid.spacing
    first = (start + stop - number * size) / 2
    before = np.floor((first + size / 2) / size + 1e-6).clip(0)
    after = np.floor((np.asarray(grid.shape) - first - number * size + size / 2) / size + 1e-6).clip(0)
    # where there is no mask, the box is the field of view
    before, after = (np.where((start == 0) & (stop == grid.shape), 0, b) for b in (before, after))
    affine = grid.affine.copy()
    affine[:-1, :-1] = grid.direction * spacing
    affine[:-1, -1] = grid.world(first - before * size + size / 2 - 0.5)
    return Grid(tuple(int(n) for n in number + before + after), affine)


def _cut(sample: Sample, start: np.ndarray, stop: np.ndarray, value: float) -> Sample:
    """The voxels from `start` up to but without `stop`; those outside hold `value`, and do not count."""
    image = sample.image
    grid = image.grid.cropped(start, stop)
    mask = None if image.mask is None else _taken(image.mask, start, stop, False)
    data = _taken(image.data, start, stop, value)
    labels = sample.labels
    if labels is not None:
        labels = replace(labels, data=_taken(labels.data, start, stop, 0), grid=grid, mask=None)
    shown = None if sample.shown is None else _taken(sample.shown, start, stop, False)
    return Sample(replace(image, data=data, grid=grid, mask=mask), labels, shown)


def _taken(values: torch.Tensor, start: np.ndarray, stop: np.ndarray, value: float) -> torch.Tensor:
    lead, shape = values.ndim - len(start), values.shape[values.ndim - len(start) :]
    out = values.new_full((*values.shape[:lead], *(int(n) for n in stop - start)), value)
    low, high = np.maximum(start, 0), np.minimum(stop, shape)
    there = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
    here = tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start))
    out[(..., *here)] = values[(..., *there)]
    return out
