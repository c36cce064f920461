"""What is described: the voxels of one label, or all that count, with their values and places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.errors import LabelError
from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.orientation import along_world
from coincide.preprocess.step import box_of

WHOLE = "image"
"""What the region of all voxels that count is called."""


@dataclass(frozen=True, eq=False)
class Region:
    """A part of an image, cut out with one voxel of room where the image has any; axes along the world's.

    Args:
        values: `(channel, *shape)` float64.
        inside: `(*shape)` bool: the region.
        grid: of the cut.
    """

    values: np.ndarray
    inside: np.ndarray
    grid: Grid


def regions(image: Image, labels: Image | None = None) -> dict[str, Region]:
    """The whole image (where it counts) and the region of each label, by name; 0 is no label.

    Raises:
        LabelError: the labels lie on another grid.
    """
    turn = along_world(image.grid)
    upright = turn.image(image)
    values = upright.numpy().astype(np.float64)
    known = np.asarray(np.isfinite(values).all(0))
    if image.mask is not None:
        known &= upright.mask.numpy()  # type: ignore[union-attr] - turned with its image
    found = {WHOLE: _cut(values, known, upright.grid)} if known.any() else {}
    if labels is None:
        return found
    if not labels.grid.matches(image.grid):
        raise LabelError(
            f"{labels.name}: the labels lie on {labels.grid!r}, their image on {image.grid!r}. Resample them first."
        )
    names = turn.array(labels.data[0]).numpy()
    for name in np.unique(names[known]):
        if name != 0:
            found[str(int(name))] = _cut(values, known & (names == name), upright.grid)
    return found


def _cut(values: np.ndarray, inside: np.ndarray, grid: Grid) -> Region:
    box = box_of(inside)
    start = [max(s.start - 1, 0) for s in box]
    stop = [min(s.stop + 1, n) for s, n in zip(box, inside.shape)]
    wider = tuple(slice(a, b) for a, b in zip(start, stop))
    return Region(values[(slice(None), *wider)], inside[wider], grid.cropped(start, stop))
