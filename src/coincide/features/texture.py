"""How values of neighbours go together in a region."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from coincide.features.appearance import binned, entropy
from coincide.features.region import Region

_POINTS = 8
_ORIENTATIONS = 4
_BANDWIDTH = 0.56
"""Standard deviation of a Gabor filter's Gaussian, as a share of its wavelength: a bandwidth of one octave."""


def cooccurrence(region: Region, bins: int) -> dict[str, float]:
    """Grey level co-occurrence of next neighbours, all directions in one symmetric matrix (IBSI 3.6, merged, 3-D).

    The standard counts voxels, so that spacings that differ should be made equal first.

    Args:
        region: its first channel is looked at, in `bins` grey levels over its own range.
        bins: grey levels.

    Returns:
        Empty where no two neighbours are inside.
    """
    levels = np.zeros(region.inside.shape, np.intp)
    levels[region.inside] = binned(region.values[0][region.inside], bins)
    counts = matrix(levels, region.inside, bins)
    return _of_matrix(counts / counts.sum()) if counts.sum() else {}


def matrix(levels: np.ndarray, inside: np.ndarray, bins: int) -> np.ndarray:
    """How often each pair of grey levels is found next to each other, both ways, `(bins, bins)`.

    Args:
        levels: `(*shape)` whole numbers below `bins`.
        inside: `(*shape)` bool, the voxels that count.
        bins: grey levels.
    """
    counts = np.zeros(bins * bins)
    ahead = [d for d in itertools.product((-1, 0, 1), repeat=levels.ndim) if d > (0,) * levels.ndim]
    for step in ahead:
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, levels.shape))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, levels.shape))
        both = inside[here] & inside[there]
        counts += np.bincount(levels[here][both] * bins + levels[there][both], minlength=bins * bins)
    square = counts.reshape(bins, bins)
    return square + square.T


def _of_matrix(p: np.ndarray) -> dict[str, float]:
    """The standard's features of a matrix of shares; grey levels count from 1."""
    n = len(p)
    i, j = np.meshgrid(np.arange(1, n + 1), np.arange(1, n + 1), indexing="ij")
    apart, total = np.abs(i - j), i + j
    mean = float((i * p).sum())
    variance = float(((i - mean) ** 2 * p).sum())
    differences = np.bincount(apart.ravel(), p.ravel(), minlength=n)
    sums = np.bincount(total.ravel(), p.ravel(), minlength=2 * n + 1)
    k, s = np.arange(n), np.arange(2 * n + 1)
    difference, sum_ = float((k * differences).sum()), float((s * sums).sum())
    about = total - 2 * mean
    return {
        "joint_maximum": float(p.max()),
        "joint_average": mean,
        "joint_variance": variance,
        "joint_entropy_bits": entropy(p),
        "difference_average": difference,
        "difference_variance": float(((k - difference) ** 2 * differences).sum()),
        "difference_entropy_bits": entropy(differences),
        "sum_average": sum_,
        "sum_variance": float(((s - sum_) ** 2 * sums).sum()),
        "sum_entropy_bits": entropy(sums),
        "angular_second_moment": float((p**2).sum()),
        "contrast": float((apart**2 * p).sum()),
        "dissimilarity": float((apart * p).sum()),
        "inverse_difference": float((p / (1 + apart)).sum()),
        "inverse_difference_moment": float((p / (1 + apart**2)).sum()),
        "correlation": float(((i - mean) * (j - mean) * p).sum() / variance) if variance > 0 else 1.0,
        "autocorrelation": float((i * j * p).sum()),
        "cluster_tendency": float((about**2 * p).sum()),
        "cluster_shade": float((about**3 * p).sum()),
        "cluster_prominence": float((about**4 * p).sum()),
    }


def binary_patterns(region: Region, radius: float) -> dict[str, float]:
    """Shares of the uniform local binary patterns of eight points on a circle (Ojala et al. 2002).

    In 3-D the slices across the world's third axis are looked at, each by itself. doi:10.1109/TPAMI.2002.1017623.

    Args:
        region: its first channel is looked at.
        radius: of the circle, mm.

    Returns:
        `pattern_0` to `pattern_8` by the number of points at least as bright as the middle, which hang together; and
        `pattern_other`. Pixels whose circle leaves the region are left out; empty
        where all do.
    """
    radii = radius / region.grid.spacing[:2]
    found = np.concatenate(
        [pattern_codes(values, radii)[_whole(here, radii)] for values, here in _slices(region)]
    )
    if not found.size:
        return {}
    shares = np.bincount(found, minlength=_POINTS + 2) / found.size
    return {f"pattern_{n if n <= _POINTS else 'other'}": float(share) for n, share in enumerate(shares)}


