"""A registration seen at a coarse level, where it can be questioned cheaply."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.jacobian import determinants
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.preprocess.foreground import bounding_box, foreground_weights
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import shrink
from coincide.transforms.base import Transform
from coincide.transforms.resample import positions

VOXELS = 50_000
"""How many voxels the fixed anatomy's bounding box is looked at with; half as many pixels in 2-D."""
FINER = 5
"""How many times as many voxels the finer images have, on which left and right are told."""


@dataclass(frozen=True, eq=False)
class Coarse:
    """Both images at a coarse level, and the transform between them.

    Args:
        fixed: normalised.
        moving: normalised, at about the same voxel size.
        transform: fixed-world mm → moving-world mm.
        finer: both images with `FINER` times as many voxels.
    """

    fixed: Image
    moving: Image
    transform: Transform
    finer: tuple[Image, Image]

    @classmethod
    def of(cls, pair: Pair, transform: Transform) -> Coarse:
        """The coarse level of a pair."""
        fixed, moving = normalise(pair.fixed), normalise(pair.moving)
        start, stop = bounding_box(foreground_weights(fixed))
        volume = float(np.prod((stop - start) * fixed.grid.spacing))
        number = VOXELS if pair.dim == 3 else VOXELS / 2
        coarse, fine = (
            max((volume / n) ** (1 / pair.dim), float(fixed.grid.spacing.min()))
            for n in (number, FINER * number)
        )
        finer = shrink(fixed, fine), shrink(moving, fine)
        return cls(shrink(finer[0], coarse), shrink(finer[1], coarse), transform, finer)

    @property
    def grid(self) -> Grid:
        """Where the fixed image stands."""
        return self.fixed.grid

    @cached_property
    def anatomy(self) -> Tensor:
        """Where the fixed image shows something, `(*shape)` float32, 0 or 1."""
        return (foreground_weights(self.fixed) > 0).float()

    @cached_property
    def points(self) -> np.ndarray:
        """Voxel centres of the fixed anatomy, mm, some thousands at most."""
        points = self.grid.points()[self.anatomy.numpy() > 0]
        return points[:: max(1, len(points) // 4000)]

    @property
    def centre(self) -> np.ndarray:
        """Middle of the fixed anatomy, mm."""
        return self.points.mean(0)

    @property
    def radius(self) -> float:
        """Root mean square distance of the fixed anatomy from its middle, mm."""
        return float(np.sqrt(np.square(self.points - self.centre).sum(1).mean()))

    @property
    def block(self) -> int:
        """Edge of the blocks that are looked at apart, in voxels: a fifth of the radius."""
        return max(2, round(0.2 * self.radius / float(self.grid.spacing.mean())))

    @cached_property
    def _index(self) -> Tensor:
        return positions(self.transform, self.grid, 0, self.grid.shape[0], self.moving.grid)

    @cached_property
    def warped(self) -> Tensor:
        """The moving image through the transform, `(*shape)`."""
        return sample(self.moving.data, self._index, outside="edge")[0]

    @cached_property
    def inside(self) -> Tensor:
        """Which voxels map into the moving field of view (and its mask), `(*shape)` float32, 0 or 1."""
        mask = self.moving.mask
        known = torch.ones(self.moving.grid.shape) if mask is None else mask.float()
        return (sample(known[None], self._index, outside="zero")[0] > 0.5).float()

    @cached_property
    def linear(self) -> np.ndarray:
        """The linear transform nearest to the whole one over the fixed anatomy, homogeneous, mm."""
        targets = self.transform(self.points)
        rows = np.c_[self.points, np.ones(len(self.points))]
        matrix = np.eye(self.fixed.dim + 1)
        matrix[:-1] = np.linalg.lstsq(rows, targets, rcond=None)[0].T
        return matrix

    @property
    def stretches(self) -> np.ndarray:
        """By what factors `linear` stretches its principal directions, largest first."""
        return np.linalg.svd(self.linear[:-1, :-1], compute_uv=False)

    @property
    def is_rigid(self) -> bool:
        """Whether the transform is a rigid motion."""
        return bool(np.abs(self.stretches - 1).max() < 1e-3 and self.spread < 1e-3)

    @cached_property
    def targets(self) -> np.ndarray:
        """Where the voxel centres of the grid map to, `(*shape, dim)`, mm."""
        return self.transform(self.grid.points())

    def beyond(self, matrix: np.ndarray) -> Tensor:
        """What the transform does before `matrix` is applied: displacements `(dim, *shape)` in voxels of the grid."""
        own, back, dim = self.grid.points(), np.linalg.pinv(matrix), self.fixed.dim
        moved = self.targets @ back[:dim, :dim].T + back[:dim, dim] - own
        return torch.from_numpy(
            np.ascontiguousarray(np.moveaxis(moved @ self.grid.inverse_affine[:dim, :dim].T, -1, 0))
        ).float()

    @cached_property
    def spread(self) -> float:
        """SD of the logarithm of the Jacobian determinant over the fixed anatomy, at the coarse level."""
        values = determinants(self.beyond(np.eye(self.fixed.dim + 1))).central[self.anatomy > 0]
        values = values[values > 0]
        return float(torch.log(values).std()) if values.numel() > 1 else 0.0


def mean(values: Tensor, weights: Tensor) -> float:
    """Mean of `values` under `weights`, both `(*shape)`; 0 where nothing weighs."""
    return float((values * weights).sum() / weights.sum().clamp_min(1e-9))


def block_means(values: Tensor, weights: Tensor, size: int) -> np.ndarray:
    """Weighted means over the cubes of `size` voxels, or of what there is, that hold a fair share of the weight."""
    pool = torch.nn.functional.avg_pool3d if values.ndim == 3 else torch.nn.functional.avg_pool2d
    sizes = [min(size, n) for n in values.shape]
    total = pool((values * weights)[None, None], sizes, ceil_mode=True)[0, 0]
    weight = pool(weights[None, None], sizes, ceil_mode=True)[0, 0]
    kept = weight > 0.3 * weight.max()
    return (total[kept] / weight[kept]).numpy()
