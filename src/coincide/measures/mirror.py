"""Whether left and right are exchanged: what was found, held against its mirror image."""

from __future__ import annotations

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

STEPS, SIMILARITY, RULE = 10, LNCC(4), Rule(force_sigma=2.0, field_sigma=0.5)
"""The deformation on either side; chosen on the donors of the fit set."""


def mirror_test(coarse: Coarse, found: np.ndarray, mirrored: np.ndarray) -> dict[str, float]:
    """Deform from what was found and from its mirror image, alike, and see which comes closer.

    A head looks much like its mirror image, so linear registration cannot tell; once the large differences are
    deformed away, the lesser asymmetries that people share show. Both sides start from that part of the deformation
    found which is its own mirror image, for it favours neither.

    Args:
        coarse: the coarse level.
        found: linear part of the result, refined, fixed-world mm → moving-world mm.
        mirrored: the best mirrored one.

    Returns:
        `mirror_gain`: by how much the squared local correlation of what was found is higher; `mirror_z`: the same over
        its standard error, block by block; where the transform is rigid `rigid_gap`: by how much the deformation
        brings it above that of the rigid motion.
    """
    fixed, moving = coarse.finer
    start, stop = bounding_box(foreground_weights(fixed), 0.0)
    margin = np.ceil(3 * coarse.grid.spacing / fixed.grid.spacing).astype(int)
    grid = fixed.grid.cropped(np.maximum(start - margin, 0), np.minimum(stop + margin, fixed.grid.shape))
    target = resample_smooth(fixed.data, fixed.grid, grid)
    where = surroundings((target[0] > 0.1).float())
    plane = reflection(coarse.points, found, mirrored)
    begun = to_level(shared(coarse, found, plane), coarse.grid, grid)
    own, other = (_alike(grid, target, moving, matrix, begun, STEPS) for matrix in (found, mirrored))
    blocks = block_means(own - other, where, round(coarse.block * coarse.grid.spacing[0] / grid.spacing[0]))
    evidence = {
        "mirror_gain": mean(own - other, where),
        "mirror_z": float(blocks.mean() / (blocks.std() / np.sqrt(len(blocks)) + 1e-6)),
    }
    if coarse.is_rigid:
        as_found = _alike(grid, target, moving, coarse.linear, torch.zeros_like(begun), 0)
        evidence["rigid_gap"] = mean(own - as_found, where)
    return evidence


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


def _alike(
    grid: Grid, target: Tensor, moving: Image, matrix: np.ndarray, field: Tensor, steps: int
) -> Tensor:
    """Squared local correlation, `(*shape)`, that `steps` deformable steps from `matrix` and `field` end at."""
    data = resample_smooth(moving.data, moving.grid, grid, matrix)
    index = moving.grid.inverse_affine @ matrix @ grid.affine
    inside = sample_affine(torch.ones_like(moving.data), index, grid.shape, "zero")[0] > 0.5
    level = Level(grid, target, data, None, None if bool(inside.all()) else inside)
    field = descend(level, field, SIMILARITY, RULE, steps)
    known = warp(inside.float()[None], field)[0]
    # what lies outside of the moving image agrees by chance alone
    return local_correlation(target[0], warp(data, field)[0], known) * known
