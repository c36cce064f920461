"""How alike two images on one grid are, inside a mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from coincide.errors import DimensionError
from coincide.ops.blocks import over_blocks
from coincide.ops.structure import structural_similarities

BINS = 64
SSIM_WINDOW = 7
SSIM_VOXELS = 500_000


def compare(fixed: Tensor, moving: Tensor, inside: Tensor | None = None) -> dict[str, float | None]:
    """All the measures of this module at once.

    Args:
        fixed: `(channel, *shape)`.
        moving: `(channel, *shape)` on the same grid; measures of several channels are averaged.
        inside: `(*shape)` bool, the voxels that count; all where left out. NaN and infinite ones never count.

    Returns:
        `mse`, `mae` (in the images' own units), `ncc` (Pearson's correlation), `nmi` and `ssim`; each None
        where there is no voxel to measure, or no variation where the measure needs some.

    Raises:
        DimensionError: the shapes differ.
    """
    if fixed.shape[1:] != moving.shape[1:]:
        raise DimensionError(
            f"images of shapes {tuple(fixed.shape)} and {tuple(moving.shape)} are not on one grid. "
            "Resample one onto the other's first."
        )
    rows = [_compare(a, b, inside) for a, b in zip(fixed.float(), moving.float())]
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def _compare(fixed: Tensor, moving: Tensor, inside: Tensor | None) -> dict[str, float | None]:
    a, b = fixed.numpy().ravel(), moving.numpy().ravel()
    counted = np.ones(a.size, dtype=bool) if inside is None else inside.numpy().ravel().copy()
    ranges = _ranges(a, b, counted)
    if ranges is None:
        return dict.fromkeys(("mse", "mae", "ncc", "nmi", "ssim"))
    number = ranges.number
    sums, joint = _sums(a, b, counted, ranges)
    varied = np.sqrt(sums[0] * sums[1])
    extent = ranges.high[0] - ranges.low[0]
    return {
        "mse": sums[3] / number,
        "mae": sums[4] / number,
        "ncc": float(sums[2] / varied) if varied > 0 else None,
        "nmi": None if joint is None else normalised_mutual_information(joint),
        "ssim": structural_similarity(fixed, moving, counted.reshape(fixed.shape), ranges.mean[0], extent),
    }


class _Ranges(NamedTuple):
    """Of the values that count: how many there are, and the mean, least and largest of either image."""

    number: int
    mean: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]


def _ranges(a: np.ndarray, b: np.ndarray, counted: np.ndarray) -> _Ranges | None:
    """The ranges of two flat images, and `counted` made False where one is not finite; None if nothing counts."""

    def work(low: int, high: int) -> list[float]:
        pair, here = (a[low:high], b[low:high]), counted[low:high]
        here &= np.isfinite(pair[0]) & np.isfinite(pair[1])
        numbers = [float(np.count_nonzero(here))]
        for values in (image[here] for image in pair):
            numbers.append(float(values.sum(dtype=np.float64)))
            numbers += [float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))]
        return numbers

    found = np.array(over_blocks(a.size, work))
    number = int(found[:, 0].sum())
    if not number:
        return None
    sums, least, largest = found[:, [1, 4]].sum(0), found[:, [2, 5]].min(0), found[:, [3, 6]].max(0)
    return _Ranges(number, *(tuple(v.tolist()) for v in (sums / number, least, largest)))


def _sums(
    a: np.ndarray, b: np.ndarray, counted: np.ndarray, ranges: _Ranges
) -> tuple[list[float], np.ndarray | None]:
    """Σ of x², y², xy (means taken off), (a − b)² and |a − b|; and the joint histogram, None if one is constant."""
    varied = all(high > low for low, high in zip(ranges.low, ranges.high))

    def work(low: int, high: int) -> tuple[list[float], np.ndarray]:
        here = counted[low:high]
        pair = a[low:high][here], b[low:high][here]
        x, y = (v - np.float32(mean) for v, mean in zip(pair, ranges.mean))
        apart = pair[0] - pair[1]
        sums = [float((p * q).sum()) for p, q in ((x, x), (y, y), (x, y), (apart, apart))]
        sums.append(float(np.abs(apart).sum()))
        if not varied:
            return sums, np.zeros(0, np.intp)
        row, column = (_binned(*v) for v in zip(pair, ranges.low, ranges.high))
        return sums, np.bincount(row * BINS + column, minlength=BINS * BINS)

    sums, joint = zip(*over_blocks(a.size, work))
    return np.sum(sums, axis=0).tolist(), np.sum(joint, axis=0) if varied else None


def _binned(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.minimum((values - low) * (BINS / (high - low)), BINS - 1).astype(np.intp)


def normalised_mutual_information(joint: np.ndarray) -> float:
    """`(H(A) + H(B)) / H(A, B)`: 1 for independent values, 2 where each determines the other.

    Args:
        joint: histogram, flat, of `BINS` × `BINS` bins, of equal width for each image between its smallest
            value and its largest.

    Source: C. Studholme, D. L. G. Hill, D. J. Hawkes, doi:10.1016/S0031-3203(98)00091-0.
    """
    joint = joint.reshape(BINS, BINS) / joint.sum()
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / _entropy(joint.ravel()))


def structural_similarity(
    fixed: Tensor, moving: Tensor, inside: np.ndarray, mean: float, extent: float, window: int = SSIM_WINDOW
) -> float | None:
    """Mean structural similarity, at most 1, over the voxels `inside` whose whole window lies in the image.

    Windows overlap, so of many voxels (above half a million) every second along each axis stands for all.

    Args:
        fixed: `(*shape)`.
        moving: `(*shape)`.
        inside: `(*shape)` bool.
        mean: of the fixed image inside.
        extent: the dynamic range, the fixed image's inside.
        window: voxels along each axis; less along an axis that is shorter.

    Returns:
        None where no window fits, or where the fixed image is constant.
    """
    widths = [min(window, size - 1 + size % 2) for size in fixed.shape]
    centred = inside[tuple(slice(w // 2, size - w // 2) for w, size in zip(widths, inside.shape))]
    number = int(np.count_nonzero(centred))
    if extent == 0 or not number:
        return None
    box = tuple(slice(s.start + w // 2, s.stop + w // 2) for s, w in zip(_bounds(centred), widths))
    step = 2 if number > SSIM_VOXELS else 1
    images = fixed.numpy(), moving.numpy()
    total, windows = structural_similarities(*images, inside, box, widths, step, mean, extent)
    return total / windows


def _bounds(mask: np.ndarray) -> tuple[slice, ...]:
    bounds = []
    for axis in range(mask.ndim):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        bounds.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(bounds)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
