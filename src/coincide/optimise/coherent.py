"""Coherent point drift: one cloud of points as the centres of Gaussians that the other one was drawn from.

Myronenko and Song 2010, doi:10.1109/TPAMI.2010.46. Lengths are in the unit of the moving cloud's size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coincide.ops.radial import radial_sum, solve
from coincide.optimise.fit import Model, fit_linear

_TURN = 0.5
"""Width of the Gaussians over directions: sine of the angle at which belief has fallen to 0.6."""
_EXTRA = 1e-6
"""Share of the diagonal that keeps the equations of overlapping kernels from being singular."""

Notify = Callable[[int, float], None]


@dataclass(frozen=True, eq=False)
class Belief:
    """Which moving points belong to which Gaussian, in sums over the moving points.

    Args:
        weights: `(M,)` how many moving points each Gaussian accounts for.
        means: `(M, dim)` where these lie on average.
        scatter: `(M,)` sum of their squared distances from there.
        accounted: `(N,)` how much of each moving point the Gaussians account for; the rest belongs to nothing.
    """

    weights: np.ndarray
    means: np.ndarray
    scatter: np.ndarray
    accounted: np.ndarray

    def width(self, centres: np.ndarray) -> float:
        """The most likely width of the Gaussians once they stand at `centres` `(M, dim)`."""
        off = self.weights * ((self.means - centres) ** 2).sum(1)
        total = max(float(self.weights.sum()), 1e-12)
        return float(np.sqrt(max((self.scatter + off).sum(), 0.0) / (centres.shape[1] * total)))


def believe(centres, moving, directions, groups, sigma: float, outliers: float) -> Belief:
    """What the clouds as they lie say of which point belongs to which.

    Args:
        centres: `(M, dim)` of the Gaussians.
        moving: `(N, dim)`.
        directions: normals of both, `(M, dim)` and `(N, dim)`; points belong together less, the more these differ.
        groups: of both, `(M,)` and `(N,)`; a point belongs to a Gaussian of its own group only.
        sigma: width of the Gaussians.
        outliers: share of the moving points that belong to nothing.
    """
    (m, dim), n = centres.shape, len(moving)
    noise = (2 * np.pi * sigma**2) ** (dim / 2) * outliers / (1 - outliers) * m / n
    weights, means, scatter, accounted = np.zeros(m), centres.copy(), np.zeros(m), np.zeros(n)
    for group in np.unique(groups[0]):
        ours, theirs = groups[0] == group, groups[1] == group
        c, x = centres[ours], moving[theirs]
        # directions as further coordinates, in which the Gaussians keep their width
        seen = [
            np.hstack([p, d * (sigma / _TURN)])
            for p, d in ((c, directions[0][ours]), (x, directions[1][theirs]))
        ]
        total = radial_sum(seen[1], seen[0], np.ones((len(c), 1)), "gaussian", sigma)[:, 0]
        share = 1 / np.maximum(total + noise, 1e-300)
        # the sums Σ p, Σ p x and Σ p |x|² over the moving points
        columns = np.column_stack([share, share[:, None] * x, share * (x**2).sum(1)])
        sums = radial_sum(seen[0], seen[1], columns, "gaussian", sigma)
        weights[ours], accounted[theirs] = sums[:, 0], total * share
        known = sums[:, :1] > 1e-12
        means[ours] = mean = np.divide(sums[:, 1:-1], sums[:, :1], out=c.copy(), where=known)
        scatter[ours] = np.where(known[:, 0], sums[:, -1] - sums[:, 0] * (mean**2).sum(1), 0)
    return Belief(weights, means, scatter, accounted)


@dataclass(frozen=True, eq=False)
class Drift:
    """Where a drift ended.

    Args:
        matrix: homogeneous, fixed → moving: the linear part.
        centres: `(K, dim)` of the kernels that bend, fixed; none where nothing bends.
        coefficients: `(K, dim)`.
        belief: which points belong together in the end.
        sigma: width of the Gaussians in the end.
        iterations: steps taken.
    """

    matrix: np.ndarray
    centres: np.ndarray
    coefficients: np.ndarray
    belief: Belief
    sigma: float
    iterations: int

    def moved(self, points: np.ndarray, width: float) -> np.ndarray:
        """Points of the fixed world in the moving one."""
        return _carry(self.matrix, points) + radial_sum(
            points, self.centres, self.coefficients, "gaussian", width
        )


@dataclass(frozen=True, eq=False)
class Coherent:
    """Two clouds and how they are to be brought together.

    Args:
        fixed: `(M, dim)`.
        moving: `(N, dim)`.
        normals: of both, unit vectors, or zeros where nothing is known of directions.
        groups: of both; only points of one group belong together.
        outliers: share of the moving points that belong to nothing.
        iterations: the most steps.
        smallest: width of the Gaussians at which the clouds lie as near as they are known.
        tolerance: a drift ends when points move by less than this, and the Gaussians' width changes by a smaller share.
    """

    fixed: np.ndarray
    moving: np.ndarray
    normals: tuple[np.ndarray, np.ndarray]
    groups: tuple[np.ndarray, np.ndarray]
    outliers: float
    iterations: int
    smallest: float = 1e-5
    tolerance: float = 1e-4

    def linear(self, matrix: np.ndarray, sigma: float, model: Model, notify: Notify) -> Drift:
        """Drift by a linear transform from `matrix`, with Gaussians of width `sigma` at first.

        Raises:
            PointsError: the points that belong together do not settle the model.
        """

        def step(belief: Belief, _: float) -> tuple[np.ndarray, np.ndarray]:
            # the most likely transform is the weighted fit of the centres to the means of what they account for
            nonlocal matrix
            matrix = fit_linear(self.fixed, belief.means, model, belief.weights)
            return _carry(matrix, self.fixed), self._turned(matrix[:-1, :-1])

        belief, sigma, done = self._drift(
            _carry(matrix, self.fixed), self._turned(matrix[:-1, :-1]), sigma, step, notify
        )
        none = np.zeros((0, self.fixed.shape[1]))
        return Drift(matrix, none, none, belief, sigma, done)

    def bent(
        self, matrix, sigma: float, kernels: np.ndarray, width: float, stiffness: float, notify: Notify
    ) -> Drift:
        """Drift by smooth bending on top of `matrix`.

        Args:
            matrix: homogeneous; the linear part, which stays.
            sigma: width of the Gaussians at first.
            kernels: `(K, dim)` fixed points that the kernels stand on.
            width: of the kernels, over which the bending is coherent.
            stiffness: price of bending.
            notify: called with each iteration's number and the Gaussians' width.
        """
        basis = radial_sum(self.fixed, kernels, np.eye(len(kernels)), "gaussian", width)
        slopes = (kernels.T[:, None, :] - self.fixed.T[:, :, None]) / width**2 * basis
        energy = radial_sum(kernels, kernels, np.eye(len(kernels)), "gaussian", width)
        still, coefficients = _carry(matrix, self.fixed), np.zeros_like(kernels)

        def step(belief: Belief, sigma: float) -> tuple[np.ndarray, np.ndarray]:
            nonlocal coefficients
            weighted = basis * np.sqrt(belief.weights)[:, None]
            left = np.einsum("mk,ml->kl", weighted, weighted) + stiffness * sigma**2 * energy
            left += _EXTRA * np.trace(left) / len(left) * np.eye(len(left))
            right = np.einsum("mk,ma->ka", basis, belief.weights[:, None] * (belief.means - still))
            coefficients = solve(left, right)
            bends = np.einsum("dmk,ka->mad", slopes, coefficients)
            return still + np.einsum("mk,ka->ma", basis, coefficients), self._turned(matrix[:-1, :-1] + bends)

        belief, sigma, done = self._drift(still, self._turned(matrix[:-1, :-1]), sigma, step, notify)
        return Drift(matrix, kernels, coefficients, belief, sigma, done)

    def _drift(self, moved, turned, sigma: float, step, notify: Notify) -> tuple[Belief, float, int]:
        """Believe and move, until nothing changes any more."""
        done = 0
        for done in range(1, self.iterations + 1):
            belief = self._believe(moved, turned, sigma)
            earlier, (moved, turned) = moved, step(belief, sigma)
            before, sigma = sigma, max(belief.width(moved), self.smallest)
            notify(done, sigma)
            moves = float(np.sqrt(((moved - earlier) ** 2).sum(1).mean()))
            if abs(before - sigma) <= self.tolerance * before and moves < self.tolerance:
                break
        return self._believe(moved, turned, sigma), sigma, done

    def _believe(self, moved, turned, sigma: float) -> Belief:
        return believe(moved, self.moving, (turned, self.normals[1]), self.groups, sigma, self.outliers)

    def _turned(self, jacobian: np.ndarray) -> np.ndarray:
        """The fixed normals under a map with this Jacobian, `(dim, dim)` or one for each point."""
        matrices = np.broadcast_to(jacobian, (len(self.fixed), *jacobian.shape[-2:]))
        # by the cofactors, which are the inverse transpose but for a factor, and exist where the map folds too
        turned = np.einsum("nij,nj->ni", _cofactors(matrices), self.normals[0])
        return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)


def _cofactors(matrices: np.ndarray) -> np.ndarray:
    """Cofactor matrices of `(number, dim, dim)`."""
    if matrices.shape[-1] == 2:
        (a, b), (c, d) = np.moveaxis(matrices, 0, -1)
        return np.moveaxis(np.array([[d, -c], [-b, a]]), -1, 0)
    x, y, z = np.moveaxis(matrices, 1, 0)
    return np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)], axis=1)


def _carry(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.einsum("nj,ij->ni", points, matrix[:-1, :-1]) + matrix[:-1, -1]
