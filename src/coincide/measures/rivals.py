"""Other ways to lay the moving image on the fixed one: none should fit better than what was found."""

from __future__ import annotations

import itertools

import numpy as np

from coincide.measures.coarse import Coarse
from coincide.optimise.linear import Problem, generators, optimise_linear
from coincide.optimise.starts import apart
from coincide.preprocess.foreground import foreground_weights, moments
from coincide.preprocess.shrink import shrink
from coincide.similarity import NMI
from coincide.transforms.linear import rotation_matrix


def symmetries(dim: int) -> list[np.ndarray]:
    """Half turns about the world axes, and mirrorings; in 2-D turns by every 15 degrees; without the identity."""
    if dim == 3:
        return [np.diag(s).astype(float) for s in itertools.product((1, -1), repeat=dim) if min(s) < 0]
    turns = [rotation_matrix(15.0 * n) for n in range(24)]
    return [*turns[1:], *(turn @ np.diag([-1.0, 1.0]) for turn in turns)]


def rivals(coarse: Coarse) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Refine what was found and its rivals alike, by NMI on an affine, and compare.

    Rivals are the headers' own position, centre of mass upon centre of mass, the fixed anatomy turned about its
    middle, and mirrored through it. One that lies, or ends, within half a voxel of the refinement from what was found
    is no other position: an image upon itself, met voxel by voxel, loses nothing to interpolation and would beat the
    very same place met a hundredth of a voxel beside it.

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
    number = 2 if dim == 3 else 4

    def elsewhere(matrix: np.ndarray, place: np.ndarray) -> bool:
        return apart(matrix, place, coarse.points) > 0.5 * refine.spacing

    own = refine(found)
    ends = [refine(m) for m in refine.promising([m for m in proper if elsewhere(m, found)], number)]
    # where none ends elsewhere, the next best position is one of unrelated images
    best = max((value for value, end in ends if elsewhere(end, own[1])), default=1.0)
    image = max((refine(m) for m in refine.promising(mirrored, number)), key=lambda fit: fit[0])
    finish = _Refinement(coarse, there, 1.0)
    finals = finish(own[1]), finish(image[1])
    margins = {
        "rival_margin": own[0] - best,
        "moved_percent": 100 * apart(finals[0][1], found, coarse.points) / coarse.radius,
    }
    return finals[0][1], finals[1][1], margins


class _Refinement:
    """Follows NMI from a matrix, at voxels `factor` times the coarse level's."""

    def __init__(self, coarse: Coarse, there: np.ndarray, factor: float = 1.5):
        self.spacing = factor * float(coarse.grid.spacing.mean())
        fixed, moving = shrink(coarse.fixed, self.spacing), shrink(coarse.moving, self.spacing)
        self.problem = Problem.of(NMI(), fixed, moving)
        self.models = [generators(m, there, coarse.radius) for m in ("similarity", "affine")]
        self.tolerance = 0.02 * self.spacing

    def __call__(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        for basis, steps in zip(self.models, (12, 10)):
            matrix = optimise_linear(self.problem, matrix, basis, steps, self.tolerance).matrix
        return self.score(matrix), matrix

    def score(self, matrix: np.ndarray) -> float:
        value, overlap = self.problem.value(matrix)
        return 1 + (-value - 1) * overlap if np.isfinite(value) else 1.0

    def promising(self, matrices: list[np.ndarray], number: int) -> list[np.ndarray]:
        """The `number` that fit best before any refinement."""
        return sorted(matrices, key=self.score, reverse=True)[:number]
