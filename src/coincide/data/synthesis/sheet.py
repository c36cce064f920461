"""A contact sheet: what a recipe makes, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincide.data.synthesis.draw import Example, draw
from coincide.data.synthesis.recipe import Synthesis
from coincide.image import Image
from coincide.transforms.resample import resample

TITLES = ("fixed", "moving", "moving through the truth", "fixed labels")


def contact_sheet(recipe: Synthesis, seeds: Sequence[int]) -> np.ndarray:
    """Pictures of the examples of `seeds`, one a row: fixed, moving, moving through the truth, and the fixed labels.

    A volume shows its middle slices across x, y and z beside each other.

    Returns:
        `(height, width, 3)` uint8.
    """
    rows = [_row(draw(recipe, seed)) for seed in seeds]
    return np.concatenate(rows, 0)


def _row(example: Example) -> np.ndarray:
    pair = example.pair
    assert pair.fixed_labels is not None, "draw makes them"
    warped = resample(pair.moving, example.truth, pair.fixed.grid)
    greys = [slices(image.numpy()[0], pair.dim) for image in (pair.fixed, pair.moving, warped)]
    colours = slices(_coloured(pair.fixed_labels), pair.dim)
    parts = [np.repeat(np.clip(grey * 255, 0, 255).astype(np.uint8)[..., None], 3, -1) for grey in greys]
    row = np.concatenate(
        [np.pad(part, ((2, 2), (2, 2), (0, 0)), constant_values=64) for part in (*parts, colours)], 1
    )
    return np.ascontiguousarray(row)


def slices(values: np.ndarray, dim: int) -> np.ndarray:
    """The picture, or the middle slices of the volume side by side, y or z upwards; `values` may have colours last."""
    if dim == 2:
        return _upright(values)
    middle = [n // 2 for n in values.shape[:3]]
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
