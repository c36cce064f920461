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


@dataclass(frozen=True, eq=False)
class Coarse:
    """Both images at a coarse level, and the transform between them.

    Args:
        fixed: normalised.
        moving: normalised, at about the same voxel size.
        transform: fixed-world mm → moving-world mm.
    """

    fixed: Image
    moving: Image
    transform: Transform

    @classmethod
    def of(cls, pair: Pair, transform: Transform) -> Coarse:
        """The coarse level of a pair."""
        fixed, moving = normalise(pair.fixed), normalise(pair.moving)
        start, stop = bounding_box(foreground_weights(fixed))
        volume = float(np.prod((stop - start) * fixed.grid.spacing))
        number = VOXELS if pair.dim == 3 else VOXELS / 2
        spacing = max((volume / number) ** (1 / pair.dim), float(fixed.grid.spacing.min()))
        return cls(shrink(fixed, spacing), shrink(moving, spacing), transform)

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

    @cached_property
    def spread(self) -> float:
        """SD of the logarithm of the Jacobian determinant over the fixed anatomy, at the coarse level."""
        own = self.grid.points()
        field = np.moveaxis((self.transform(own) - own) @ self.grid.inverse_affine[:-1, :-1].T, -1, 0)
        values = determinants(torch.from_numpy(np.ascontiguousarray(field)).float()).central[self.anatomy > 0]
        values = values[values > 0]
        return float(torch.log(values).std()) if values.numel() > 1 else 0.0


def mean(values: Tensor, weights: Tensor) -> float:
    """Mean of `values` under `weights`, both `(*shape)`; 0 where nothing weighs."""
    return float((values * weights).sum() / weights.sum().clamp_min(1e-9))


def block_means(values: Tensor, weights: Tensor, size: int) -> np.ndarray:
    """Weighted means over the cubes of `size` voxels that hold a fair share of the weight."""
    pool = torch.nn.functional.avg_pool3d if values.ndim == 3 else torch.nn.functional.avg_pool2d
    total = pool((values * weights)[None, None], size, ceil_mode=True)[0, 0]
    weight = pool(weights[None, None], size, ceil_mode=True)[0, 0]
    kept = weight > 0.3 * weight.max()
    return (total[kept] / weight[kept]).numpy()
