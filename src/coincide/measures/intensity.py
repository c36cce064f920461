"""How alike two images on one grid are, inside a mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coincide.errors import DimensionError
from coincide.ops.smooth import fir

BINS = 64
SSIM_WINDOW = 7
SSIM_VOXELS = 500_000
_SSIM_BLOCK = 1 << 20


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
    counted = torch.isfinite(fixed) & torch.isfinite(moving)
    if inside is not None:
        counted &= inside
    a, b = (image.numpy()[counted.numpy()] for image in (fixed, moving))  # torch takes eight times as long
    if not a.size:
        return dict.fromkeys(("mse", "mae", "ncc", "nmi", "ssim"))
    apart = a - b
    return {
        "mse": float(np.mean(np.square(apart), dtype=np.float64)),
        "mae": float(np.mean(np.abs(apart), dtype=np.float64)),
        "ncc": normalised_cross_correlation(a, b),
        "nmi": normalised_mutual_information(a, b),
        "ssim": structural_similarity(fixed, moving, counted),
    }


def normalised_cross_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's correlation of two arrays of the same size, −1 to 1, or None where one is constant."""
    a = a - a.mean(dtype=np.float64).astype(np.float32)
    b = b - b.mean(dtype=np.float64).astype(np.float32)
    norm = np.sqrt(np.mean(a * a, dtype=np.float64) * np.mean(b * b, dtype=np.float64))
    return float(np.mean(a * b, dtype=np.float64) / norm) if norm > 0 else None


def normalised_mutual_information(a: np.ndarray, b: np.ndarray, bins: int = BINS) -> float | None:
    """`(H(A) + H(B)) / H(A, B)`: 1 for independent values, 2 where each determines the other.

    None where one is constant.

    Args:
        a: values, flat.
        b: values at the same places.
        bins: of equal width for each image, between its smallest value and its largest.

    Source: C. Studholme, D. L. G. Hill, D. J. Hawkes, doi:10.1016/S0031-3203(98)00091-0.
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    joint = np.bincount(_binned(a, bins) * bins + _binned(b, bins), minlength=bins * bins) / a.size
    joint = joint.reshape(bins, bins)
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / _entropy(joint.ravel()))


def structural_similarity(
    fixed: Tensor, moving: Tensor, inside: Tensor, window: int = SSIM_WINDOW
) -> float | None:
    """Mean structural similarity, at most 1, over the voxels `inside` whose whole window lies in the image.

    Uniform windows, sample covariances, K1 = 0.01, K2 = 0.03; the dynamic range is the fixed image's inside.
    Windows overlap, so of many voxels (above half a million) every second along each axis stands for all.

    Args:
        fixed: `(*shape)`.
        moving: `(*shape)`.
        inside: `(*shape)` bool.
        window: voxels along each axis; less along an axis that is shorter.

    Returns:
        None where no window fits, or where the fixed image is constant.

    Source: Z. Wang et al., doi:10.1109/TIP.2003.819861.
    """
    widths = [min(window, size - 1 + size % 2) for size in fixed.shape]
    radii = [w // 2 for w in widths]
    centred = torch.zeros_like(inside)
    middle = tuple(slice(r, size - r) for r, size in zip(radii, inside.shape))
    centred[middle] = inside[middle]
    values = fixed.numpy()[inside.numpy()]
    extent = float(np.ptp(values)) if values.size else 0.0
    if extent == 0 or not bool(centred.any()):
        return None
    # around zero and of unit range: squares in float32 keep their digits
    shift = float(values.mean(dtype=np.float64))
    box = _bounds(centred)
    total, number = 0.0, 0
    step = 2 if int(centred.sum()) > SSIM_VOXELS else 1
    plane = int(np.prod([s.stop - s.start for s in box[1:]]))
    rows = step * max(1, _SSIM_BLOCK // (step * plane))
    for low in range(box[0].start, box[0].stop, rows):
        part = (slice(low, min(low + rows, box[0].stop)), *box[1:])
        halo = tuple(slice(s.start - r, s.stop + r) for s, r in zip(part, radii))
        a, b = ((image[halo] - shift) / extent for image in (fixed, moving))
        chosen = torch.zeros_like(a, dtype=torch.bool)
        thinned = tuple(slice(r, size - r, step) for r, size in zip(radii, a.shape))
        chosen[thinned] = centred[part][(slice(None, None, step),) * a.ndim]
        found = _similarities(a, b, widths, chosen, shift / extent)
        total, number = total + float(found.sum(dtype=torch.float64)), number + found.numel()
    return total / number


def _similarities(a: Tensor, b: Tensor, widths: list[int], chosen: Tensor, shift: float) -> Tensor:
    """Structural similarity at the `chosen` voxels of two images of unit range that had `shift` taken off."""
    moments = torch.empty(5, *a.shape)
    torch.nan_to_num(a, 0.0, out=moments[0])
    torch.nan_to_num(b, 0.0, out=moments[1])
    for product, (i, j) in zip(moments[2:], ((0, 0), (1, 1), (0, 1))):
        torch.mul(moments[i], moments[j], out=product)
    size = int(np.prod(widths))
    sums = fir(moments, [np.ones(w, np.float32) for w in widths], edge=False).reshape(5, -1)
    mean_a, mean_b, aa, bb, ab = sums.index_select(1, chosen.reshape(-1).nonzero()[:, 0]) / size
    unbiased = size / max(size - 1, 1)
    var_a, var_b = unbiased * (aa - mean_a * mean_a), unbiased * (bb - mean_b * mean_b)
    covariance = unbiased * (ab - mean_a * mean_b)
    mean_a, mean_b = mean_a + shift, mean_b + shift
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return likeness / ((mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2))


def _bounds(mask: Tensor) -> tuple[slice, ...]:
    bounds = []
    for axis in range(mask.ndim):
        others = [a for a in range(mask.ndim) if a != axis]
        line = mask.amax(others).nonzero()
        bounds.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(bounds)


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.minimum((values - low) * (bins / (high - low)), bins - 1).astype(np.int32)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
