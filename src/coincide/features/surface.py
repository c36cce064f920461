"""Surfaces as points in world mm: of masks, of labels, and of what an image shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.normalise import normalise, robust_range

_SMOOTH = 0.7
"""Gaussian on a mask, in voxels: takes the stairs off, and moves the surface by a few hundredths of a voxel."""
_PART = 0.05
"""A part of the foreground counts from this share of its largest part on."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Points on a surface; in 2-D on a curve.

    Args:
        points: `(number, dim)` world mm.
        normals: `(number, dim)` unit vectors from inside to outside; zero where nothing is known of a direction.
        areas: `(number,)` how much of the surface each point stands for, mm² (mm in 2-D).
        group: `(number,)` which label each belongs to; only points of one group can correspond.
    """

    points: np.ndarray
    normals: np.ndarray
    areas: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return int(self.points.shape[1])

    @property
    def centre(self) -> np.ndarray:
        """Middle of the surface, weighted by area, world mm."""
        return np.einsum("n,na->a", self.areas / self.areas.sum(), self.points)

    def chosen(self, which: np.ndarray) -> Surface:
        """The points that `which` (bool or indices) names."""
        return Surface(self.points[which], self.normals[which], self.areas[which], self.group[which])

    def carried(self, matrix: np.ndarray) -> Surface:
        """The surface after a linear map, homogeneous `(dim+1, dim+1)`; what its points stand for stays as it is."""
        points = np.einsum("nj,ij->ni", self.points, matrix[:-1, :-1]) + matrix[:-1, -1]
        # normals are turned by the inverse transpose of what turns positions
        normals = np.einsum("ji,nj->ni", np.linalg.inv(matrix[:-1, :-1]), self.normals)
        return replace(self, points=points, normals=_unit(normals))

    def thinned(self, number: int) -> Surface:
        """At most about `number` points at even distances, each standing for the area around it."""
        if len(self) <= number:
            return self
        low, high = 0.0, float(np.ptp(self.points, axis=0).max())
        best = self.chosen(np.array([0]))
        for _ in range(10):  # the size of the cells of which each keeps one point
            cell = (low + high) / 2 if low else high / 2
            kept = self._one_a_cell(cell)
            low, high = (cell, high) if len(kept) > number else (low, cell)
            if len(best) < len(kept) <= number:
                best = kept
        return best

    def _one_a_cell(self, cell: float) -> Surface:
        """Of the points in each cube the one nearest to their middle, with the area of them all."""
        place = np.floor((self.points - self.points.min(0)) / cell).astype(np.int64)
        group = np.unique(self.group, return_inverse=True)[1].ravel()
        extent = (*(place.max(0) + 1), group.max() + 1)
        key = np.ravel_multi_index((*place.T, group), extent)
        _, which, count = np.unique(key, return_inverse=True, return_counts=True)
        which = which.ravel()
        middle = _summed(self.points, which, len(count)) / count[:, None]
        apart = ((self.points - middle[which]) ** 2).sum(1)
        first = np.unique(which[(order := np.lexsort((apart, which)))], return_index=True)[1]
        return replace(self.chosen(order[first]), areas=_summed(self.areas[:, None], which, len(count))[:, 0])


@dataclass(frozen=True, eq=False)
class Levels:
    """Values that pass through a level on a boundary, brighter inside.

    Args:
        values: `(*grid.shape)`; what lies beyond the grid is outside.
        grid: where they lie.
        level: on the boundary.
    """

    values: np.ndarray
    grid: Grid
    level: float

    def surface(self, group: int = 0) -> Surface:
        """The boundary, open where the border of the grid cuts it off; its points belong to `group`."""
        return contour(self.values, self.grid, self.level, group)

    def inside(self, world: np.ndarray) -> np.ndarray:
        """Whether positions `(…, dim)`, mm, lie inside, `(…)` bool."""
        index = np.moveaxis(self.grid.index(world), -1, 0)
        return ndimage.map_coordinates(self.values, index, order=1, mode="grid-constant") > self.level


def bare(points: np.ndarray) -> Surface:
    """Points of which nothing else is known, world mm `(number, dim)`."""
    points = np.asarray(points, dtype=np.float64)
    return Surface(points, np.zeros_like(points), np.ones(len(points)), np.zeros(len(points), dtype=np.int64))


def joined(surfaces: list[Surface]) -> Surface:
    """Several surfaces as one; each point keeps its group."""
    names = ("points", "normals", "areas", "group")
    return Surface(*(np.concatenate([getattr(s, name) for s in surfaces]) for name in names))


def mask_surface(mask: np.ndarray, grid: Grid, group: int = 0) -> Surface:
    """The surface between a mask and the rest; open where the mask is cut off by the border of the grid.

    Args:
        mask: `(*grid.shape)` bool.
        grid: where the voxels lie; it may be sheared.
        group: what the points are to belong to.

    Returns:
        No points where the mask is empty or fills the grid.
    """
    found = mask_levels(mask, grid)
    return bare(np.zeros((0, grid.dim))) if found is None else found.surface(group)


def mask_levels(mask: np.ndarray, grid: Grid) -> Levels | None:
    """A mask as values that pass through a level between its voxels; None where it is empty.

    Arguments as in `mask_surface`. The values cover the box round the mask.
    """
    found = ndimage.find_objects(np.asarray(mask, dtype=np.int8))
    if not found:
        return None
    box = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in found[0])
    values = np.asarray(mask[box], dtype=np.float32)
    smooth = ndimage.gaussian_filter(values, _SMOOTH, mode="nearest")
    # what is thinner than the Gaussian would be lost
    values = smooth if smooth.max() > 0.5 else values
    start = np.array([s.start for s in box])
    return Levels(values, grid.cropped(start, start + values.shape), 0.5)


def label_surfaces(labels: Image, wanted) -> dict[int, Surface]:
    """The surface of each label in `wanted` that has one, by label; the label is the points' group."""
    values = labels.numpy()[0]
    names = np.array(sorted(wanted), dtype=values.dtype)
    place = np.searchsorted(names, values).clip(max=len(names) - 1)
    compact = np.where(names[place] == values, place + 1, 0)
    found = {}
    for number, box in enumerate(ndimage.find_objects(compact, max_label=len(names)), start=1):
        if box is None:
            continue
        box = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in box)  # noqa: PLW2901
        start = np.array([s.start for s in box])
        part = compact[box] == number
        surface = mask_surface(part, labels.grid.cropped(start, start + part.shape), int(names[number - 1]))
        if len(surface):
            found[int(names[number - 1])] = surface
    return found


