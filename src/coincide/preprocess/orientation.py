"""Index axes laid along the world's, exactly, and back: nothing is interpolated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from coincide.errors import DimensionError, OptionError
from coincide.grid import Grid
from coincide.image import Image

_LETTERS = ("LR", "PA", "IS")


@dataclass(frozen=True)
class Turn:
    """An exchange of index axes and of their senses.

    Args:
        order: which old axis each new one is.
        flipped: whether each new axis runs against the old one.
    """

    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    def grid(self, grid: Grid) -> Grid:
        """The grid with other axes; every voxel stays where it is in the world."""
        n = grid.dim
        matrix = np.zeros((n + 1, n + 1))
        matrix[n, n] = 1
        for new, (old, flip) in enumerate(zip(self.order, self.flipped)):
            matrix[old, new] = -1 if flip else 1
            matrix[old, n] = grid.shape[old] - 1 if flip else 0
        return Grid(tuple(grid.shape[a] for a in self.order), grid.affine @ matrix)

    def array(self, values: torch.Tensor) -> torch.Tensor:
        """`(…, *shape)` with other axes."""
        lead = values.ndim - len(self.order)
        turned = values.permute(*range(lead), *(lead + a for a in self.order))
        flips = [lead + axis for axis, flip in enumerate(self.flipped) if flip]
        return (turned.flip(flips) if flips else turned).contiguous()

    def image(self, image: Image) -> Image:
        """The image, and its mask, with other axes."""
        mask = None if image.mask is None else self.array(image.mask)
        return replace(image, data=self.array(image.data), grid=self.grid(image.grid), mask=mask)

    @property
    def back(self) -> Turn:
        """What undoes it."""
        order = tuple(int(a) for a in np.argsort(self.order))
        return Turn(order, tuple(self.flipped[a] for a in order))


def along_world(grid: Grid) -> Turn:
    """The turn after which index axis `i` of `grid` runs along world axis `i`, as nearly as it can."""
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(-np.abs(grid.direction))
    return Turn(
        tuple(int(a) for a in order),
        tuple(bool(grid.direction[world, axis] < 0) for world, axis in enumerate(order)),
    )


def to_letters(letters: str, grid: Grid) -> Turn:
    """The turn after which the axes of a 3-D grid run towards what `letters` name: `"RAS"`, `"LPS"`, `"PSR"` ….

    Raises:
        OptionError: the letters do not name each axis once.
        DimensionError: a picture has no anatomical axes.
    """
    if grid.dim != 3:
        raise DimensionError(
            f"axes cannot be named {letters!r} on a 2-D image, whose world has no right or left. Leave the step out."
        )
    worlds = [next((w for w, pair in enumerate(_LETTERS) if c in pair), -1) for c in letters.upper()]
    if sorted(worlds) != [0, 1, 2]:
        raise OptionError(
            f"axes {letters!r} do not name three directions; expected one of each of L/R, P/A and I/S."
        )
    first = along_world(grid)
    against = [letters.upper()[axis] == _LETTERS[world][0] for axis, world in enumerate(worlds)]
    return Turn(
        tuple(first.order[w] for w in worlds),
        tuple(first.flipped[w] != flip for w, flip in zip(worlds, against)),
    )
