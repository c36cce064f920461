"""Levenberg–Marquardt on the parameters of a linear transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.linear import normal_equations, sample_with_gradient
from coincide.ops.moments import total
from coincide.ops.sample import sample_affine
from coincide.preprocess.foreground import foreground_weights
from coincide.similarity.base import Prepared, Similarity

_LEAST_GAIN, SMALL = 1e-4, 200_000
"""Share of what the steps before it gained that a step must gain for another one to follow; a tenth of it on levels of
fewer voxels than that, where steps cost next to nothing."""


def generators(model: str, centre: np.ndarray, radius: float) -> np.ndarray:
    """Homogeneous matrices `(parameter, dim+1, dim+1)` whose exponentials span `model` about `centre` (mm).

    One unit of any parameter moves points at `radius` mm from the centre by about a millimetre.
    """
    n = len(centre)
    found = []

    def add(linear=None, shift=None):
        g = np.zeros((n + 1, n + 1))
        if linear is not None:
            g[:n, :n] = np.asarray(linear) / radius
            g[:n, n] = -g[:n, :n] @ centre
        if shift is not None:
            g[shift, n] = 1.0
        found.append(g)

    for d in range(n):
        add(shift=d)
    basis = [np.outer(np.eye(n)[a], np.eye(n)[b]) for a in range(n) for b in range(n)]
    if model == "affine":
        for b in basis:
            add(b)
    elif model in ("rigid", "similarity"):
        for a in range(n):
            for b in range(a + 1, n):
                add(basis[a * n + b] - basis[b * n + a])
        if model == "similarity":
            add(np.eye(n))
    return np.stack(found)


@dataclass(frozen=True, eq=False)
class Problem:
    """One level of a linear registration: a prepared similarity, and the moving side it is asked about.

    Args:
        prepared: the similarity against the fixed level image.
        fixed: grid of the fixed level image.
        features: what of the moving image is compared, `(channel, *shape)`.
        moving: its grid.
        mask: of the moving level image, `(*shape)` float, or None.
        anatomy: of the fixed level image, `(*shape)` float: the voxels that count for the overlap.
        least_overlap: share of them that must land in the moving image.
    """

    prepared: Prepared
    fixed: Grid
    features: torch.Tensor
    moving: Grid
    mask: torch.Tensor | None
    anatomy: torch.Tensor
    least_overlap: float = 0.2
    _held: dict = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, similarity: Similarity, fixed: Image, moving: Image, **options) -> Problem:
        """The problem of one level's images, which are normalised already."""
        anatomy = (foreground_weights(fixed) > 0).to(torch.float32)
        if not bool(anatomy.any()):
            anatomy = torch.ones(fixed.grid.shape)
        mask = None if moving.mask is None else moving.mask.to(torch.float32)
        features = similarity.features(moving.data, mask=moving.mask)
        return cls(
            similarity.prepare(fixed.data, fixed.mask),
            fixed.grid,
            features,
            moving.grid,
            mask,
            anatomy,
            **options,
        )

    def apart(self) -> Problem:
        """The same problem with a memory of its own: what is found from one start must not depend on the others."""
        return replace(self, _held={})

    def _index_matrix(self, matrix: np.ndarray) -> np.ndarray:
        return self.moving.inverse_affine @ matrix @ self.fixed.affine

    def _weights(self, index: np.ndarray, inside: torch.Tensor) -> tuple[torch.Tensor | None, float]:
        """Where the moving image is known, None for everywhere, and the share of the fixed anatomy that it covers.

        What was found last holds for positions less than a voxel away: similarities are then compared over the same
        voxels, and need not work out anew what depends on them alone.
        """
        if self._held and np.abs((index - self._held["index"]) @ self._corners).max() < 1:
            return self._held["known"]
        if self.mask is not None:
            weights = inside * sample_affine(self.mask[None], index, self.fixed.shape, "zero")[0]
        else:
            weights = None if float(inside.min()) > 0 else inside
        overlap = 1.0 if weights is None else self._sum(weights * self.anatomy) / self._sum(self.anatomy)
        self._held.update(index=index, known=(weights, overlap))
        return weights, overlap

    @property
    def held(self) -> np.ndarray | None:
        """The position at which it was last worked out where the moving image is known; another array each time."""
        return self._held.get("index")

    @staticmethod
    def _sum(weights: torch.Tensor) -> float:
        return total(weights.numpy().ravel())

    @cached_property
    def _corners(self) -> np.ndarray:
        """Homogeneous index positions of the fixed grid's corners, as columns."""
        corners = self.fixed.index(self.fixed.corners)
        return np.vstack([corners.T, np.ones(len(corners))])

    def value(self, matrix: np.ndarray) -> tuple[float, float]:
        """The similarity under `matrix` (world mm to world mm), and the share of the anatomy that lands inside."""
        value, overlap, *_ = self._sampled(matrix)
        return (value() if overlap >= self.least_overlap else np.inf), overlap

    def _sampled(self, matrix: np.ndarray):
        index = self._index_matrix(matrix)
        samples = [sample_with_gradient(channel[None], index, self.fixed.shape) for channel in self.features]
        warped = samples[0][0] if len(samples) == 1 else torch.cat([s[0] for s in samples])
        weights, overlap = self._weights(index, samples[0][2])
        return (
            (lambda: self.prepared.value(warped, weights)),
            overlap,
            warped,
            weights,
            [s[1] for s in samples],
        )

    def linearise(self, matrix: np.ndarray, basis: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient `(k,)` and Gauss–Newton Hessian `(k, k)` for `matrix ← exp(Σ θ_k basis_k) matrix`."""
        _, overlap, warped, weights, slopes = self._sampled(matrix)
        if overlap < self.least_overlap:
            return np.inf, np.zeros(len(basis)), np.eye(len(basis))
        evaluation = self.prepared.value_and_gradient(warped, weights)
        moves = (self.moving.inverse_affine @ basis @ (matrix @ self.fixed.affine))[:, :-1]
        moves = moves.reshape(len(basis), -1)
        gradient, hessian = np.zeros(len(basis)), np.zeros((len(basis),) * 2)
        for channel, slope in enumerate(slopes):
            g, h = normal_equations(evaluation.gradient[channel][None], evaluation.curvature, slope)
            gradient += moves @ g.ravel()
            hessian += moves @ h.reshape(g.size, g.size) @ moves.T
        return evaluation.value, gradient, hessian


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a linear optimisation ended: the matrix, the value there, and the steps it took."""

    matrix: np.ndarray
    value: float
    iterations: int


def expm(generator: np.ndarray) -> np.ndarray:
    """Matrix exponential, by scaling and squaring of its series; ample for the small matrices used here."""
    squarings = max(0, int(np.ceil(np.log2(max(np.abs(generator).sum(), 1e-12)))) + 4)
    small, term = generator / 2.0**squarings, np.eye(len(generator))
    total = term.copy()
    for order in range(1, 9):
        term = term @ small / order
        total += term
    for _ in range(squarings):
        total = total @ total
    return total


def optimise_linear(
    problem: Problem,
    start: np.ndarray,
    basis: np.ndarray,
    iterations: int,
    tolerance: float,
    notify: Callable[[int, float], None] = lambda i, v: None,
) -> Fit:
    """Minimise the similarity over `exp(Σ θ_k basis_k) start`.

    Args:
        problem: the level.
        start: homogeneous matrix, fixed-world mm to moving-world mm.
        basis: `generators(...)`.
        iterations: the most there may be.
        tolerance: stop when a step is shorter than this, in mm at the generators' radius.
        notify: called with the number of steps taken and the value there, first with 0.
    """
    matrix, damping, relax, most = start, 1e-3, 1.0, 10.0
    value, gradient, hessian = problem.linearise(matrix, basis)
    done, first = 0, value
    notify(0, value)
    least = _LEAST_GAIN * (0.1 if problem.fixed.size < SMALL else 1)
    for iteration in range(iterations):
        diagonal = np.diag(hessian)
        damped = hessian + damping * np.diag(diagonal + 1e-6 * diagonal.max() + 1e-12)
        step = -np.linalg.solve(damped, gradient)
        step *= relax
        longest = np.abs(step).max()
        # a step beyond a few voxels leaves the region where the linearisation says anything
        step *= min(1.0, 4 * problem.fixed.spacing.max() / max(longest, 1e-12))
        trial = expm(np.einsum("k,kij->ij", step, basis)) @ matrix
        seen = problem.held
        new_value, new_gradient, new_hessian = problem.linearise(trial, basis)
        if new_value >= value and problem.held is not seen:
            # the step led to where more or less of the moving image is known: compare over the same voxels
            value, gradient, hessian = problem.linearise(matrix, basis)
        if new_value < value:
            # Gauss–Newton sees more curvature than there is wherever the images disagree for good: without this each
            # step goes a quarter of the way, and twenty are taken for three
            bent = step @ (new_gradient - gradient) / max(step @ hessian @ step, 1e-30)
            relax = min(max(1 / max(bent, 1e-9), 1.0), most)
            gained, before = value - new_value, first - value
            matrix, value, gradient, hessian = trial, new_value, new_gradient, new_hessian
            damping = max(damping / 5, 1e-6)
            done = iteration + 1
            notify(done, value)
            if longest < tolerance or gained < least * before:
                break
        else:
            damping, relax, most = max(8 * damping, 0.05), 1.0, max(relax / 3, 1.0)
            if longest < tolerance or damping > 1e6:
                break
    return Fit(matrix, value, done)
