"""Edges of images and volumes, to a fraction of a voxel: what is steepest along its own slope."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from coincide.errors import OptionError
from coincide.features.keypoints import inside
from coincide.features.surface import Surface
from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.normalise import normalise

_WEAKER = 0.4
"""Share of the threshold from which on what hangs together with a strong edge is one too."""
_STEEPEST = 99.5
"""Percentile of the gradients that counts as their largest."""


def gradient(values: np.ndarray, grid: Grid, sigma: float) -> np.ndarray:
    """How `values` rise in the world, per mm, `(dim, *shape)`, after a Gaussian.

    Args:
        values: `(*grid.shape)`.
        grid: where they lie; it may be sheared, and its voxels need be no cubes.
        sigma: of the Gaussian, mm.
    """
    smooth = ndimage.gaussian_filter(values.astype(np.float64), sigma / grid.spacing, mode="nearest")
    slopes = np.stack(np.gradient(smooth))
    # a slope is turned by the inverse transpose of what turns positions
    return np.einsum("ij,i...->j...", grid.inverse_affine[:-1, :-1], slopes)


def edges(image: Image, sigma: float = 0.0, strength: float = 0.15) -> Surface:
    """The edges of an image after Canny (1986, doi:10.1109/TPAMI.1986.4767851), in 2-D and 3-D, in world mm.

    A voxel is on an edge where the gradient is larger than at a step up and a step down the slope; the edge lies where
    a parabola through the three is highest. Weak edges count where they hang together with a strong one.

    Args:
        image: its mask, where there is one, says where edges are looked for.
        sigma: of the Gaussian before, mm; 0 takes one and a half voxels.
        strength: gradient of a strong edge, as a share of the image's largest.

    Returns:
        Points with normals towards the dark; none where nothing stands out.

    Raises:
        OptionError: a negative sigma, or a strength that is not between 0 and 1.
    """
    if sigma < 0 or not 0 < strength < 1:
        raise OptionError(
            f"edges need a sigma of 0 or more and a strength between 0 and 1, found {sigma} and {strength}."
        )
    grid, step = image.grid, float(image.grid.spacing.min())
    values = normalise(image.with_mask(None)).data[0].numpy()
    slopes = gradient(values, grid, sigma or 1.5 * float(np.prod(grid.spacing) ** (1 / grid.dim)))
    steep = np.linalg.norm(slopes, axis=0)
    known = np.ones(grid.shape, bool) if image.mask is None else image.mask.numpy()
    largest = float(np.percentile(steep[known], _STEEPEST))
    places = np.argwhere((steep > max(_WEAKER * strength * largest, 1e-9)) & known)
    world, normals, thin = _crests(places, slopes, steep, grid, step)
    hangs = _hanging(places[thin], steep, strength * largest, grid.shape)
    world, normals = world[thin][hangs], normals[thin][hangs]
    kept = inside(grid.index(world), known)
    size = grid.voxel_volume ** ((grid.dim - 1) / grid.dim)
    number = int(kept.sum())
    return Surface(world[kept], normals[kept], np.full(number, size), np.zeros(number, dtype=np.int64))


def _crests(places: np.ndarray, slopes: np.ndarray, steep: np.ndarray, grid: Grid, step: float):
    """World positions of edges near voxels, the directions down the slope, and which voxels are on an edge at all."""
    up = slopes[(slice(None), *places.T)].T
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-12)
    world = grid.world(places)
    crest = ndimage.spline_filter(steep, order=3, mode="nearest")
    below, here, above = (
        ndimage.map_coordinates(
            crest, grid.index(world + s * step * up).T, order=3, mode="nearest", prefilter=False
        )
        for s in (-1, 0, 1)
    )
    thin = (here > below) & (here >= above)
    curvature = np.minimum(below - 2 * here + above, -1e-12)
    shift = np.clip(0.5 * (below - above) / curvature, -1, 1) * step
    return world + shift[:, None] * up, -up, thin


def _hanging(places: np.ndarray, steep: np.ndarray, strong: float, shape: tuple[int, ...]) -> np.ndarray:
    """Which of the edge voxels hang together, over corners too, with one that is steeper than `strong`."""
    from skimage.measure import label

    marked = np.zeros(shape, bool)
    marked[tuple(places.T)] = True
    at = np.asarray(label(marked, connectivity=len(shape)))[tuple(places.T)]
    has_strong = np.zeros(at.max(initial=0) + 1, bool)
    has_strong[at[steep[tuple(places.T)] > strong]] = True
    return has_strong[at]