def foreground_surface(image: Image, threshold: float = 0.0) -> Surface:
    """The outer surface of what an image shows, between its voxels; holes do not count, nor do small parts.

    Args:
        image: intensities, brighter than what surrounds them; of its mask, where there is one, come all points.
        threshold: grey value of the surface, from 0 to 1 of the image's range; 0 chooses one between the dark and the
            bright.
    """
    found = foreground_levels(image, threshold)
    surface = bare(np.zeros((0, image.dim))) if found is None else found.surface()
    if image.mask is None or not len(surface):
        return surface
    # where the mask cuts through something there is no surface: it only says which points count
    counted = ndimage.binary_dilation(image.mask.numpy(), iterations=2)
    return surface.chosen(counted[tuple(np.rint(image.grid.index(surface.points)).astype(int).T)])


def foreground_levels(image: Image, threshold: float = 0.0) -> Levels | None:
    """What an image shows as values that pass through a level at its outer surface; None where it shows nothing.

    Arguments as in `foreground_surface`. What the mask leaves out says neither which grey value stands for the surface
    nor which parts count; where a part goes on beyond the mask, it is not cut off there.
    """
    from skimage.measure import label

    values = normalise(image.with_mask(None), robust_range(image)).data[0].numpy()
    counted = slice(None) if image.mask is None else image.mask.numpy()
    level = threshold or between(values[counted])
    bright = values > level
    parts = np.asarray(label(bright, connectivity=1))
    sizes = np.bincount(parts[counted].ravel(), minlength=parts.max() + 1)
    if not sizes[1:].any():
        return None
    sizes[0] = 0
    kept = (sizes > _PART * sizes.max())[parts]
    filled = _filled(kept)
    # the grey values place the surface between voxels; holes and what is left out are levelled first
    values = np.where(filled & ~kept, 1.0 + level, np.where(bright & ~kept, 0.0, values)).astype(np.float32)
    return Levels(ndimage.gaussian_filter(values, _SMOOTH, mode="nearest"), image.grid, level)


