"""How near an image comes to a reference on the same grid."""

from __future__ import annotations

import numpy as np

from coincide.errors import DimensionError, IntensityError
from coincide.image import Image
from coincide.preprocess.step import box_of

_K1, _K2 = 0.01, 0.03
_SIGMA = 1.5
_TRUNCATE = 3.5
"""Sigmas at which the window is cut: 11 voxels an axis."""
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of five scales, from fine to coarse."""


def compared(image: Image, reference: Image) -> dict[str, float]:
    """All the measures of this module, over the voxels that count in both; several channels are averaged.

    Returns:
        `mse`, `rmse`, `mae` in the images' unit or its square; `psnr_db` and the similarities for the reference's
        range; `ssim` and `ms_ssim`, at most 1.

    Raises:
        DimensionError: the images do not lie on one grid, or differ in channels.
        IntensityError: the reference is constant, or no voxel counts.
    """
    if not image.grid.matches(reference.grid) or image.channels != reference.channels:
        raise DimensionError(
            f"{image.name}: lies on {image.grid!r} with {image.channels} channel(s), its reference on "
            f"{reference.grid!r} with {reference.channels}. Resample one onto the other first."
        )
    known = np.asarray(np.isfinite(image.numpy()).all(0) & np.isfinite(reference.numpy()).all(0))
    for one in (image, reference):
        if one.mask is not None:
            known &= one.mask.numpy()
    if not known.any():
        raise IntensityError(f"{image.name}: no voxel counts in both images. Check their masks.")
    rows = [
        _compared(a.astype(np.float64), b.astype(np.float64), known, reference.name)
        for a, b in zip(image.numpy(), reference.numpy())
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _compared(a: np.ndarray, b: np.ndarray, known: np.ndarray, name: str) -> dict[str, float]:
    extent = float(np.ptp(b[known]))
    if extent == 0:
        raise IntensityError(
            f"{name}: the reference is constant where it counts; nothing can be like it or unlike."
        )
    apart = (a - b)[known]
    mse = float((apart**2).mean())
    box = box_of(known)
    weights = known[box].astype(np.float64)
    a, b = (np.where(known, v, 0.0)[box] for v in (a, b))
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(np.abs(apart).mean()),
        "psnr_db": float(10 * np.log10(extent**2 / mse)) if mse > 0 else np.inf,
        "ssim": similarity(a, b, weights, extent)[0],
        "ms_ssim": multi_scale(a, b, weights, extent),
    }


def similarity(a: np.ndarray, b: np.ndarray, weights: np.ndarray, extent: float) -> tuple[float, float]:
    """Mean structural similarity, and its part for contrast and structure alone.

    Wang et al. 2004, doi:10.1109/TIP.2003.819861: Gaussian windows of sigma 1.5 voxels, as scikit-image's with
    `gaussian_weights=True, use_sample_covariance=False`. Windows that leave the array do not count; those that hold
    voxels without weight go by the others alone.

    Args:
        a: `(*shape)`.
        b: `(*shape)`.
        weights: `(*shape)`, 0 to 1, how much each voxel counts, in a window and as its middle.
        extent: the dynamic range.
    """
    from scipy.ndimage import gaussian_filter

    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, _SIGMA, truncate=_TRUNCATE, mode="reflect")

    counted = weights > 0
    share = np.where(counted, smooth(weights), 1.0)

    def mean(values: np.ndarray) -> np.ndarray:
        return smooth(values * weights) / share

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (_K1 * extent) ** 2, (_K2 * extent) ** 2
    structure = (2 * vab + c2) / (va + vb + c2)
    whole = (2 * ma * mb + c1) / (ma * ma + mb * mb + c1) * structure
    room = int(_TRUNCATE * _SIGMA + 0.5)
    # an axis that is shorter than the window cannot hold one
    inner = tuple(slice(room, n - room) if n > 2 * room else slice(None) for n in a.shape)
    inner = inner if counted[inner].any() else (...,)
    of_all = weights[inner] / weights[inner].sum()
    return float((whole[inner] * of_all).sum()), float((structure[inner] * of_all).sum())


def multi_scale(a: np.ndarray, b: np.ndarray, weights: np.ndarray, extent: float) -> float:
    """Structural similarity over scales that halve, Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216.

    Contrast and structure count at every scale, brightness at the last. Up to five scales, as long as the shortest axis
    of several voxels holds a window of eleven; the weights of those that remain are scaled to the sum of all five.

    Args:
        a: `(*shape)`.
        b: `(*shape)`.
        weights: `(*shape)`, 0 to 1, how much each voxel counts.
        extent: the dynamic range.
    """
    shortest = min((n for n in a.shape if n > 1), default=1)
    number = int(np.clip(np.floor(np.log2(max(shortest, 11) / 11)) + 1, 1, len(_SCALES)))
    powers = np.array(_SCALES[:number]) * sum(_SCALES) / sum(_SCALES[:number])
    product = 1.0
    for scale, power in enumerate(powers):
        whole, structure = similarity(a, b, weights, extent)
        product *= max(whole if scale == number - 1 else structure, 0.0) ** power
        if scale < number - 1:
            fewer = _halved(weights)
            some = np.where(fewer > 0, fewer, 1.0)
            a, b, weights = _halved(a * weights) / some, _halved(b * weights) / some, fewer
    return float(product)


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of two voxels along each axis; an odd one at the end is left out."""
    for axis, n in enumerate(values.shape):
        if n > 1:
            pairs = np.moveaxis(values, axis, 0)[: n - n % 2]
            values = np.moveaxis((pairs[0::2] + pairs[1::2]) / 2, 0, axis)
    return values
