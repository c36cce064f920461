"""What boundary methods see of an image: where its outlines run, which side is inside, and how far away they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.features.distance import distances
from coincide.features.surface import Levels, Surface, foreground_levels, mask_levels
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.classical.surfaces import SurfaceOptions, grown, surfaces
from coincide.pair import Pair

_CHANNELS = 8
"""Distance maps of labels: as many of them as there are share the labels among each other, in turn."""
_VOXELS = {2: 200_000, 3: 400_000}
"""Voxels of a distance map: it is smooth, and finer ones cost much."""
_ROOM = 0.3
"""How far a map reaches beyond the outlines, as a share of their size."""
_DENSE = {2: 20_000, 3: 60_000}
"""Points of a surface that distances are measured from."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """The outlines of one image.

    Args:
        surface: all of them; the groups are those of the labels.
        parts: the surface of each distance map.
        levels: says which side of each is inside; None for edges, which have none.
        grid: of the distance maps.
        name: of the image.
    """

    surface: Surface
    parts: tuple[Surface, ...]
    levels: tuple[Levels, ...] | None
    grid: Grid
    name: str

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.grid.dim

    @property
    def size(self) -> float:
        """Root mean square distance of the outlines from their middle, mm."""
        apart = self.surface.points - self.surface.centre
        return float(np.sqrt((apart**2).sum(1).mean()))

    @property
    def spacing(self) -> float:
        """Voxel size of the maps, mm."""
        return float(self.grid.spacing.max())

    def drawn(self, width: float) -> Image:
        """The distance maps as an image from 0 to 1, a channel each, that flatten at `width` mm from the outlines.

        Far outside they are 0 and far inside 1; those of edges are 1 on an edge and 0 far from it.
        """
        maps = []
        for number, part in enumerate(self.parts):
            side = None if self.levels is None else self.levels[number]
            apart = distances(part.thinned(_DENSE[self.dim]), self.grid, side)
            soft = apart / (np.abs(apart) + width)
            maps.append((1 + soft) / 2 if side is not None else 1 - soft)
        return Image(torch.from_numpy(np.stack(maps).astype(np.float32)), self.grid, name=self.name)


def outlines(pair: Pair, options: SurfaceOptions) -> tuple[Outlines, Outlines, str]:
    """The outlines of both images, and in a sentence where they are from; errors as of `surfaces`."""
    chosen = options.source_for(pair)
    *found, told = surfaces(pair, options)
    if chosen == "grown":
        pair = grown(pair, options.tolerance)
    if chosen in ("labels", "grown"):
        return *_of_labels(pair, found), told
    both = []
    for image, surface in zip((pair.fixed, pair.moving), found):
        levels = None if chosen == "edges" else (_known(_levels(image, chosen, options)),)
        both.append(Outlines(surface, (surface,), levels, _map_grid(surface, image.grid), image.name))
    return both[0], both[1], told


def _of_labels(pair: Pair, found: list[Surface]) -> tuple[Outlines, Outlines]:
    names = np.unique(found[0].group)
    sets = [names[k::_CHANNELS] for k in range(min(_CHANNELS, len(names)))]
    both = []
    for image, labels, surface in zip(
        (pair.fixed, pair.moving), (pair.fixed_labels, pair.moving_labels), found
    ):
        assert labels is not None  # else `surfaces` had refused
        parts = tuple(surface.chosen(np.isin(surface.group, some)) for some in sets)
        masks = [np.isin(labels.numpy()[0], some) for some in sets]
        levels = tuple(_known(mask_levels(mask, labels.grid)) for mask in masks)
        both.append(Outlines(surface, parts, levels, _map_grid(surface, labels.grid), image.name))
    return both[0], both[1]


def _levels(image: Image, chosen: str, options: SurfaceOptions) -> Levels | None:
    if chosen == "mask":
        assert image.mask is not None  # else `surfaces` had refused
        return mask_levels(image.mask.numpy(), image.grid)
    return foreground_levels(image, options.threshold)


def _known(levels: Levels | None) -> Levels:
    assert levels is not None  # there is a surface, so there are levels
    return levels


def _map_grid(surface: Surface, grid: Grid) -> Grid:
    """A grid round the surface, with room on every side on which the border of the image does not cut it off."""
    index = grid.index(surface.points)
    room = _ROOM * np.ptp(index, axis=0).max() + 3
    low, high = index.min(0), index.max(0)
    last = np.array(grid.shape) - 1
    # beyond a border that cuts through it nothing is known
    start = np.where(low < 1, 0, np.floor(low - room)).astype(int)
    stop = np.where(high > last - 1, last, np.ceil(high + room)).astype(int) + 1
    box = grid.cropped(start, stop)
    volume = box.size * box.voxel_volume
    spacing = max(float(grid.spacing.min()), (volume / _VOXELS[grid.dim]) ** (1 / grid.dim))
    return box.orthogonalised(spacing)
