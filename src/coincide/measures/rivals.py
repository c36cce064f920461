"""Other ways to lay the moving image on the fixed one: none should fit better than what was found."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from coincide.measures.agreement import descriptors, local_correlation, surroundings
from coincide.measures.coarse import Coarse, block_means, mean
from coincide.ops.field import warp
from coincide.ops.sample import sample_affine
from coincide.optimise.deformable import Level, Rule, descend
from coincide.optimise.linear import Problem, generators, optimise_linear
from coincide.preprocess.foreground import bounding_box, foreground_weights, moments
from coincide.preprocess.shrink import resample_smooth, shrink
from coincide.similarity import LNCC, MIND, NMI

STEPS = 40
"""Deformable steps for each side of the mirror test."""


def symmetries(dim: int) -> list[np.ndarray]:
    """Half turns about the world axes, and mirrorings; in 2-D also quarter turns; without the identity."""
    signs = [np.diag(s).astype(float) for s in itertools.product((1, -1), repeat=dim) if min(s) < 0]
    if dim == 3:
        return signs
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    return [*signs, quarter, quarter.T, quarter @ np.diag([-1.0, 1.0]), quarter.T @ np.diag([-1.0, 1.0])]


def rivals(coarse: Coarse) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Refine what was found and its rivals alike, by NMI on an affine, and compare.

    Rivals are the headers' own position, centre of mass upon centre of mass, the fixed anatomy turned about its
    middle, and mirrored through it.

    Returns:
        The matrix (fixed-world mm → moving-world mm) that was found, refined; the best mirrored one; and
        `rival_margin`, by how much NMI is better than that of the best rival that is no mirror image, and
        `moved_percent`, how far the refinement moved the anatomy, in per cent of its radius.
    """
    found, dim = coarse.linear, coarse.fixed.dim
    there = found[:-1, :-1] @ coarse.centre + found[:-1, -1]
    mass = moments(coarse.moving, foreground_weights(coarse.moving)).centre
    shifted = found.copy()
    shifted[:-1, -1] += mass - there
    proper, mirrored = [np.eye(dim + 1), shifted], []
    for turn in symmetries(dim):
        matrix = found.copy()
        matrix[:-1, :-1] = found[:-1, :-1] @ turn
        matrix[:-1, -1] = there - matrix[:-1, :-1] @ coarse.centre
        (mirrored if np.linalg.det(turn) < 0 else proper).append(matrix)
    refine = _Refinement(coarse, there)
    own, best = refine(found), max(refine(m)[0] for m in refine.promising(proper))
    image = max((refine(m) for m in refine.promising(mirrored)), key=lambda fit: fit[0])
    finish = _Refinement(coarse, there, 1.0)
    finals = finish(own[1]), finish(image[1])
    change = finals[0][1] - found
    moved = np.linalg.norm(coarse.points @ change[:-1, :-1].T + change[:-1, -1], axis=1).mean()
    margins = {"rival_margin": own[0] - best, "moved_percent": 100 * float(moved) / coarse.radius}
    return finals[0][1], finals[1][1], margins


class _Refinement:
    """Follows NMI from a matrix, at voxels `factor` times the coarse level's."""

    def __init__(self, coarse: Coarse, there: np.ndarray, factor: float = 1.5):
        spacing = factor * float(coarse.grid.spacing.mean())
        self.problem = Problem.of(NMI(), shrink(coarse.fixed, spacing), shrink(coarse.moving, spacing))
        self.models = [generators(m, there, coarse.radius) for m in ("similarity", "affine")]
        self.tolerance = 0.02 * spacing

    def __call__(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        for basis, steps in zip(self.models, (12, 10)):
            matrix = optimise_linear(self.problem, matrix, basis, steps, self.tolerance).matrix
        return self.score(matrix), matrix

    def score(self, matrix: np.ndarray) -> float:
        value, overlap = self.problem.value(matrix)
        return 1 + (-value - 1) * overlap if np.isfinite(value) else 1.0

    def promising(self, matrices: list[np.ndarray], number: int = 2) -> list[np.ndarray]:
        """The `number` that fit best before any refinement."""
        return sorted(matrices, key=self.score, reverse=True)[:number]


def mirror_test(coarse: Coarse, found: np.ndarray, mirrored: np.ndarray, same: bool) -> dict[str, float]:
    """Deform from what was found and from its mirror image, alike, and see which comes closer.

    A head looks much like its mirror image, so linear registration cannot tell; after a deformable one the
    lesser asymmetries that people share show. The local agreements are compared block by block.

    Args:
        coarse: the coarse level.
        found: linear part of the result, refined, fixed-world mm → moving-world mm.
        mirrored: the best mirrored one.
        same: whether the contrasts are alike (then LNCC leads, else MIND).

    Returns:
        `mirror_z`: mean difference over its standard error, positive where what was found is better;
        `within_reach`: the squared local correlation that the deformation from what was found came to.
    """
    start, stop = bounding_box(coarse.anatomy, 0.0)
    grid = coarse.grid.cropped(np.maximum(start - 3, 0), np.minimum(stop + 3, coarse.grid.shape))
    fixed = resample_smooth(coarse.fixed.data, coarse.grid, grid)
    where = surroundings(resample_smooth(coarse.anatomy[None], coarse.grid, grid)[0].round())
    (alike, unlike), (other_alike, other_unlike) = (
        _deformed(coarse, grid, fixed, matrix, same) for matrix in (found, mirrored)
    )
    scores = []
    for difference in (alike - other_alike, other_unlike - unlike):
        blocks = block_means(difference, where, coarse.block)
        scores.append(float(blocks.mean() / (blocks.std() / np.sqrt(len(blocks)) + 1e-6)))
    return {"mirror_z": sum(scores) / 2, "within_reach": mean(alike, where)}


def _deformed(coarse: Coarse, grid, fixed: Tensor, matrix: np.ndarray, same: bool) -> tuple[Tensor, Tensor]:
    """Local correlation and descriptor distance after a short deformable registration from `matrix`."""
    moving = coarse.moving
    data = resample_smooth(moving.data, moving.grid, grid, matrix)
    index = moving.grid.inverse_affine @ matrix @ grid.affine
    inside = sample_affine(torch.ones_like(moving.data), index, grid.shape, "zero")[0] > 0.5
    level = Level(grid, fixed, data, None, None if bool(inside.all()) else inside)
    field = descend(level, torch.zeros((grid.dim, *grid.shape)), LNCC() if same else MIND(), Rule(), STEPS)
    warped, known = warp(data, field)[0], warp(inside.float()[None], field)[0]
    unlike = (descriptors(fixed[0]) - descriptors(warped)).square().mean(0)
    # what lies outside of the moving image agrees by chance alone
    return local_correlation(fixed[0], warped, known) * known, unlike * known + 0.15 * (1 - known)
