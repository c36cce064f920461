"""Structural similarity of two images, summed over windows."""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel, run


def structural_similarities(
    a: np.ndarray,
    b: np.ndarray,
    counted: np.ndarray,
    box: tuple[slice, ...],
    widths: list[int],
    step: int,
    shift: float,
    extent: float,
) -> tuple[float, int]:
    """Sum of the structural similarity over windows, and how many they are.

    Uniform windows, sample covariances, K1 = 0.01, K2 = 0.03.

    Args:
        a: `(*shape)` float32, 2-D or 3-D; values that are not finite stand for `shift`.
        b: the same of the other image.
        counted: `(*shape)` bool, which voxels' windows count.
        box: where to look for such voxels; every window there lies within the images.
        widths: of the windows along each axis, odd.
        step: look at every `step`-th voxel of the box along each axis.
        shift: taken off both images, so that squares in float32 keep their digits: the mean, say.
        extent: the dynamic range.

    Source: Z. Wang et al., doi:10.1109/TIP.2003.819861.
    """
    volumes = [np.ascontiguousarray(image) for image in (a, b, counted)]
    begin, end, widths = [s.start for s in box], [s.stop for s in box], list(widths)
    if len(box) == 2:
        # a picture is a volume whose middle axis has length one
        volumes = [volume[:, None] for volume in volumes]
        begin, end, widths = ([one[0], other, one[1]] for one, other in ((begin, 0), (end, 1), (widths, 1)))
    planes = -(-(end[0] - begin[0]) // step)
    sums, numbers = np.zeros(planes), np.zeros(planes, np.int64)
    place = np.array([begin, end, widths])
    run(_planes, planes, *volumes, place, step, np.float32(shift), np.float32(1 / extent), sums, numbers)
    return float(sums.sum()), int(numbers.sum())


@kernel
def _columns(a, b, i, j, deep, high, shift, scale, sums):
    """Sums of x, y, xx, yy, xy over `deep` planes from `i` on and `high` rows from `j` on, for every column."""
    for m in range(5):
        for k in range(sums.shape[1]):
            sums[m, k] = 0
    for plane in range(i, i + deep):
        for row in range(j, j + high):
            # from 0 on: only then is it plain that no index is negative, and the loop runs as vectors
            for k in range(sums.shape[1]):
                x, y = (a[plane, row, k] - shift) * scale, (b[plane, row, k] - shift) * scale
                x = x if abs(x) < np.inf else np.float32(0)
                y = y if abs(y) < np.inf else np.float32(0)
                sums[0, k] += x
                sums[1, k] += y
                sums[2, k] += x * x
                sums[3, k] += y * y
                sums[4, k] += x * y


@kernel
def _planes(low, high, a, b, counted, place, step, shift, scale, sums, numbers):
    begin, end, width = place[0], place[1], place[2]
    size, mean = width[0] * width[1] * width[2], np.float64(shift) * scale
    one, unbiased, c1, c2 = 1 / size, size / max(size - 1, 1), 0.01**2, 0.03**2
    columns = np.empty((5, a.shape[2]), np.float32)
    for plane in range(low, high):
        i = begin[0] + plane * step
        total, number = 0.0, 0
        for j in range(begin[1], end[1], step):
            corner = i - width[0] // 2, j - width[1] // 2
            _columns(a, b, corner[0], corner[1], width[0], width[1], shift, scale, columns)
            for k in range(begin[2], end[2], step):
                if counted[i, j, k]:
                    x = y = xx = yy = xy = 0.0
                    for w in range(k - width[2] // 2, k + width[2] // 2 + 1):
                        x += columns[0, w]
                        y += columns[1, w]
                        xx += columns[2, w]
                        yy += columns[3, w]
                        xy += columns[4, w]
                    x, y, xx, yy, xy = x * one, y * one, xx * one, yy * one, xy * one
                    varied, covaried = unbiased * (xx - x * x + yy - y * y), unbiased * (xy - x * y)
                    x, y = x + mean, y + mean
                    likeness = (2 * x * y + c1) * (2 * covaried + c2)
                    total += likeness / ((x * x + y * y + c1) * (varied + c2))
                    number += 1
        sums[plane], numbers[plane] = total, number
