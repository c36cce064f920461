"""Everything the pictures need, sampled once on the planes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.jacobian import jacobian_maps
from coincide.ops.jacobian import Determinants
from coincide.registration import Registration
from coincide.report.planes import Cut, Plane, planes
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine

STRAIGHT = 1e-3
"""mm: a transform that bends no point further than this is a linear one."""


@dataclass(frozen=True)
class View:
    """What is seen on one plane, each `(rows, columns)` unless said otherwise.

    Args:
        plane: where it is.
        fixed: the fixed image, 0 to 1 between its darkest and its brightest.
        before: the moving image where the headers put it, 0 to 1 likewise.
        after: the moving image carried by the transform, 0 to 1 likewise.
        inside: whether the pixel counts: in the fixed field of view, and in the mask where there is one.
        covered_before: whether the moving image has a value there where the headers put it.
        covered_after: whether it has one, carried.
        bent: where the transform without its linear part takes the pixels, world mm, `(rows, columns, dim)`.
        jacobian: determinant of the whole transform.
        folded: whether the transform folds there.
        fixed_labels: the fixed labels, or None.
        labels: the carried labels, or None.
    """

    plane: Plane
    fixed: np.ndarray
    before: np.ndarray
    after: np.ndarray
    inside: np.ndarray
    covered_before: np.ndarray
    covered_after: np.ndarray
    bent: np.ndarray
    jacobian: np.ndarray
    folded: np.ndarray
    fixed_labels: np.ndarray | None
    labels: np.ndarray | None

    @cached_property
    def displacement(self) -> np.ndarray:
        """How far the pixels are moved beside the linear part, mm."""
        return np.linalg.norm(self.bent - self.plane.points, axis=-1)


@dataclass(frozen=True)
class Scene:
    """A registration as its pictures see it.

    Args:
        registration: the registration.
        views: one for each plane.
        linear: the part of the transform the grid and displacement pictures leave out, fixed-world mm →
            moving-world mm; the identity where the transform is nothing but linear.
        bends: whether anything is left when the linear part is taken away.
    """

    registration: Registration
    views: tuple[View, ...]
    linear: Affine
    bends: bool

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes the views lie in."""
        return tuple(view.plane for view in self.views)


def look(registration: Registration) -> Scene:
    """Sample a registration on the planes through the middle of its fixed image."""
    pair, transform = registration.pair, registration.transform
    linear, bends = _linear_part(transform, pair.fixed.grid)
    fixed, moving = pair.fixed, pair.moving
    undo = linear.inverse()
    views = []
    cuts = planes(fixed)
    for plane, (near, maps) in zip(cuts, around_planes(transform, fixed.grid, cuts)):
        target = transform(plane.points)
        here = Cut(fixed.grid, plane.points)
        start, end = Cut(moving.grid, plane.points), Cut(moving.grid, target)
        inside = here.inside if fixed.mask is None else here.nearest(fixed.mask)
        views.append(
            View(
                plane=plane,
                fixed=here.linear(fixed.data[0]),
                before=start.linear(moving.data[0]),
                after=end.linear(moving.data[0]),
                inside=inside,
                covered_before=start.inside,
                covered_after=end.inside,
                bent=undo(target),
                jacobian=near.linear(maps.central),
                folded=near.nearest(maps.least <= 0) & inside,
                fixed_labels=_labels(pair.fixed_labels, plane, here, fixed.grid),
                labels=_labels(registration.labels, plane, here, fixed.grid),
            )
        )
    return Scene(registration, _windowed(views), linear, bends)


def around_planes(
    transform: Transform, grid: Grid, cuts: tuple[Plane, ...]
) -> Iterator[tuple[Cut, Determinants]]:
    """For each plane the Jacobian maps of the voxels around it, and the plane among these voxels."""
    boxes = [_around(plane, grid) for plane in cuts]
    if sum(box.size for box in boxes) > grid.size:  # oblique planes, whose boxes are nearly the whole
        maps = jacobian_maps(transform, grid)
        yield from ((Cut(grid, plane.points), maps) for plane in cuts)
    else:
        yield from (
            (Cut(box, plane.points), jacobian_maps(transform, box)) for plane, box in zip(cuts, boxes)
        )


def _around(plane: Plane, grid: Grid) -> Grid:
    """The part of a grid that a plane's pixels are interpolated from, and all neighbours of these voxels."""
    ends = np.asarray(grid.shape) - 1
    corners = plane.points[[0, 0, -1, -1], [0, -1, 0, -1]]
    index = np.clip(grid.index(corners), 0, ends)
    low, high = np.floor(index.min(0)) - 1, np.ceil(index.max(0)) + 1
    return grid.cropped(np.maximum(low, 0).astype(int), np.minimum(high, ends).astype(int) + 1)


def _labels(labels: Image | None, plane: Plane, here: Cut, grid: Grid) -> np.ndarray | None:
    if labels is None:
        return None
    return (here if labels.grid.matches(grid) else Cut(labels.grid, plane.points)).nearest(labels.data[0])


def _linear_part(transform: Transform, grid: Grid) -> tuple[Affine, bool]:
    """The affine map nearest to the transform, and whether the transform is more than that."""
    lattice = np.meshgrid(*(np.linspace(0, n - 1, 12) for n in grid.shape), indexing="ij")
    points = grid.world(np.stack(lattice, -1).reshape(-1, grid.dim))
    target = transform(points)
    homogeneous = np.hstack([points, np.ones((len(points), 1))])
    solution = np.linalg.lstsq(homogeneous, target, rcond=None)[0]
    bends = bool(np.abs(homogeneous @ solution - target).max() > STRAIGHT)
    matrix = np.eye(grid.dim + 1)
    if bends:
        matrix[:-1] = solution.T
    return Affine(matrix), bends


def _windowed(views: list[View]) -> tuple[View, ...]:
    """The views with their intensities brought to 0 … 1, one window for each image."""
    fixed = _window([v.fixed for v in views])
    moving = _window([v.after for v in views] + [v.before for v in views])
    return tuple(
        replace(v, fixed=fixed(v.fixed), before=moving(v.before), after=moving(v.after)) for v in views
    )


def _window(pictures: list[np.ndarray]):
    values = np.concatenate([p[np.isfinite(p)][::5] for p in pictures])
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    width = max(float(high - low), 1e-12)

    def apply(picture: np.ndarray) -> np.ndarray:
        return np.clip((np.nan_to_num(picture, nan=low) - low) / width, 0, 1).astype(np.float32)

    return apply
