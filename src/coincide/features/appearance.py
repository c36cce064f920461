"""How bright a region is: moments and histograms, a channel at a time."""

from __future__ import annotations

import numpy as np

from coincide.features.region import Region


def appearance(region: Region, bins: int) -> dict[str, float]:
    """Intensity statistics by the image biomarker standard (IBSI, doi:10.1148/radiol.2020191145, 3.3 and 3.4).

    Args:
        region: what to describe.
        bins: of equal width over the region's own range, for entropy and uniformity.

    Returns:
        Values in the image's unit, or its square or without unit, as the names say; `red`, `green` and `blue` before
        each name, or a channel's number, where there are several.
    """
    found: dict[str, float] = {}
    names = channel_names(len(region.values))
    for values, name in zip(region.values, names):
        inside = values[region.inside]
        found |= {
            f"{name}{key}": value
            for key, value in {**_statistics(inside), **_histogram(inside, bins)}.items()
        }
    return found


def histogram(region: Region, bins: int) -> dict[str, float]:
    """How much of a region falls into each of `bins` of equal width over its own range; of each channel.

    Returns:
        `histogram_1` to the last, shares that sum to 1, with the same words before them as in `appearance`, where
        `minimum` and `maximum` tell the range.
    """
    found: dict[str, float] = {}
    for values, name in zip(region.values, channel_names(len(region.values))):
        shares = _shares(values[region.inside], bins)
        found |= {f"{name}histogram_{n}": float(share) for n, share in enumerate(shares, 1)}
    return found


def channel_names(number: int) -> tuple[str, ...]:
    """What stands before the names of each channel's features."""
    if number == 1:
        return ("",)
    return ("red_", "green_", "blue_") if number == 3 else tuple(f"channel{n}_" for n in range(number))


def binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Values as numbers of bins of equal width over their own range, from 0 (IBSI's fixed bin number)."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(values.shape, np.intp)
    return np.minimum((bins * (values - low) / (high - low)).astype(np.intp), bins - 1)


def entropy(shares: np.ndarray) -> float:
    """In bits."""
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())


def _statistics(values: np.ndarray) -> dict[str, float]:
    mean = float(values.mean())
    apart = values - mean
    variance = float((apart**2).mean())
    p10, p25, median, p75, p90 = (float(v) for v in np.percentile(values, (10, 25, 50, 75, 90)))
    middle = values[(values >= p10) & (values <= p90)]
    return {
        "mean": mean,
        "variance": variance,
        "skewness": float((apart**3).mean()) / variance**1.5 if variance > 0 else 0.0,
        "excess_kurtosis": float((apart**4).mean()) / variance**2 - 3 if variance > 0 else 0.0,
        "median": median,
        "minimum": float(values.min()),
        "percentile_10": p10,
        "percentile_90": p90,
        "maximum": float(values.max()),
        "interquartile_range": p75 - p25,
        "mean_absolute_deviation": float(np.abs(apart).mean()),
        "robust_mean_absolute_deviation": float(np.abs(middle - middle.mean()).mean()),
        "median_absolute_deviation": float(np.abs(values - median).mean()),
        "energy": float((values**2).sum()),
        "root_mean_square": float(np.sqrt((values**2).mean())),
    }


def _histogram(values: np.ndarray, bins: int) -> dict[str, float]:
    shares = _shares(values, bins)
    return {"histogram_entropy_bits": entropy(shares), "histogram_uniformity": float((shares**2).sum())}


def _shares(values: np.ndarray, bins: int) -> np.ndarray:
    return np.bincount(binned(values, bins), minlength=bins) / values.size
