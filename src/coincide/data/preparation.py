"""From a case on disk to an image of the shape, spacing and range that a network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from coincide.data.cases import Case
from coincide.errors import IntensityError, OptionError, unknown
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import as_mask, read_image, read_points
from coincide.points import Points
from coincide.preprocess.normalise import normalise
from coincide.preprocess.pipeline import Pipeline, parse
from coincide.preprocess.shrink import resample_smooth
from coincide.transforms.linear import identity
from coincide.transforms.resample import resample

Range = Literal["percentile", "range", "zscore", "window"]


@dataclass(frozen=True)
class Preparation:
    """What is done to every image before a network sees it.

    Args:
        shape: voxels, around the middle of the image's mask or else of its field of view; axes along the world's.
            Where left out, the image's own grid is kept.
        spacing: mm of a voxel, one number for all axes; needed with `shape`.
        intensity: what becomes 0 and 1: the `percentile`s 0.5 and 99.5, the whole `range`, or a CT `window`; `zscore`
            takes the mean off and divides by the standard deviation instead.
        window: lowest and highest value of the window (Hounsfield units in CT).
        steps: done before all this, on the image as it is, written as for `coincide preprocess`: `"n4 | nlm"`.

    Raises:
        OptionError: an unknown range, a shape without a spacing or the other way about, a window that is none, or steps
            that cannot be read, or after which things lie elsewhere in the world: points and truths would not follow.
    """

    shape: tuple[int, ...] | None = None
    spacing: float | None = None
    intensity: Range = "percentile"
    window: tuple[float, float] = (-160.0, 240.0)
    steps: str = ""

    def __post_init__(self) -> None:
        if self.intensity not in get_args(Range):
            raise unknown("range of intensities", self.intensity, get_args(Range))
        if (self.shape is None) != (self.spacing is None):
            raise OptionError(f"shape is {self.shape} and spacing {self.spacing}; expected both or neither.")
        if self.spacing is not None and self.spacing <= 0:
            raise OptionError(f"the spacing to prepare images at is {self.spacing} mm, expected more than 0.")
        if self.window[0] >= self.window[1]:
            raise OptionError(f"the window is {self.window}, expected a lower and a higher value.")
        for step in () if self.pipeline is None else self.pipeline.steps:
            if step.moves:
                raise OptionError(
                    f"steps: after {step} things lie elsewhere in the world, where landmarks and true transforms would "
                    "not follow. Do it on the files, by coincide preprocess."
                )

    @property
    def pipeline(self) -> Pipeline | None:
        """The steps, where there are any."""
        return parse(self.steps) if self.steps else None

    @property
    def references(self) -> tuple[Path, ...]:
        """Files that the steps look at beside the image's own."""
        return () if self.pipeline is None else tuple(Path(name) for name in self.pipeline.references)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case in memory, ready for a network.

    Args:
        image: intensities.
        labels: on the image's grid.
        points: in its world.
    """

    image: Image
    labels: Image | None
    points: Points | None


def prepare(case: Case, preparation: Preparation) -> Prepared:
    """Read a case and prepare it.

    Raises:
        InputError: a file of it cannot be read or used; see `inspection` for all of them at once.
    """
    image = replace(read_image(case.image), name=case.title)
    if case.mask is not None:
        image = image.with_mask(as_mask(case.mask, image.grid))
    labels = None if case.labels is None else read_image(case.labels, kind="label")
    if (pipeline := preparation.pipeline) is not None:
        aids = {name: read_image(name) for name in pipeline.references}
        done = pipeline(image, labels, aids)
        image, labels = done.image, done.labels
    image = ranged(image, preparation)
    if preparation.shape is not None and preparation.spacing is not None:
        grid = around(image, preparation.shape, preparation.spacing)
        image = _onto(image, grid)
        labels = None if labels is None else resample(labels, identity(grid.dim), grid, "label")
    return Prepared(image, labels, None if case.points is None else read_points(case.points))


def ranged(image: Image, preparation: Preparation) -> Image:
    """The image with its intensities in the range that `preparation` asks for, float32.

    Raises:
        IntensityError: the image is constant in its mask.
    """
    if preparation.intensity == "percentile":
        return normalise(image)
    values = image.data if image.mask is None else image.data[:, image.mask]
    values = values[torch.isfinite(values)].to(torch.float64)
    if preparation.intensity == "window":
        low, high = preparation.window
    elif values.numel() == 0 or float(values.min()) == float(values.max()):
        raise IntensityError(f"{image.name}: every voxel has the same value. Check the file and the mask.")
    elif preparation.intensity == "range":
        low, high = float(values.min()), float(values.max())
    else:
        low = float(values.mean())
        high = low + float(values.std())
        return image.with_data(torch.nan_to_num((image.data.to(torch.float32) - low) / (high - low)))
    return normalise(image.with_data(image.data.clamp(low, high)), (low, high))


def around(image: Image, shape: tuple[int, ...], spacing: float) -> Grid:
    """A grid of `shape` at `spacing` mm, axes along the world's, around the middle of the image's mask or of itself.

    Raises:
        OptionError: the shape has another number of dimensions than the image.
    """
    if len(shape) != image.dim:
        raise OptionError(f"{image.name}: is {image.dim}-D, but images are to be prepared to shape {shape}.")
    centre = image.grid.centre
    if image.mask is not None:
        some = image.grid.world(np.argwhere(image.mask.numpy()))
        centre = (some.min(0) + some.max(0)) / 2
    return Grid.from_spacing(shape, spacing, centre - (np.asarray(shape) - 1) / 2 * spacing)


def _onto(image: Image, grid: Grid) -> Image:
    """The image on `grid`, smoothed first as far as that is coarser; past its border it is as dark as it gets."""
    data = resample_smooth(image.data, image.grid, grid)
    shown = torch.from_numpy(image.grid.inside(grid.points()))
    mask = None
    if image.mask is not None:
        share = resample_smooth(image.mask.to(torch.float32)[None], image.grid, grid)[0]
        mask = (share > 0.5) & shown
        mask = mask if bool(mask.any()) else None
    return Image(torch.where(shown, data, data.min()), grid, mask=mask, name=image.name)
