"""Where a linear registration may start from, and which of these starts deserves to be followed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from coincide.ops._parallel import spread
from coincide.optimise.linear import Problem, generators, optimise_linear
from coincide.preprocess.foreground import Moments
from coincide.transforms.linear import about, rotation_matrix

_FIRST, _FAR = 5, 0.6
"""Steps that every start is given, and the share of the best one's gain by which those that end there fall short."""


@dataclass(frozen=True, eq=False)
class Start:
    """A candidate: homogeneous matrix (fixed-world mm → moving-world mm), where it came from, its score."""

    matrix: np.ndarray
    origin: str
    score: float = np.inf


def rotations(dim: int, number: int) -> list[np.ndarray]:
    """Rotations spread evenly over all there are, the identity first.

    In 2-D equal steps; in 3-D a super-Fibonacci spiral (Alexa 2022, doi:10.1109/CVPR52688.2022.00811).
    """
    if dim == 2:
        return [rotation_matrix(360 * i / number) for i in range(number)]
    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(number) + 0.5
    r, big_r = np.sqrt(s / number), np.sqrt(1 - s / number)
    alpha, beta = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    q = np.stack([r * np.sin(alpha), r * np.cos(alpha), big_r * np.sin(beta), big_r * np.cos(beta)], 1)
    return [np.eye(3)] + [_from_quaternion(x) for x in q]


def _from_quaternion(q: np.ndarray) -> np.ndarray:
    x, y, z, w = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def candidates(
    fixed: Moments, moving: Moments, centres, number: int, scales, header: np.ndarray
) -> list[Start]:
    """Headers, centres of mass, principal axes with every proper choice of signs, and an even spread of rotations.

    Args:
        fixed: mass distribution of the fixed image.
        moving: of the moving image.
        centres: centres of the two fields of view, world mm.
        number: of rotations in the even spread.
        scales: factors by which the moving anatomy may be larger.
        header: homogeneous matrix of the start the headers (or the user) give.
    """
    dim, shift = len(fixed.centre), moving.centre - fixed.centre
    found = [Start(header, "header")]
    found.append(Start(about(np.eye(dim), centres[1] - centres[0], centres[0]).matrix, "fields of view"))
    for scale in scales:
        found.append(Start(about(scale * np.eye(dim), shift, fixed.centre).matrix, "centres of mass"))
        for signs in itertools.product((1, -1), repeat=dim):
            turn = moving.axes @ np.diag(signs) @ fixed.axes.T
            if np.linalg.det(turn) > 0:
                found.append(Start(about(scale * turn, shift, fixed.centre).matrix, "principal axes"))
        turns = rotations(dim, number)[1:]
        found += [Start(about(scale * turn, shift, fixed.centre).matrix, "rotation grid") for turn in turns]
    return found


def score(problem: Problem, matrix: np.ndarray, worst: float) -> float:
    """The similarity with what falls outside the moving image counted as `worst`: a small overlap cannot win."""
    value, overlap = problem.apart().value(matrix)
    return value * overlap + worst * (1 - overlap) if np.isfinite(value) else worst


def apart(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> float:
    """Mean distance (mm) between what two matrices make of `points` `(n, dim)`."""
    difference = (a - b)[:-1]
    return float(np.linalg.norm(points @ difference[:, :-1].T + difference[:, -1], axis=1).mean())


def distinct(starts: list[Start], points: np.ndarray, distance: float, number: int) -> list[Start]:
    """The `number` best starts that lie at least `distance` mm from each other."""
    kept: list[Start] = []
    for start in sorted(starts, key=lambda s: s.score):
        if all(apart(start.matrix, other.matrix, points) > distance for other in kept):
            kept.append(start)
            if len(kept) == number:
                break
    return kept


def refine(
    problem: Problem, starts: list[Start], model: str, centre, radius: float, iterations: int, worst: float
):
    """Each start after a few second-order steps of `model`, best first; those left far behind stop after `_FIRST`."""
    basis = generators(model, centre, radius)
    tolerance = 0.02 * float(problem.fixed.spacing.min())

    def followed(starts: list[Start], iterations: int) -> list[Start]:
        def follow(start: Start) -> Start:
            fit = optimise_linear(problem.apart(), start.matrix, basis, iterations, tolerance)
            return Start(fit.matrix, start.origin, score(problem, fit.matrix, worst))

        return sorted(spread(follow, starts), key=lambda s: s.score)

    first = followed(starts, min(_FIRST, iterations))
    ahead = in_reach(first, worst, _FAR)
    return sorted(followed(ahead, iterations - _FIRST) + first[len(ahead) :], key=lambda s: s.score)


def in_reach(starts: list[Start], worst: float, share: float) -> list[Start]:
    """The `starts`, best first, whose gain over unrelated images falls short of the best one's by at most `share`."""
    best = starts[0].score
    return [s for s in starts if s.score - best <= share * max(worst - best, 0.0)]


def scored(problem: Problem, starts: list[Start], worst: float) -> list[Start]:
    """The same starts with their scores."""
    scores = spread(lambda start: score(problem, start.matrix, worst), starts)
    return [Start(s.matrix, s.origin, value) for s, value in zip(starts, scores)]
