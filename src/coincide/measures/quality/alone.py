"""What an image tells of its quality by itself."""

from __future__ import annotations

import numpy as np

from coincide.errors import IntensityError, LabelError
from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.noise import noise_sd
from coincide.preprocess.orientation import along_world
from coincide.preprocess.step import look


def alone(image: Image, labels: Image | None = None) -> dict[str, float]:
    """Noise, sharpness and signs of artefacts of an image's first channel; signal and contrast of its labels.

    Args:
        image: only the voxels of its mask count, where it has one.
        labels: on its grid; the voxels of label 0 that count are the background of contrast.

    Returns:
        `noise_sd` in the image's unit; `snr` the mean of the brighter part by the noise; `sharpness_per_mm` the share
        of the range by which edges rise within a mm, of the image smoothed by a voxel; `entropy_focus` 0 to 1, more
        where motion or ghosts spread brightness; `ghost_ratio` brightness of the air along one axis beside the
        others', where air counts; `slice_unevenness` how far brightness jumps between slices, as a share of it; with
        labels `snr_LABEL`, and `cnr_LABEL` against label 0.

    Raises:
        LabelError: the labels lie on another grid.
        IntensityError: the image is constant.
    """
    turn = along_world(image.grid)
    upright = turn.image(image)
    seen, box = look(upright, 0)
    seen.range(1, 99)  # refuses a constant image
    values, known = seen.values.astype(np.float64), seen.known
    noise = noise_sd(values, known)
    smooth = smoothed(values)
    low, high = np.percentile(smooth[known], (1, 99))
    bright = known & (values > _between(values[known]))
    found = {
        "noise_sd": noise,
        "snr": float(values[bright].mean() / noise) if noise > 0 else np.inf,
        "sharpness_per_mm": sharpness(smooth, known, seen.grid, noise) / float(high - low),
        "entropy_focus": entropy_focus(values[known]),
        "slice_unevenness": slice_unevenness(values, bright, seen.grid),
    }
    if (ghost := ghost_ratio(values, known, bright)) is not None:
        found["ghost_ratio"] = ghost
    if labels is not None:
        if not labels.grid.matches(image.grid):
            raise LabelError(
                f"{labels.name}: the labels lie on another grid than their image. Resample them first."
            )
        found |= _of_labels(values, turn.array(labels.data[0]).numpy()[box], known, noise)
    return found


def smoothed(values: np.ndarray) -> np.ndarray:
    """The values after a Gaussian whose standard deviation is one voxel, so that noise does not pass for edges."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, 1.0, mode="nearest")


def sharpness(smooth: np.ndarray, known: np.ndarray, grid: Grid, noise: float) -> float:
    """The 99th percentile of the steepness, in the image's unit a mm, less what its noise alone would give.

    Args:
        smooth: `(*shape)`, after `smoothed`.
        known: `(*shape)` bool, the voxels that count.
        grid: of both.
        noise: standard deviation before smoothing.
    """
    axes = [axis for axis, n in enumerate(smooth.shape) if n > 1]
    slopes = [np.gradient(smooth, grid.spacing[axis], axis=axis) for axis in axes]
    steep = np.sum(np.square(slopes), axis=0)
    # what is left of the noise's variance after the smoothing, and after the smoothing and a central difference
    weights = smoothed(np.eye(1, 21, 10)[0])
    kept, risen = (weights**2).sum(), (np.gradient(weights) ** 2).sum()
    of_noise = noise**2 * kept ** (len(axes) - 1) * float((risen / grid.spacing[axes] ** 2).sum())
    return float(np.sqrt(max(np.percentile(steep[known], 99) - of_noise, 0.0)))


def entropy_focus(values: np.ndarray) -> float:
    """Entropy of the shares of the image's energy, by the largest there could be: Atkinson et al. 1997.

    doi:10.1109/42.650886. Ghosts and blur of motion spread energy over more voxels, and raise it.
    """
    size = np.sqrt((values**2).sum())
    if size == 0 or values.size < 2:
        raise IntensityError("the image is zero everywhere; there is no energy whose entropy could be told.")
    shares = np.abs(values[values != 0]) / size
    largest = np.sqrt(values.size) * np.log(np.sqrt(values.size))
    return float(-(shares * np.log(shares)).sum() / largest)


def ghost_ratio(values: np.ndarray, known: np.ndarray, bright: np.ndarray) -> float | None:
    """How much brighter air is beside the anatomy along its worst axis than along the others, by the anatomy's mean.

    Ghosts repeat the anatomy along the direction of phase encoding. None where no air counts beside the anatomy along
    two axes, two layers of it at least.
    """
    means = []
    span = [
        np.flatnonzero(bright.any(tuple(b for b in range(bright.ndim) if b != a))) for a in range(bright.ndim)
    ]
    for axis in range(bright.ndim):
        # what lies before and behind the anatomy along this axis, level with it along the others
        column = tuple(slice(s[0], s[-1] + 1) if b != axis else slice(None) for b, s in enumerate(span))
        beside, there = (np.moveaxis(v[column], axis, 0) for v in (values, known))
        layers = np.r_[: span[axis][0], span[axis][-1] + 1 : len(beside)]
        # a mask round the anatomy has corners of it alone: no air to judge by
        layers = [layer for layer in layers if there[layer].mean() > 0.5]
        if len(layers) >= 2:
            means.append(float(beside[layers][there[layers]].mean()))
    if len(means) < 2:
        return None
    return float((max(means) - np.median(sorted(means)[:-1])) / values[bright].mean())


def slice_unevenness(values: np.ndarray, bright: np.ndarray, grid: Grid) -> float:
    """Mean jump of the anatomy's brightness from slice to slice beyond its trend, by its mean; along thick slices."""
    axis = int(np.argmax(grid.spacing)) if grid.dim == 3 and np.ptp(grid.spacing) > 1e-6 else grid.dim - 1
    counted = np.moveaxis(bright, axis, 0).reshape(bright.shape[axis], -1)
    slices = np.moveaxis(values, axis, 0).reshape(bright.shape[axis], -1)
    enough = counted.sum(1) > 0.2 * counted.sum(1).max()
    means = np.array([s[c].mean() for s, c, e in zip(slices, counted, enough) if e])
    if len(means) < 3:
        return 0.0
    jumps = means[1:-1] - (means[:-2] + means[2:]) / 2
    return float(np.abs(jumps).mean() / np.abs(means.mean()))


def _between(values: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values))


def _of_labels(values: np.ndarray, labels: np.ndarray, known: np.ndarray, noise: float) -> dict[str, float]:
    found: dict[str, float] = {}
    background = values[known & (labels == 0)]
    for label in np.unique(labels[known]):
        inside = values[known & (labels == label)]
        if label == 0 or noise == 0:
            continue
        found[f"snr_{label}"] = float(inside.mean() / noise)
        if background.size:
            found[f"cnr_{label}"] = float(abs(inside.mean() - background.mean()) / noise)
    return found