def _filled(mask: np.ndarray) -> np.ndarray:
    """The mask and whatever it encloses."""
    from skimage.measure import label

    outside = np.asarray(label(~mask, connectivity=1))
    border = np.ones(mask.shape, dtype=bool)
    border[tuple(slice(1, -1) for _ in mask.shape)] = False
    open_to = np.zeros(outside.max() + 1, dtype=bool)
    open_to[outside[border]] = True
    open_to[0] = False
    return ~open_to[outside]


def between(values: np.ndarray) -> float:
    """A grey value between air and anatomy: half-way between Otsu's threshold and that of what is darker still."""
    from skimage.filters import threshold_otsu

    sample = values.ravel()[:: max(1, values.size // 500_000)]
    upper = threshold_otsu(sample)
    darker = sample[sample <= upper]
    lower = threshold_otsu(darker) if darker.min() < darker.max() else float(darker[0])
    return float(upper + lower) / 2


def contour(values: np.ndarray, grid: Grid, level: float, group: int = 0) -> Surface:
    """The surface on which `values` `(*grid.shape)` pass through `level`, falling towards the outside."""
    from skimage.measure import find_contours, marching_cubes

    if min(values.shape) < 2 or not values.min() < level < values.max():
        return bare(np.zeros((0, grid.dim)))
    if grid.dim == 2:
        lines = find_contours(values, level)
        index = np.concatenate(lines)
        sizes = np.concatenate([_lengths(grid.world(line)) for line in lines])
    else:
        index, faces, _, _ = marching_cubes(values, level)
        sizes = _face_areas(grid.world(index), faces)
    normals = _outwards(values, index, grid)
    known = (sizes > 0) & (np.abs(normals).sum(1) > 0)
    surface = Surface(grid.world(index), normals, sizes, np.full(len(index), group, dtype=np.int64))
    return surface.chosen(known)


def _lengths(line: np.ndarray) -> np.ndarray:
    """The length of curve that belongs to each point of a polygon, mm."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    return np.r_[steps, 0] / 2 + np.r_[0, steps] / 2


def _face_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The area that belongs to each point of a mesh of triangles, mm²."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.bincount(faces.ravel(), np.repeat(areas / 3, 3), minlength=len(points))


def _outwards(values: np.ndarray, index: np.ndarray, grid: Grid) -> np.ndarray:
    """Unit vectors in the world down the slope of `values` at `index` positions."""
    smooth = ndimage.gaussian_filter(values, _SMOOTH, mode="nearest")
    slope = np.stack([ndimage.map_coordinates(g, index.T, order=1) for g in np.gradient(smooth)], axis=1)
    # a slope is turned by the inverse transpose of what turns positions
    world = -np.einsum("ij,ni->nj", grid.inverse_affine[:-1, :-1], slope)
    return _unit(world)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one; those of length zero stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _summed(values: np.ndarray, which: np.ndarray, number: int) -> np.ndarray:
    """Sums of the rows of `values` over each of `number` sets."""
    return np.stack([np.bincount(which, column, minlength=number) for column in values.T], axis=1)
