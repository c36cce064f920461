"""What is registered to fit and to judge the verdict: pairs, what was done to them, and the truth about each.

A run is `failed` by construction (mirrored data, another organ, another person where only a rigid motion is
allowed, half of the anatomy missing) or by its result: mean error of known points above 8 mm, or mean Dice
below 60 % of what untouched runs of that group get in the median. Between 5 and 8 mm, or 60 and 80 %, it is
borderline and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Solution
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear
from coincide.pair import Pair
from coincide.points import Points
from coincide.similarity import LNCC, MIND, NMI
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine, about, identity, rotation_matrix
from coincide.transforms.resample import resample

KINDS = (
    "good",
    "wrong start",
    "wrong subject",
    "wrong organ",
    "flipped",
    "half field of view",
    "wrong similarity",
)


@dataclass(frozen=True)
class Run:
    """One registration of the experiment.

    Args:
        name: unlike any other's.
        kind: one of `KINDS`.
        group: what is registered, for the tables.
        build: makes the pair, with points or labels where they tell the truth.
        method: what registers it.
        failed: by construction.
    """

    name: str
    kind: str
    group: str
    build: Callable[[], Pair]
    method: AbstractMethod
    failed: bool = False


class Runs(list):
    """A list of runs that grows by `add`."""

    def add(self, kind: str, group: str, name: str, build, *changes, method=None, failed=False) -> None:
        """One more; `changes` are made to the built pair one after another.

        The method, where none is given, is that of the group's name: rigid, affine, across contrasts, or else LNCC.
        """
        if method is None:
            across = any(word in group for word in ("multimodal", "native", "metastases"))
            method = ACROSS if across else FAST
            method = RIGID if "rigid" in group else AFFINE if "affine" in group else method

        def changed() -> Pair:
            pair = build()
            for change in changes:
                pair = change(pair)
            return pair

        self.append(Run(name, kind, group, changed, method, failed))


RIGID = Linear("rigid", NMI(), fine=25_000)
AFFINE = Linear("affine", NMI(), fine=25_000)
FAST = Deformable(linear=AFFINE, similarity=LNCC(), iterations=(40, 20), trials=1)
ACROSS = Deformable(linear=AFFINE, similarity=MIND(), iterations=(30, 10), trials=1)


def solve(run: Run, pair: Pair) -> Solution:
    """What the run's method finds; deformations of volumes stop at 4 mm, where a run takes about a second."""
    method = run.method
    if isinstance(method, Deformable) and pair.dim == 3:
        own = float(np.prod(pair.fixed.grid.spacing) ** (1 / 3))
        method = replace(method, finest=max(4.0, own))
    return method.solve(pair)


def from_header(pair: Pair) -> Pair:
    """`pair`, to be started where the headers put it: no search."""
    return replace(pair, initial=identity(pair.dim))


def foreground_points(image: Image, number: int, seed: int) -> np.ndarray:
    """`number` points (mm) where the image is well above its air."""
    values = image.numpy()[0]
    inside = np.argwhere(ndimage.gaussian_filter(values, 1) > 0.25 * np.percentile(values, 98))
    chosen = np.random.default_rng(seed).choice(len(inside), min(number, len(inside)), replace=False)
    return image.grid.world(inside[chosen])


def warp_of(grid: Grid, seed: int, angle=10.0, shift=10.0, scale=0.06, bend=6.0, smooth=30.0) -> Transform:
    """A random smooth map of the world (mm): rotation (deg), shift (mm), scale and bending (mm, peak)."""
    rng, dim = np.random.default_rng(seed), grid.dim
    turn = rotation_matrix(rng.uniform(-angle, angle, 3 if dim == 3 else 1))
    linear = turn * np.exp(rng.uniform(-scale, scale))
    affine = about(linear, rng.uniform(-shift, shift, dim), grid.centre)
    if not bend:
        return affine
    wide = grid.orthogonalised(np.full(dim, 5.0))
    wide = wide.cropped([-8] * dim, np.array(wide.shape) + 8)
    noise = rng.standard_normal((dim, *wide.shape))
    field = np.stack([ndimage.gaussian_filter(n, smooth / 5.0) for n in noise])
    field *= bend / np.sqrt((field**2).sum(0)).max()
    return affine @ Displacement(torch.from_numpy(field).float(), wide)


def moved(
    image: Image, shape: Image, map_: Transform, seed: int = 0, number: int = 200
) -> tuple[Image, Points, Points]:
    """What `image` becomes when seen through `map_` (moving world → its world), and points in both worlds.

    `shape` says where the anatomy is, for the points.
    """
    fixed = foreground_points(shape, number, seed)
    inverse = map_.inverse()
    return resample(image, map_, image.grid), Points(fixed), Points(inverse(fixed))


def searched(pair: Pair) -> Pair:
    """`pair`, with the multi-start search."""
    return replace(pair, initial=None)


def flip(pair: Pair) -> Pair:
    """`pair` with the moving image mirrored."""
    return replace(pair, moving=mirrored(pair.moving))


def start(seed: int) -> Callable[[Pair], Pair]:
    """A change: a start that is far off."""
    return lambda pair: replace(pair, initial=wrong_start(pair.fixed, seed))


def half(axis: int, upper: bool) -> Callable[[Pair], Pair]:
    """A change: half of the moving anatomy is cut off."""
    return lambda pair: replace(pair, moving=halved(pair.moving, axis, upper))


def mirrored(image: Image, axis: int = 0) -> Image:
    """The image with its data mirrored along the index axis nearest to world `axis`; the header stays: a flip."""
    along = int(np.argmax(np.abs(image.grid.direction[axis])))
    return image.with_data(image.data.flip(along + 1).contiguous())


def halved(image: Image, axis: int, upper: bool, share: float = 0.5) -> Image:
    """The lower or upper `share` of the image's foreground along an index axis."""
    values = image.numpy()[0]
    there = np.flatnonzero(
        (values > 0.15 * np.percentile(values, 98)).any(tuple(a for a in range(image.dim) if a != axis))
    )
    low, high = there[0], there[-1] + 1
    middle = round(low + (1 - share if upper else share) * (high - low))
    start, stop = np.zeros(image.dim, int), np.array(image.grid.shape)
    if upper:
        start[axis] = middle
    else:
        stop[axis] = middle
    part = tuple(slice(a, b) for a, b in zip(start, stop))
    return Image(
        image.data[(slice(None), *part)].contiguous(), image.grid.cropped(start, stop), name=image.name
    )


def wrong_start(image: Image, seed: int) -> Affine:
    """A start that is far off: turned by 60 to 180 degrees, or shifted by 40 to 60 % of the field of view."""
    rng, grid = np.random.default_rng(seed), image.grid
    extent = np.ptp(grid.corners, axis=0)
    if rng.random() < 0.6:
        if grid.dim == 2:
            turn = rotation_matrix(rng.choice([-1, 1]) * rng.uniform(60, 180))
        else:
            axis = rng.standard_normal(3)
            axis /= np.linalg.norm(axis)
            cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
            angle = np.deg2rad(rng.uniform(60, 180))
            turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        return about(turn, rng.uniform(-0.05, 0.05, grid.dim) * extent, grid.centre)
    direction = rng.standard_normal(grid.dim)
    direction /= np.linalg.norm(direction)
    return about(np.eye(grid.dim), direction * rng.uniform(0.4, 0.6) * extent, grid.centre)
