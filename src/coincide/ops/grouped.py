"""Weighted sums of an image over groups of voxels, and the maps that are linear in it with an offset for each group.

Voxels are cut into blocks of fixed size whose sums are added in their order: the same result, bit for bit, for any
number of threads.
"""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel, run

_PARTS = 32
_LEAST = 65536


def grouped_moments(index: np.ndarray, image: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
    """Σw, Σwx and Σwx² of each group, `(groups, 3)` float64.

    Args:
        index: `(N)` uint8, the group of each voxel.
        image: `(N)` float32, the x.
        weights: `(N)` float32.
        groups: number of groups.
    """
    part = _part(image.size)
    partial = np.zeros((max(1, -(-image.size // part)), groups, 3))
    run(_moments, len(partial), index, image, weights, part, partial)
    return partial.sum(axis=0)


def grouped_map(index, image, weights, factor: float, offsets: np.ndarray) -> np.ndarray:
    """`w · (factor · x + offsets[index])`, `(N)` float32."""
    part, out = _part(image.size), np.empty_like(image)
    run(_map, -(-image.size // part), index, image, weights, part, factor, offsets, out)
    return out


def _part(voxels: int) -> int:
    return max(_LEAST, -(-voxels // _PARTS))


@kernel
def _moments(low, high, index, image, weights, part, out):
    for block in range(low, high):
        sums = out[block]
        for i in range(block * part, min((block + 1) * part, image.size)):
            w, x = np.float64(weights[i]), np.float64(image[i])
            row = sums[index[i]]
            row[0] += w
            row[1] += w * x
            row[2] += w * x * x


@kernel
def _map(low, high, index, image, weights, part, factor, offsets, out):
    for i in range(low * part, min(high * part, image.size)):
        out[i] = weights[i] * (factor * image[i] + offsets[index[i]])
