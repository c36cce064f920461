"""Random transforms of which the truth is known: a linear part and a diffeomorphism."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.data.synthesis import _motion_kernels
from coincide.data.synthesis.noise import smooth_noise, taper
from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.ops.field import exponentiate
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_voxels, to_world
from coincide.transforms.linear import Affine, about, rotation_matrix


@dataclass(frozen=True)
class Motion:
    """How far a linear transform may go; every part is drawn evenly between minus and plus its limit.

    Args:
        rotation: degrees, about an axis that is even over the sphere.
        shift: mm, along each axis.
        scale: share by which each axis is stretched or, as often, shrunk: 0.1 is from 1/1.1 to 1.1.
        shear: each entry beside the diagonal.
    """

    rotation: float = 20.0
    shift: float = 15.0
    scale: float = 0.1
    shear: float = 0.05

    def __post_init__(self) -> None:
        for name in ("rotation", "shift", "scale", "shear"):
            if not 0 <= getattr(self, name) < np.inf:
                raise OptionError(f"{name} of a motion is {getattr(self, name)}, expected 0 or more.")


@dataclass(frozen=True)
class Bend:
    """How much a smooth diffeomorphism moves, and how local it is.

    Args:
        amount: mm, the largest standard deviation of the velocity along each axis; every draw takes an even share.
        scales: mm, the width of its features. Each finer one gets less, in proportion to its width, so that all of
            them strain the image alike.
    """

    amount: float = 6.0
    scales: tuple[float, ...] = (64.0, 32.0, 16.0)

    def __post_init__(self) -> None:
        if not 0 <= self.amount < np.inf:
            raise OptionError(f"the amount of a bend is {self.amount} mm, expected 0 or more.")
        if not self.scales or min(self.scales) <= 0:
            raise OptionError(f"the scales of a bend are {self.scales} mm, expected positive numbers.")


def random_affine(rng: np.random.Generator, motion: Motion, centre: np.ndarray) -> Affine:
    """A linear transform about `centre` (mm) within `motion`."""
    dim = len(centre)
    angle = rng.uniform(-motion.rotation, motion.rotation)
    rotation = rotation_matrix(angle) if dim == 2 else _turned_about(rng.standard_normal(3), angle)
    stretch = np.exp(np.log1p(motion.scale) * rng.uniform(-1, 1, dim))
    shear = np.eye(dim) + np.triu(rng.uniform(-motion.shear, motion.shear, (dim, dim)), 1)
    return about(rotation @ shear * stretch, rng.uniform(-motion.shift, motion.shift, dim), centre)


def _turned_about(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation by `degrees` about `axis`, by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def random_flow(rng: np.random.Generator, bend: Bend, grid: Grid) -> Displacement | None:
    """A diffeomorphism around the field of view of `grid`, at rest beyond it; None where `bend` moves nothing."""
    amount = rng.uniform(0, bend.amount)
    if amount == 0:
        return None
    # a third of the finest feature: fine enough, as the field that is linear between these nodes is the truth itself
    step = np.maximum(grid.spacing.min(), min(bend.scales) / 3)
    margin = 0.5 * max(bend.scales)
    lattice = around(grid, step, margin)
    velocity = np.zeros((grid.dim, *lattice.shape), np.float32)
    for scale in bend.scales:
        part = smooth_noise(rng, lattice.shape, scale / step, grid.dim)
        velocity += part * np.float32(amount * scale / max(bend.scales))
    velocity *= taper(lattice.shape, margin / step)
    voxels = exponentiate(to_voxels(torch.from_numpy(velocity), lattice).contiguous())
    return Displacement(to_world(voxels, lattice), lattice)


def preimages(flow: Displacement, target: np.ndarray) -> np.ndarray:
    """The places that `flow` carries to `target`, both `(dim, *shape)` mm in float64; to a thousandth of its voxels."""
    dim = flow.dim
    field = np.zeros((3, *flow.grid.shape, *[1] * (3 - dim)), np.float32)
    field[:dim] = flow.voxel_vectors().numpy().reshape(dim, *field.shape[1:])
    index = np.zeros((3, target[0].size))
    index[:dim] = flow.grid.index(target.reshape(dim, -1).T).T
    found = np.empty_like(index)
    _motion_kernels.preimages(field, index, found)
    return flow.grid.world(found[:dim].T).T.reshape(target.shape)


@dataclass(frozen=True, eq=False)
class Undone(Transform):
    """The inverse of a `flow`, solved for at every point: exact, where a field of vectors would be so at its nodes."""

    flow: Displacement

    @property
    def dim(self) -> int:
        return self.flow.dim

    def _map(self, points: np.ndarray) -> np.ndarray:
        return preimages(self.flow, points.T).T

    def inverse(self) -> Displacement:
        return self.flow


def around(grid: Grid, step: float | np.ndarray, margin: float) -> Grid:
    """A lattice of `step` mm along the axes of `grid`, `margin` mm further out on every side."""
    extent = (np.asarray(grid.shape) - 1) * grid.spacing + 2 * margin
    shape = np.ceil(extent / step).astype(int) + 1
    origin = grid.centre - grid.direction @ ((shape - 1) * step / 2)
    return Grid.from_spacing(tuple(shape), step, origin, grid.direction)
