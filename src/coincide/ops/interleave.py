"""Vector fields in the order other tools keep them in: components together, the first index fastest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from coincide.ops._parallel import kernel, run

TILE = 16
"""Voxels along the first and the last axis that are turned round together: float32 in a line of the cache."""


def interleaved(field: np.ndarray, signs: np.ndarray) -> Iterator[np.ndarray]:
    """The numbers of a field `(dim, *shape)`, each component times its sign, as parts of one flat array.

    Seen as `(*shape reversed, dim)`, the whole is the transpose of the field. Only a part of it is in memory, which
    the next part takes again.

    Args:
        field: float32, C-contiguous, 2-D or 3-D.
        signs: `(dim)` float32.
    """
    # a picture is a volume whose middle axis has length one
    volume = field if field.ndim == 4 else field[:, :, None]
    dim, ni, nj, nk = volume.shape
    memory = np.empty((min(TILE, nk), nj, ni, dim), np.float32)
    for first in range(0, nk, TILE):
        part = memory[: min(TILE, nk - first)]
        run(_interleave, nj, volume, signs, first, part)
        yield part.reshape(-1)


@kernel
def _interleave(low, high, field, signs, first, out):
    dim, ni = field.shape[:2]
    for tile in range(0, ni, TILE):
        for j in range(low, high):
            for k in range(len(out)):
                for i in range(tile, min(tile + TILE, ni)):
                    out[k, j, i, 0] = field[0, i, j, first + k] * signs[0]
                    out[k, j, i, 1] = field[1, i, j, first + k] * signs[1]
                    if dim == 3:
                        out[k, j, i, 2] = field[2, i, j, first + k] * signs[2]
