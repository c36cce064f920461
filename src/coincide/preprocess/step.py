"""What a step is: an image in, an image out, with its mask, its labels and its place in the world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from coincide.errors import IntensityError, MaskError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.memory import require
from coincide.ops.sample import sample as sample_at
from coincide.options import Checked
from coincide.preprocess.orientation import along_world
from coincide.preprocess.shrink import resample_smooth

_BYTES = 64
"""Peak memory of laying an image on another grid, beside its values, per voxel: positions of voxels, mostly."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What passes through the steps.

    Args:
        image: intensities, and the mask of the voxels that count.
        labels: on the image's grid, or None.
        shown: `(*shape)` bool, the voxels that were not put round the image; None where that is all.
    """

    image: Image
    labels: Image | None = None
    shown: torch.Tensor | None = None

    @property
    def seen(self) -> Image:
        """The image, NaN where nothing was shown: what was put round it then takes part in no step."""
        if self.shown is None:
            return self.image
        return self.image.with_data(self.image.data.to(torch.float32).masked_fill(~self.shown, torch.nan))


@dataclass(frozen=True, eq=False)
class Seen:
    """What a step sees of one channel: the box round the voxels that count, axes along the world's.

    Args:
        values: `(*shape)` float32; voxels that do not count hold the value of the nearest one that does, so that
            nothing of them leaks into the others.
        known: `(*shape)` bool, the voxels that count.
        grid: of the box.
        name: what to call the image in messages.
    """

    values: np.ndarray
    known: np.ndarray
    grid: Grid
    name: str

    @property
    def spacing(self) -> np.ndarray:
        """mm, `(dim,)`."""
        return self.grid.spacing

    def range(self, lower: float = 0.0, upper: float = 100.0) -> tuple[float, float]:
        """Two percentiles of the values that count.

        Raises:
            IntensityError: they are the same.
        """
        low, high = np.percentile(self.values[self.known].astype(np.float64), [lower, upper])
        if low >= high:
            raise IntensityError(
                f"{self.name}: the percentiles {lower:g} and {upper:g} of what counts are both {low:g}. Check the "
                "image and its mask, or take percentiles farther apart."
            )
        return float(low), float(high)


class AbstractStep(Checked, ABC):
    """One step. A frozen dataclass of its options, each with its unit; without state.

    Raises:
        OptionError: an option of another type, not finite, or out of the range its type states.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """What it is computed by, beside numpy and torch: their versions go into the record."""

    @abstractmethod
    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:
        """The sample after the step.

        Args:
            sample: is not changed.
            aids: other images, by the names that options give.

        Raises:
            InputError: the step cannot be done on this image.
        """

    @property
    def moves(self) -> bool:
        """Whether things lie elsewhere in the world afterwards."""
        return False

    def leads_to(self, world: np.ndarray, before: Grid) -> np.ndarray:  # noqa: ARG002 - most steps move nothing
        """Where in the world after the step lies what is shown at a place in the world before it.

        Args:
            world: mm, `(…, dim)`.
            before: the grid of the image before the step.
        """
        return world


class ValueStep(AbstractStep):
    """A step that changes values alone, and only those of the voxels that count."""

    @abstractmethod
    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:
        """The new values `(*shape)` of what is seen; those that do not count are thrown away."""

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:
        image = sample.image
        turn = along_world(image.grid)
        upright = turn.image(image)
        data = upright.data.clone()
        for channel in range(image.channels):
            seen, box = look(upright, channel)
            fresh = np.where(seen.known, self.change(seen, aids), upright.data[channel][box].numpy())
            data[channel][box] = torch.from_numpy(fresh).to(data.dtype)
        return replace(sample, image=image.with_data(turn.back.array(data)))


class MaskStep(AbstractStep):
    """A step that says which voxels count; the values stay."""

    @abstractmethod
    def mark(self, image: Image) -> np.ndarray:
        """The new mask `(*shape)` bool of an image whose axes run along the world's."""

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:  # noqa: ARG002 - other steps need them
        turn = along_world(sample.image.grid)
        mask = self.mark(turn.image(sample.seen))
        if not mask.any():
            raise MaskError(
                f"{sample.image.name}: nothing is left of the mask after the step {self.name!r} ({self}). Check what "
                "it is given, and its options."
            )
        return replace(sample, image=sample.image.with_mask(turn.back.array(torch.from_numpy(mask))))


