"""A contact sheet: what a recipe makes, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincide.data.synthesis.draw import Example, draw
from coincide.data.synthesis.recipe import Synthesis
from coincide.data.synthesis.structures import TUMOUR_LABELS
from coincide.image import Image
from coincide.transforms.resample import resample

TITLES = ("fixed", "moving", "moving through the truth", "fixed labels")


def contact_sheet(recipe: Synthesis, seeds: Sequence[int]) -> np.ndarray:
    """Pictures of the examples of `seeds`, one a row: fixed, moving, moving through the truth, and the fixed labels.

    A volume shows its middle slices across x, y and z beside each other; or those through a tumour, where it has one.

    Returns:
        `(height, width, 3)` uint8.
    """
    rows = [_row(draw(recipe, seed)) for seed in seeds]
    return np.concatenate(rows, 0)


def _row(example: Example) -> np.ndarray:
    pair = example.pair
    assert pair.fixed_labels is not None, "draw makes them"
    assert pair.moving_labels is not None, "draw makes them"
    warped = resample(pair.moving, example.truth, pair.fixed.grid)
    here, there = _middle(pair.fixed_labels), _middle(pair.moving_labels)
    shown = ((pair.fixed, here), (pair.moving, there), (warped, here))
    greys = [slices(image.numpy()[0], pair.dim, at) for image, at in shown]
    colours = slices(_coloured(pair.fixed_labels), pair.dim, here)
    parts = [np.repeat(np.clip(grey * 255, 0, 255).astype(np.uint8)[..., None], 3, -1) for grey in greys]
    row = np.concatenate(
        [np.pad(part, ((2, 2), (2, 2), (0, 0)), constant_values=64) for part in (*parts, colours)], 1
    )
    return np.ascontiguousarray(row)


def _middle(labels: Image) -> list[int]:
    """The voxel in the middle of the tumour, or where there is none, of the image."""
    where = np.argwhere(np.isin(labels.numpy()[0], TUMOUR_LABELS[:2]))
    return [int(n) for n in where.mean(0)] if len(where) else [n // 2 for n in labels.grid.shape]


def slices(values: np.ndarray, dim: int, middle: Sequence[int] | None = None) -> np.ndarray:
    """The picture, or three slices of the volume side by side, y or z upwards; `values` may have colours last.

    Args:
        values: `(*shape)` or `(*shape, 3)`.
        dim: 2 or 3.
        middle: the voxel through which the slices go; the middle one where left out.
    """
    if dim == 2:
        return _upright(values)
    middle = [n // 2 for n in values.shape[:3]] if middle is None else middle
    cuts = [_upright(values.take(middle[axis], axis)) for axis in range(3)]
    height = max(len(cut) for cut in cuts)
    spare = [((height - len(cut)) // 2, -(-(height - len(cut)) // 2)) for cut in cuts]
    return np.concatenate([np.pad(c, (s, *[(0, 0)] * (c.ndim - 1))) for c, s in zip(cuts, spare)], 1)


def _upright(cut: np.ndarray) -> np.ndarray:
    return np.swapaxes(cut, 0, 1)[::-1]


def _coloured(labels: Image) -> np.ndarray:
    """A colour for every label, `(*shape, 3)` uint8; the same one in every picture, black for none."""
    values = labels.numpy()[0].astype(np.int64)
    table = np.random.default_rng(0).integers(60, 256, (1 << 15, 3)).astype(np.uint8)
    table[0] = 0
    return table[values]
