"""The planes a report looks at: straight cuts through the fixed world, as a viewer would hang them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample

WIDTH = 1320
"""Pixels across all the planes together."""
GAP = 12
_TALLEST, _FINEST = 900, 6


@dataclass(frozen=True)
class Plane:
    """A cut through the fixed world.

    Args:
        name: `"axial"`, `"coronal"`, `"sagittal"`, or `"image"` in 2-D.
        points: world mm of every pixel, `(rows, columns, dim)`, the first row at the top.
        letters: what lies at the left, right, top and bottom edge; empty in 2-D.
        pixel: mm between neighbouring pixels, across and down alike.
        across: unit vector in the world from left to right, `(dim,)`.
        down: unit vector in the world from top to bottom, `(dim,)`.
    """

    name: str
    points: np.ndarray
    letters: tuple[str, ...]
    pixel: float
    across: np.ndarray
    down: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.points.shape[0], self.points.shape[1]

    @property
    def normal(self) -> np.ndarray | None:
        """Unit vector out of the plane, or None in 2-D."""
        return np.cross(self.across, self.down) if len(self.across) == 3 else None

    @property
    def where(self) -> str:
        """The plane's place in words."""
        if self.normal is None:
            return "x to the right, y down"
        axis = int(np.argmax(np.abs(self.normal)))
        return f"{self.name}, {'xyz'[axis]} = {self.points[0, 0, axis]:.1f} mm"

    def pixels(self, world: np.ndarray) -> np.ndarray:
        """Column and row (fractional) of world positions, projected onto the plane, `(..., 2)`."""
        from_corner = world - self.points[0, 0]
        return np.stack([from_corner @ self.across, from_corner @ self.down], axis=-1) / self.pixel


# name, world axis and sense from left to right, from top to bottom, and the four letters. Radiological: the
# patient's left is on the viewer's right, as if one stood at the patient's feet or before the patient.
_HANGING = (
    ("axial", (0, -1), (1, -1), ("R", "L", "A", "P")),
    ("coronal", (0, -1), (2, -1), ("R", "L", "S", "I")),
    ("sagittal", (1, -1), (2, -1), ("A", "P", "S", "I")),
)
_FLAT = (("image", (0, 1), (1, 1), ()),)


def planes(fixed: Image) -> tuple[Plane, ...]:
    """The planes through the middle of what `fixed` shows: three in 3-D, in 2-D the image itself."""
    low, high = content_box(fixed)
    hanging = _FLAT if fixed.dim == 2 else _HANGING
    extent = high - low
    across = sum(extent[h[1][0]] for h in hanging)
    tallest = max(extent[h[2][0]] for h in hanging)
    finest = fixed.grid.spacing.min() / _FINEST  # more would be empty magnification
    pixel = max(across / (WIDTH - GAP * (len(hanging) - 1)), tallest / _TALLEST, finest)
    return tuple(_plane(h, low, high, pixel) for h in hanging)


def _plane(hanging, low: np.ndarray, high: np.ndarray, pixel: float) -> Plane:
    name, (right_axis, right_sense), (down_axis, down_sense), letters = hanging
    dim = len(low)
    middle = (low + high) / 2
    across, down = np.zeros(dim), np.zeros(dim)
    across[right_axis], down[down_axis] = right_sense, down_sense
    columns = max(2, int((high - low)[right_axis] / pixel))
    rows = max(2, int((high - low)[down_axis] / pixel))
    x = (np.arange(columns) - (columns - 1) / 2) * pixel
    y = (np.arange(rows) - (rows - 1) / 2) * pixel
    points = middle + y[:, None, None] * down + x[None, :, None] * across
    return Plane(name, points, letters, pixel, across, down)


def content_box(image: Image, margin: float = 0.04) -> tuple[np.ndarray, np.ndarray]:
    """Corners (world mm) of an upright box round the mask, or round what stands out from the dark.

    Args:
        image: in 2-D the whole image is taken.
        margin: to leave round it, as a share of its size.
    """
    grid = image.grid
    field_of_view = np.stack([grid.corners.min(0), grid.corners.max(0)])
    if image.dim == 2:
        return field_of_view[0], field_of_view[1]
    step = max(1, round((grid.size / 2e5) ** (1 / 3)))
    coarse = (slice(None, None, step),) * 3
    seen = _content(image, coarse)
    if not seen.any():
        return field_of_view[0], field_of_view[1]
    world = grid.world(np.argwhere(seen) * step)
    low, high = world.min(0), world.max(0)
    room = margin * (high - low).max() + grid.spacing.max()
    return np.maximum(low - room, field_of_view[0]), np.minimum(high + room, field_of_view[1])


def _content(image: Image, coarse) -> np.ndarray:
    if image.mask is not None:
        return image.mask[coarse].numpy()
    values = np.nan_to_num(image.data[0][coarse].float().numpy())
    low, high = np.percentile(values, (1, 99.5))
    return values > low + 0.12 * (high - low)


class Cut:
    """A plane's pixels among the voxels of a grid, where several volumes are read off.

    Args:
        grid: where the voxels lie.
        world: mm, `(rows, columns, dim)`.
    """

    def __init__(self, grid: Grid, world: np.ndarray) -> None:
        self._index = np.ascontiguousarray(np.moveaxis(grid.index(world), -1, 0))
        self._shape = grid.shape
        ends = np.reshape(grid.shape, (-1, 1, 1)) - 0.5
        self.inside: np.ndarray = np.logical_and.reduce((self._index >= -0.5) & (self._index < ends))

    @cached_property
    def _nearest(self) -> np.ndarray:
        nearest = np.floor(self._index + 0.5).astype(np.int32)
        ends = np.reshape(self._shape, (-1, 1, 1))
        return np.asarray(np.ravel_multi_index(tuple(np.clip(nearest, 0, ends - 1)), self._shape))

    def linear(self, volume: torch.Tensor) -> np.ndarray:
        """Values of a `(*shape)` volume between its voxels, zero outside."""
        return sample(volume[None].float().contiguous(), torch.from_numpy(self._index)).numpy()[0]

    def nearest(self, volume: torch.Tensor) -> np.ndarray:
        """Values of a `(*shape)` volume at the nearest voxels, zero outside, in the volume's own type."""
        values = volume.numpy().reshape(-1)[self._nearest]
        values[~self.inside] = 0
        return values
