"""Geometry that the machine bent: tilted gantries, and lenses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch

from coincide.errors import DimensionError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample as sample_at
from coincide.options import Range
from coincide.preprocess.step import AbstractStep, GridStep, Sample, intensities_on, labels_on

_ROUNDS = 100


@dataclass(frozen=True)
class Untilt(GridStep):
    """Slices of a tilted gantry laid on a grid whose axes are at right angles; the slices' own axes stay.

    A header that states the tilt (its axes are not at right angles) says all there is to say. Where the slices were
    stacked as if there had been none, `angle` says what it was, and where things lie in the world is put right too,
    round the middle of the image.

    Args:
        angle: degrees by which the slices, stacked upwards, were moved to the front with each mm; 0 takes the header's
            word.
        distance: what the header's slice distance is where `angle` is given: that of the slices' planes, or the feed
            of the table from one to the next, which is 1/cos(angle) of it.
    """

    name: ClassVar[str] = "untilt"
    angle: Annotated[float, Range(-60, 60)] = 0.0
    distance: Literal["planes", "feed"] = "planes"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance == "feed" and not self.angle:
            raise OptionError(
                "untilt: distance=feed goes with an angle; a header that states the tilt says it all."
            )

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:
        if sample.image.dim != 3:
            raise DimensionError(
                f"{sample.image.name}: is 2-D; only volumes have a gantry. Leave untilt out."
            )
        if self.angle:
            grid = self._tilted(sample.image.grid)
            labels = None if sample.labels is None else replace(sample.labels, grid=grid)
            sample = replace(sample, image=replace(sample.image, grid=grid), labels=labels)
        return super().__call__(sample, aids)

    def target(self, image: Image) -> Grid:
        grid = image.grid
        across, along = grid.direction[:, 0], grid.direction[:, 1]
        along = along - across * (across @ along)
        along /= np.linalg.norm(along)
        direction = np.stack([across, along, np.cross(across, along)], axis=1)
        direction[:, 2] *= np.sign(direction[:, 2] @ grid.direction[:, 2])
        # slices lie as far apart as their planes do, not as their corners
        spacing = grid.spacing.copy()
        spacing[2] *= abs(direction[:, 2] @ grid.direction[:, 2])
        local = (grid.corners - grid.corners[0]) @ direction
        low, high = local.min(0), local.max(0)
        shape = np.ceil((high - low) / spacing - 1e-6).astype(int) + 1
        return Grid.from_spacing(tuple(shape), spacing, grid.corners[0] + direction @ low, direction)

    @property
    def moves(self) -> bool:
        return self.angle != 0

    def leads_to(self, world: np.ndarray, before: Grid) -> np.ndarray:
        return self._tilted(before).world(before.index(world)) if self.angle else world

    def _tilted(self, grid: Grid) -> Grid:
        """The grid as a header has it that states the tilt."""
        order = np.argmax(np.abs(grid.direction), axis=0).tolist()
        affine = grid.affine.copy()
        up, front = order.index(2), order.index(1)
        if self.distance == "feed":
            affine[:-1, up] *= np.cos(np.deg2rad(self.angle))
        step = np.linalg.norm(affine[:-1, up]) * np.sign(grid.direction[2, up])
        affine[:-1, up] += (
            step
            * np.tan(np.deg2rad(self.angle))
            * grid.direction[:, front]
            * np.sign(grid.direction[1, front])
        )
        moved = Grid(grid.shape, affine)
        affine[:-1, -1] += grid.centre - moved.centre
        return Grid(grid.shape, affine)


@dataclass(frozen=True)
class Undistort(AbstractStep):
    """What a lens or an image intensifier bent is straightened; pictures alone.

    What lies at radius r from the middle was shown at r·(1 + k1·r² + k2·r⁴), with r in halves of the picture's
    diagonal (Brown 1966). It goes by the whole picture, padding too: straighten first, pad then.

    Args:
        k1: above 0 takes pincushion distortion away, below 0 a barrel's.
        k2: likewise, for what is far from the middle.
        centre: of the distortion, mm; the picture's middle where left out.
    """

    name: ClassVar[str] = "undistort"
    k1: Annotated[float, Range(-0.3, 1)] = 0.1
    k2: Annotated[float, Range(-0.1, 1)] = 0.0
    centre: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        radius = np.linspace(0, 1, 101)
        if (1 + 3 * self.k1 * radius**2 + 5 * self.k2 * radius**4).min() <= 0:
            raise OptionError(
                f"undistort: k1={self.k1} and k2={self.k2} fold the picture inside its corners. Take smaller values."
            )

    def __call__(self, sample: Sample, aids: Mapping[str, Image]) -> Sample:  # noqa: ARG002
        image = sample.image
        if image.dim != 2:
            raise DimensionError(
                f"{image.name}: is {image.dim}-D; a lens bends pictures. Leave undistort out."
            )
        grid = image.grid
        world = self._bent(grid.points(), grid)
        index = torch.from_numpy(np.moveaxis(grid.index(world), -1, 0).copy())
        inside = torch.from_numpy(grid.inside(world))
        data = sample_at(intensities_on(image, grid).contiguous(), index, "linear", "edge")
        mask, shown = (_straight(marked, index, inside) for marked in (image.mask, sample.shown))
        labels = None if sample.labels is None else labels_on(sample.labels, grid, world)
        return Sample(
            Image(data, grid, mask=None if bool(mask.all()) else mask, name=image.name),
            labels,
            None if sample.shown is None else shown,
        )

    def _bent(self, world: np.ndarray, grid: Grid) -> np.ndarray:
        """Where is shown what lies at `world`."""
        apart = (world - self._middle(grid)) / _half_diagonal(grid)
        square = (apart**2).sum(-1, keepdims=True)
        return self._middle(grid) + apart * (1 + self.k1 * square + self.k2 * square**2) * _half_diagonal(
            grid
        )

    def _middle(self, grid: Grid) -> np.ndarray:
        return grid.centre if self.centre is None else np.asarray(self.centre)

    @property
    def moves(self) -> bool:
        return True

    def leads_to(self, world: np.ndarray, before: Grid) -> np.ndarray:
        # by Newton's steps on the radius
        apart = (world - self._middle(before)) / _half_diagonal(before)
        bent = np.linalg.norm(apart, axis=-1)
        radius = bent.copy()
        for _ in range(_ROUNDS):
            excess = radius * (1 + self.k1 * radius**2 + self.k2 * radius**4) - bent
            step = excess / (1 + 3 * self.k1 * radius**2 + 5 * self.k2 * radius**4)
            radius = radius - step
            if np.abs(step).max(initial=0) < 1e-12:
                break
        share = np.divide(radius, bent, out=np.ones_like(bent), where=bent > 0)
        return self._middle(before) + apart * share[..., None] * _half_diagonal(before)


def _straight(marked: torch.Tensor | None, index: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """What is marked, looked up at `index`; what is `inside` where nothing is."""
    if marked is None:
        return inside
    return inside & (sample_at(marked.to(torch.float32)[None], index, "linear")[0] > 0.5)


def _half_diagonal(grid: Grid) -> float:
    return float(np.linalg.norm(grid.spacing * grid.shape)) / 2
