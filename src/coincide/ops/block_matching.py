"""Where small blocks of one image lie in another, by the best local correlation."""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel, run

_PART = 64


def match_blocks(
    fixed: np.ndarray, moving: np.ndarray, corners: np.ndarray, size: int, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """The displacement of each block by which its squared correlation with the moving image is best.

    Args:
        fixed: `(*shape)` float32, 2-D or 3-D.
        moving: the same, on the same lattice; NaN where it is unknown: blocks that hold any are no candidates.
        corners: `(blocks, dim)` int64, first voxel of each block.
        size: voxels of a block along each axis.
        reach: the farthest to look along each axis, voxels.

    Returns:
        Displacements `(blocks, dim)` in voxels, to a fraction by a parabola through the neighbours of the best; and the
        squared correlations there `(blocks,)`, −1 where no candidate showed anything.
    """
    dim = fixed.ndim
    volumes = [x if dim == 3 else x[None] for x in (fixed, moving)]
    places = corners if dim == 3 else np.insert(corners, 0, 0, axis=1)
    sizes = np.full(3, size)
    reaches = np.full(3, reach)
    if dim == 2:
        sizes[0], reaches[0] = 1, 0
    shifts, scores = np.zeros((len(corners), 3)), np.full(len(corners), -1.0)
    parts = -(-len(corners) // _PART)
    run(_match, parts, *volumes, np.ascontiguousarray(places), sizes, reaches, shifts, scores)
    return shifts[:, 3 - dim :], scores


@kernel
def _correlation(block, spread, moving, x, y, z):
    """Squared correlation of a block without its mean with the moving image at `x, y, z`; −1 where that is flat."""
    number = np.float32(block.size)
    s, ss, fs = np.float32(0), np.float32(0), np.float32(0)
    first = moving[x, y, z]
    for a in range(block.shape[0]):
        for b in range(block.shape[1]):
            for c in range(block.shape[2]):
                value = moving[x + a, y + b, z + c] - first
                s += value
                ss += value * value
                fs += value * block[a, b, c]
    varied = ss - s * s / number
    # in flat places nothing but rounding is left; what is NaN fails too
    if varied > np.float32(1e-5) * ss and varied > np.float32(1e-9):
        return float(fs * fs / (varied * spread))
    return -1.0


@kernel
def _match(low, high, fixed, moving, corners, size, reach, shifts, scores):
    number = size[0] * size[1] * size[2]
    block = np.empty((size[0], size[1], size[2]), np.float32)
    table = np.empty((2 * reach[0] + 1, 2 * reach[1] + 1, 2 * reach[2] + 1))
    best = np.zeros(3, np.int64)
    for n in range(low * _PART, min(high * _PART, len(corners))):
        i, j, k = corners[n, 0], corners[n, 1], corners[n, 2]
        mean = np.float32(0)
        for a in range(size[0]):
            for b in range(size[1]):
                for c in range(size[2]):
                    block[a, b, c] = fixed[i + a, j + b, k + c]
                    mean += block[a, b, c]
        mean /= np.float32(number)
        spread = np.float32(0)
        for a in range(size[0]):
            for b in range(size[1]):
                for c in range(size[2]):
                    block[a, b, c] -= mean
                    spread += block[a, b, c] * block[a, b, c]
        if not spread > 0:
            continue
        most = -1.0
        for p in range(table.shape[0]):
            for q in range(table.shape[1]):
                for r in range(table.shape[2]):
                    table[p, q, r] = -1.0
                    x, y, z = i + p - reach[0], j + q - reach[1], k + r - reach[2]
                    if x < 0 or y < 0 or z < 0:
                        continue
                    if x + size[0] > moving.shape[0] or y + size[1] > moving.shape[1]:
                        continue
                    if z + size[2] > moving.shape[2]:
                        continue
                    table[p, q, r] = _correlation(block, spread, moving, x, y, z)
                    if table[p, q, r] > most:
                        most = table[p, q, r]
                        best[0], best[1], best[2] = p, q, r
        if most < 0:
            continue
        scores[n] = most
        for d in range(3):
            shifts[n, d] = best[d] - reach[d]
            if 0 < best[d] < 2 * reach[d]:
                before, after = best.copy(), best.copy()
                before[d] -= 1
                after[d] += 1
                left, right = table[before[0], before[1], before[2]], table[after[0], after[1], after[2]]
                bend = left - 2 * most + right
                if left >= 0 and right >= 0 and bend < 0:
                    shifts[n, d] += min(max(0.5 * (left - right) / bend, -0.5), 0.5)
