"""Regions of images: grown from a seed, or stable over many thresholds; and what tells one from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from coincide.errors import PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.normalise import normalise

_SMOOTH = 1.0
"""Gaussian before anything grows, voxels: noise would stop it, or let it leak."""
_FEWEST = 12.0
"""Voxels that a region has at least: fewer show no shape."""
_LEVELS = 24
"""Thresholds that regions are followed over."""
_STEADY = {2: 0.5, 3: 0.85}
"""Share by which a region may grow from one threshold before to one after, to be stable."""
_SAME = 0.6
"""Overlap (of what either covers) from which on two regions are one."""


@dataclass(frozen=True, eq=False)
class Regions:
    """What is known of some regions.

    Args:
        centre: `(number, dim)` world mm.
        volume: `(number,)` mm³, mm² in 2-D.
        axes: `(number, dim, dim)` unit vectors along each, as columns, long to short.
        radii: `(number, dim)` root mean square extent along these, mm.
        name: `(number,)` the label, or the place in a list.
        bright: `(number,)` +1 where brighter than its surroundings, −1 where darker, 0 where not known.
    """

    centre: np.ndarray
    volume: np.ndarray
    axes: np.ndarray
    radii: np.ndarray
    name: np.ndarray
    bright: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)

    def chosen(self, rows: np.ndarray) -> Regions:
        """Some of them, by row."""
        fields = (self.centre, self.volume, self.axes, self.radii, self.name, self.bright)
        return Regions(*(values[rows] for values in fields))

    @property
    def size(self) -> np.ndarray:
        """The geometric mean of each region's radii, mm, `(number,)`."""
        return np.exp(np.log(self.radii).mean(1))

    @property
    def form(self) -> np.ndarray:
        """What neither place, rotation nor scale changes, `(number, dim)`.

        Logarithms of the ratios of the radii to their mean; the last is that of an ellipsoid's volume to the region's.
        """
        dim = self.radii.shape[1]
        ratios = np.log(self.radii / self.size[:, None])[:, :-1]
        # an ellipse with these mean radii has this area, an ellipsoid this volume
        full = {2: np.pi * 4, 3: 4 / 3 * np.pi * 5**1.5}[dim] * self.size**dim
        return np.column_stack([ratios, np.log(full / self.volume) / dim])


def grow(image: Image, seed: np.ndarray, tolerance: float) -> np.ndarray:
    """What hangs together with a seed and is as bright, `(*shape)` bool.

    Args:
        image: its mask, where there is one, is not left.
        seed: world mm, `(dim,)`.
        tolerance: how far grey values may be from the seed's, as a share of the image's range.

    Raises:
        PointsError: the seed lies outside the image, or its mask.
    """
    from skimage.segmentation import flood

    index = tuple(np.floor(image.grid.index(seed) + 0.5).astype(int))
    known = np.ones(image.grid.shape, bool) if image.mask is None else image.mask.numpy()
    if not image.grid.inside(seed) or not known[index]:
        raise PointsError(
            f"{image.name}: the seed at {np.round(seed, 1).tolist()} mm lies outside the image or its mask. Check that "
            "the landmarks belong to this image."
        )
    values = ndimage.gaussian_filter(normalise(image.with_mask(None)).data[0].numpy(), _SMOOTH)
    values = np.where(known, values, values[index] + 10)
    return np.asarray(flood(values, index, tolerance=tolerance))


def of_labels(labels: np.ndarray, grid: Grid, least: int = 1) -> Regions:
    """The regions of a label map `(*grid.shape)`, 0 left out, that have `least` voxels or more."""
    names, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + 1
    boxes = ndimage.find_objects(compact)
    found = []
    for number, (name, box) in enumerate(zip(names.tolist(), boxes), start=1):
        if name == 0 or box is None:
            continue
        index = np.argwhere(compact[box] == number) + [s.start for s in box]
        if len(index) >= least:
            found.append(_described(index, grid, name, 0))
    return _gathered(found, grid.dim)


