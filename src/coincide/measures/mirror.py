"""Whether left and right are exchanged: what was found, held against its mirror image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.agreement import local_correlation, surroundings
from coincide.measures.coarse import Coarse, block_means, mean
from coincide.ops.field import warp
from coincide.ops.sample import sample_affine
from coincide.optimise.deformable import Level, Rule, descend, to_level
from coincide.preprocess.foreground import bounding_box, foreground_weights
from coincide.preprocess.shrink import resample_smooth
from coincide.similarity import LNCC

SIMILARITY = LNCC(4)
"""What is followed on either side."""
NOTABLE = 1 / 600
"""The gain that between heads goes with one standard error."""


@dataclass(frozen=True)
class Look:
    """One way to look at both sides: how they are deformed.

    Args:
        rule: how steps are made.
        steps: how many.
    """

    rule: Rule
    steps: int


CLEAR = 8.0
"""Standard errors of the first look from which no second is needed."""
COARSELY = Look(Rule(force_sigma=2.5, field_sigma=1.2), 15)
FINELY = Look(Rule(force_sigma=2.0, field_sigma=0.5), 10)


def mirror_test(coarse: Coarse, found: np.ndarray, mirrored: np.ndarray) -> dict[str, float]:
    """Deform from what was found and from its mirror image, alike, and see which comes closer.

    A head looks much like its mirror image, so linear registration cannot tell; once the large differences are
    deformed away, the lesser asymmetries that people share show. It is done twice, for where such a deformation ends
    is a matter of chance: on the coarse images from no deformation, and on the finer ones from that part of the
    deformation found which is its own mirror image, and favours neither side.

    Args:
        coarse: the coarse level.
        found: linear part of the result, refined, fixed-world mm → moving-world mm.
        mirrored: the best mirrored one.

    Returns:
        `mirror_gain`: by how much the squared local correlation of what was found is higher; `mirror_z`: the same over
        its standard error, block by block; both the mean of the two; `mirror_either`: the larger of `mirror_z` and
        `mirror_gain` over `NOTABLE`, for in smooth images a difference that is next to nothing has many standard
        errors; `within_reach`: what the correlation of what was found came to on the finer images, where these were
        looked at: when the first look left doubts, or the transform is rigid.
    """
    nothing = torch.zeros((coarse.grid.dim, *coarse.grid.shape))
    first = Sight.of(coarse, coarse.fixed, coarse.moving, nothing)
    looks, evidence = [first.compare(found, mirrored, COARSELY)], {}
    if looks[0].score < CLEAR or coarse.is_rigid:
        begun = shared(coarse, found, reflection(coarse.points, found, mirrored))
        looks.append(Sight.of(coarse, *coarse.finer, begun).compare(found, mirrored, FINELY))
        evidence["within_reach"] = looks[1].reach
    gain, score = (sum(values) / len(looks) for values in zip(*(look[:2] for look in looks)))
    return evidence | {"mirror_gain": gain, "mirror_z": score, "mirror_either": max(score, gain / NOTABLE)}


def standard_errors(values: np.ndarray) -> float:
    """The mean of `values` in its standard errors."""
    return float(values.mean() / (values.std() / np.sqrt(len(values)) + 1e-6))


def reached(coarse: Coarse) -> float:
    """The squared local correlation that the linear part of the transform reaches on the finer images."""
    sight = Sight.of(coarse, *coarse.finer, torch.zeros((coarse.grid.dim, *coarse.grid.shape)))
    return mean(sight.alike(coarse.linear, Look(Rule(), 0)), sight.where)


class Comparison(NamedTuple):
    """By how much one side comes closer, the same in standard errors, and how close it comes."""

    gain: float
    score: float
    reach: float


@dataclass(frozen=True, eq=False)
class Sight:
    """The fixed anatomy's box, at one level.

    Args:
        grid: of the box.
        target: the fixed image there, `(1, *shape)`.
        where: the anatomy and a rim, `(*shape)`.
        moving: at about the same voxel size.
        field: that both sides start from, `(dim, *shape)`, voxels.
        block: edge of the blocks that are looked at apart, voxels.
    """

    grid: Grid
    target: Tensor
    where: Tensor
    moving: Image
    field: Tensor
    block: int

    @classmethod
    def of(cls, coarse: Coarse, fixed: Image, moving: Image, field: Tensor) -> Sight:
        """Of either level's images; `field` in voxels of the coarse grid."""
        start, stop = bounding_box(foreground_weights(fixed), 0.0)
        margin = np.ceil(3 * coarse.grid.spacing / fixed.grid.spacing).astype(int)
        grid = fixed.grid.cropped(np.maximum(start - margin, 0), np.minimum(stop + margin, fixed.grid.shape))
        target = resample_smooth(fixed.data, fixed.grid, grid)
        block = round(coarse.block * float(coarse.grid.spacing[0] / grid.spacing[0]))
        where = surroundings((target[0] > 0.1).float())
        return cls(grid, target, where, moving, to_level(field, coarse.grid, grid), block)

    def compare(self, found: np.ndarray, mirrored: np.ndarray, look: Look) -> Comparison:
        """`found` against `mirrored`."""
        own = self.alike(found, look)
        difference = own - self.alike(mirrored, look)
        score = standard_errors(block_means(difference, self.where, self.block))
        return Comparison(mean(difference, self.where), score, mean(own, self.where))

    def alike(self, matrix: np.ndarray, look: Look) -> Tensor:
        """Squared local correlation, `(*shape)`, that a deformation from `matrix` and the field comes to."""
        moving, grid = self.moving, self.grid
        data = resample_smooth(moving.data, moving.grid, grid, matrix)
        index = moving.grid.inverse_affine @ matrix @ grid.affine
        inside = sample_affine(torch.ones_like(moving.data), index, grid.shape, "zero")[0] > 0.5
        level = Level(grid, self.target, data, None, None if bool(inside.all()) else inside)
        field = descend(level, self.field, SIMILARITY, look.rule, look.steps)
        known = warp(inside.float()[None], field)[0]
        # what lies outside of the moving image agrees by chance alone
        return local_correlation(self.target[0], warp(data, field)[0], known) * known


def reflection(points: np.ndarray, found: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """The mirror plane of the fixed anatomy, as the homogeneous reflection nearest to what leads from one to the other.

    Args:
        points: of the fixed anatomy, mm.
        found: fixed-world mm → moving-world mm.
        mirrored: likewise, of the other handedness.
    """
    both, dim = np.linalg.pinv(found) @ mirrored, points.shape[1]
    u, _, vt = np.linalg.svd(both[:dim, :dim])
    turn = u @ vt
    normal = np.linalg.eigh(turn + turn.T)[1][:, 0]
    middle = (points + points @ both[:dim, :dim].T + both[:dim, dim]) / 2
    matrix = np.eye(dim + 1)
    matrix[:dim, :dim] -= 2 * np.outer(normal, normal)
    matrix[:dim, dim] = 2 * float((middle @ normal).mean()) * normal
    return matrix


def shared(coarse: Coarse, found: np.ndarray, mirror: np.ndarray) -> Tensor:
    """What of the deformation beyond `found` is its own image under `mirror`: voxels of the coarse grid."""
    grid, dim, field = coarse.grid, coarse.fixed.dim, coarse.beyond(found)
    index = grid.inverse_affine @ mirror @ grid.affine
    image = sample_affine(field, index, grid.shape, "edge")
    turned = torch.einsum("ab,b...->a...", torch.from_numpy(index[:dim, :dim]).float(), image)
    return ((field + turned) / 2).contiguous()