def pattern_codes(values: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The uniform pattern round each pixel, `(*shape)`: 0 to 8, and 9 for one that is not uniform; dark outside.

    Args:
        values: a picture.
        radii: of the ellipse of points along each axis, pixels.
    """
    bits = np.stack([at >= values for at in _on_circle(values, radii)])
    changes = (bits != np.roll(bits, 1, axis=0)).sum(0)
    return np.where(changes <= 2, bits.sum(0), _POINTS + 1)


def gabor(region: Region, wavelengths: tuple[float, ...]) -> dict[str, float]:
    """Strength of waves of some lengths: mean and standard deviation of the size of Gabor responses, over directions.

    In 3-D the slices across the world's third axis are looked at, each by itself.

    Args:
        region: its first channel is looked at; what is outside takes the region's mean.
        wavelengths: mm; those below two pixels cannot be seen, and are left out.
    """
    found: dict[str, float] = {}
    spacing = region.grid.spacing[:2]
    mean = region.values[0][region.inside].mean()
    for wavelength in wavelengths:
        if wavelength < 2 * spacing.max():
            continue
        sizes = []
        for angle in np.pi * np.arange(_ORIENTATIONS) / _ORIENTATIONS:
            kernel = gabor_kernel(wavelength, float(angle), spacing)
            sizes += [_response(np.where(here, v - mean, 0.0), kernel)[here] for v, here in _slices(region)]
        strength = np.concatenate(sizes)
        found[f"gabor_{wavelength:g}mm_mean"] = float(strength.mean())
        found[f"gabor_{wavelength:g}mm_sd"] = float(strength.std())
    return found


def gabor_kernel(wavelength: float, angle: float, spacing: np.ndarray) -> np.ndarray:
    """A complex wave under a Gaussian whose real part sums to nothing; of odd sizes, cut at three sigmas.

    Args:
        wavelength: mm.
        angle: of the wave's direction from the first axis towards the second, radians.
        spacing: mm of a pixel along both axes.
    """
    sigma = _BANDWIDTH * wavelength
    reach = [int(np.ceil(3 * sigma / s)) for s in spacing]
    x, y = np.meshgrid(*(np.arange(-r, r + 1) * s for r, s in zip(reach, spacing)), indexing="ij")
    weights = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    wave = np.exp(2j * np.pi / wavelength * (x * np.cos(angle) + y * np.sin(angle)))
    weights /= weights.sum()
    # a filter that answers to brightness as such would see every region's mean
    return weights * (wave - (weights * wave).sum())


def _response(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    from scipy.signal import fftconvolve

    return np.abs(fftconvolve(values, kernel, mode="same")) if values.size else np.zeros_like(values)


def _slices(region: Region) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The region's slices across the world's third axis, values and what is inside; in 2-D the one there is."""
    values, inside = region.values[0], region.inside
    if values.ndim == 2:
        yield values, inside
        return
    for k in np.flatnonzero(inside.any((0, 1))):
        yield values[..., k], inside[..., k]


def _on_circle(values: np.ndarray, radii: np.ndarray) -> Iterator[np.ndarray]:
    """A picture's values at each point of the circle round each pixel, linear between pixels, 0 outside."""
    from scipy.ndimage import map_coordinates

    middle = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij")).astype(np.float64)
    for angle in 2 * np.pi * np.arange(_POINTS) / _POINTS:
        # five digits, so that points on pixels are the pixels
        offset = np.round([-radii[0] * np.sin(angle), radii[1] * np.cos(angle)], 5)
        yield map_coordinates(values, middle + offset[:, None, None], order=1, mode="grid-constant")


def _whole(inside: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The pixels inside, all points of whose circle are inside too."""
    shares = _on_circle(inside.astype(np.float64), radii)
    return np.logical_and.reduce([inside, *(share > 1 - 1e-9 for share in shares)])