def stable(image: Image, smallest: float, largest: float) -> Regions:
    """Parts that stand out from their surroundings whatever the threshold, bright ones and dark ones.

    Matas et al. 2004, doi:10.1016/j.imavis.2004.02.006, on a ladder of thresholds, in 2-D and 3-D.

    Args:
        image: its mask, where there is one, says where regions may lie.
        smallest: volume, as a share of the image's anatomy.
        largest: likewise.
    """
    values = ndimage.gaussian_filter(normalise(image.with_mask(None)).data[0].numpy(), _SMOOTH)
    known = np.ones(image.grid.shape, bool) if image.mask is None else image.mask.numpy()
    inside = values[known & (values > 0.1)]
    if inside.size < 100:
        return _gathered([], image.dim)
    limits = max(_FEWEST, smallest * inside.size), largest * inside.size
    found: list[tuple] = []
    for sign in (1, -1):
        seen = np.where(known, sign * values, -np.inf)
        levels = np.unique(np.quantile(sign * inside, np.linspace(0.02, 0.98, _LEVELS)))
        found += _steady(seen, levels[::-1], limits, image.grid, sign)
    return _gathered(found, image.dim)


def _steady(
    seen: np.ndarray, levels: np.ndarray, limits: tuple[float, float], grid: Grid, sign: int
) -> list[tuple]:
    """The parts above a level that grow least from the level before to the one after, each described once."""
    from skimage.measure import label

    found: list[tuple[float, np.ndarray]] = []
    parts = [np.asarray(label(seen >= level, connectivity=1)) for level in levels]
    for before, here, after in zip(parts, parts[1:], parts[2:]):
        sizes, wider = np.bincount(here.ravel()), np.bincount(after.ravel())
        narrower = np.bincount(here.ravel(), weights=(before > 0).ravel())
        boxes = ndimage.find_objects(here)
        for number in np.flatnonzero((sizes >= limits[0]) & (sizes <= limits[1])):
            if number == 0:
                continue
            box = boxes[number - 1]
            index = np.argwhere(here[box] == number) + [side.start for side in box]
            # what the border cuts has another shape in another image
            cut = (index == 0).any() or (index == np.array(seen.shape) - 1).any()
            growth = float((wider[after[tuple(index[0])]] - narrower[number]) / sizes[number])
            if growth < _STEADY[grid.dim] and not cut:
                found.append((growth, index))
    kept: list[np.ndarray] = []
    for _, index in sorted(found, key=lambda f: f[0]):
        flat = np.asarray(np.ravel_multi_index(tuple(index.T), seen.shape))
        if all(_overlap(flat, other) < _SAME for other in kept):
            kept.append(flat)
    return [
        _described(np.stack(np.unravel_index(flat, seen.shape), 1), grid, number, sign)
        for number, flat in enumerate(kept)
    ]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two sets of voxels, as sorted indices."""
    if not 0.3 < len(a) / len(b) < 3.3:
        return 0.0
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def _described(index: np.ndarray, grid: Grid, name: int, sign: int) -> tuple:
    world = grid.world(index)
    centre = world.mean(0)
    apart = world - centre
    # a voxel is no point: it is spread over its own size
    own = grid.affine[:-1, :-1] @ grid.affine[:-1, :-1].T / 12
    values, axes = np.linalg.eigh(np.einsum("na,nb->ab", apart, apart) / len(apart) + own)
    radii = np.sqrt(values[::-1])
    return centre, len(index) * grid.voxel_volume, axes[:, ::-1], radii, name, sign


def _gathered(found: list[tuple], dim: int) -> Regions:
    if not found:
        none = np.zeros(0)
        return Regions(
            np.zeros((0, dim)),
            none,
            np.zeros((0, dim, dim)),
            np.zeros((0, dim)),
            none.astype(int),
            none.astype(int),
        )
    return Regions(*(np.array(column) for column in zip(*found)))