class GridStep(AbstractStep):
    """A step that lays the image, its mask and its labels on another grid; what lies where in the world stays."""

    @abstractmethod
    def target(self, image: Image) -> Grid:
        """The grid to lay an image on whose axes run along the world's."""

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:  # noqa: ARG002 - other steps need them
        turn = along_world(sample.image.grid)
        image = turn.image(sample.seen)
        grid = self.target(image)
        need = grid.size * (4 * image.channels + _BYTES)
        require(need, f"{image.name}: {self.name} onto {grid!r}", "Take a coarser spacing, or crop first.")
        labels = (
            None if sample.labels is None else turn.back.image(labels_on(turn.image(sample.labels), grid))
        )
        data, mask, shown = self.values(image, grid), mask_on(image, grid), None
        if sample.shown is not None:
            shown = mask_on(image.with_mask(turn.array(sample.shown)), grid)
            index = torch.from_numpy(np.moveaxis(image.grid.index(grid.points()), -1, 0).copy())
            around = sample_at(turn.array(sample.image.data).contiguous(), index, "nearest", "edge")
            data = torch.where(shown, data, around)  # type: ignore[arg-type] - there is a mask
            shown = turn.back.array(shown)  # type: ignore[arg-type]
        return Sample(turn.back.image(Image(data, grid, mask=mask, name=image.name)), labels, shown)

    def values(self, image: Image, grid: Grid) -> torch.Tensor:
        """The values of an image on another grid."""
        return intensities_on(image, grid)


def intensities_on(image: Image, grid: Grid, cubic: bool = False) -> torch.Tensor:
    """The values of an image on another grid, smoothed first as far as that is coarser; past its border they go on."""
    data = np.stack([filled(v, np.isfinite(v), image.grid.spacing) for v in image.numpy()])
    return resample_smooth(torch.from_numpy(data).to(torch.float32), image.grid, grid, cubic=cubic)


def look(image: Image, channel: int) -> tuple[Seen, tuple[slice, ...]]:
    """What a step sees of a channel of an image, and the box where that lies."""
    values = image.numpy()[channel].astype(np.float32, copy=False)
    known = np.isfinite(values)
    if image.mask is not None:
        known &= image.mask.numpy()
    if not known.any():
        raise IntensityError(
            f"{image.name}: no voxel that counts holds a number. Check the file and its mask."
        )
    box = box_of(known)
    grid = image.grid.cropped([s.start for s in box], [s.stop for s in box])
    return Seen(filled(values[box], known[box], grid.spacing), known[box], grid, image.name), box


def box_of(marked: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all marked voxels, of which there must be some."""
    box = []
    for axis in range(marked.ndim):
        line = np.flatnonzero(marked.any(axis=tuple(a for a in range(marked.ndim) if a != axis)))
        box.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(box)


def filled(values: np.ndarray, known: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The values, with those not known replaced by that of the nearest known voxel, in mm."""
    from scipy.ndimage import distance_transform_edt

    if known.all() or not known.any():
        return np.ascontiguousarray(values)
    nearest = distance_transform_edt(~known, spacing, return_distances=False, return_indices=True)
    return np.ascontiguousarray(values[tuple(nearest)])  # type: ignore[arg-type] - indices were asked for


def mask_on(image: Image, grid: Grid) -> torch.Tensor | None:
    """The mask of an image on another grid: where more than half of what lies there counts."""
    if image.mask is None:
        return None
    share = resample_smooth(image.mask.to(torch.float32)[None], image.grid, grid)[0]
    mask = (share > 0.5) & torch.from_numpy(image.grid.inside(grid.points()))
    if not bool(mask.any()):
        raise MaskError(f"{image.name}: nothing is left of the mask on {grid!r}. Take a finer spacing.")
    return mask


def labels_on(labels: Image, grid: Grid, world: np.ndarray | None = None) -> Image:
    """Labels on another grid, by the smooth vote; background outside.

    Args:
        labels: keep their integer type.
        grid: where they go.
        world: mm, `(*grid.shape, dim)`: where to look each voxel up; its own place where left out.
    """
    index = labels.grid.index(grid.points() if world is None else world)
    index = torch.from_numpy(np.moveaxis(index, -1, 0).copy())
    return replace(labels, data=sample_at(labels.data.contiguous(), index, "label"), grid=grid, mask=None)
