"""Iterative closest points: pair what lies nearest, fit, and pair again."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coincide.features.surface import Surface, joined
from coincide.optimise.fit import Model, fit_linear
from coincide.optimise.linear import expm, generators

Metric = Literal["point", "plane"]

_APART = 1e5
"""mm between groups of points, which so never become neighbours."""
_TURN = 0.1
"""What directions that are a right angle apart add to a distance, as a share of the anatomy's size."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Points that lie nearest to each other, from either surface.

    Args:
        source: `(number, dim)` fixed-world mm.
        target: `(number, dim)` moving-world mm.
        normals: `(number, dim)` of the targets.
        distances: `(number,)` mm, of each point from the other surface, in the moving world.
        costs: `(number,)` mm, distances made longer where the directions of the surfaces differ.
        kept: `(number,)` bool, those that count.
    """

    source: np.ndarray
    target: np.ndarray
    normals: np.ndarray
    distances: np.ndarray
    costs: np.ndarray
    kept: np.ndarray


class Closest:
    """Two surfaces, ready to be paired under any linear transform.

    Pairs are made both ways, some of the fixed points with their nearest moving ones and some of the moving points with
    their nearest fixed ones: made one way only, a scale would shrink one surface into a corner of the other.

    Args:
        fixed: fixed-world mm.
        moving: moving-world mm.
        number: the most points of either that look for partners, among all points of the other.
        trim: share of the pairs, of either way, that are left out as the farthest.
    """

    def __init__(self, fixed: Surface, moving: Surface, number: int, trim: float = 0.0):
        from scipy.spatial import KDTree

        self.dense = fixed, moving
        self.fixed, self.moving, self.trim = fixed.thinned(number), moving.thinned(number), trim
        self.trees = tuple(KDTree(_told_apart(s.points, s.group)) for s in self.dense)
        self.gaps = tuple((s.areas.sum() / len(s)) ** (1 / (s.dim - 1)) for s in self.dense)
        self.centre = moving.centre
        self.size = float(np.sqrt(((self.moving.points - self.centre) ** 2).sum(1).mean()))

    @property
    def gap(self) -> float:
        """How far the points of a surface lie apart, mm."""
        return float(min(self.gaps))

    @property
    def noise(self) -> float:
        """How uncertain surfaces known by their points are, mm; not at all where the points are no surface."""
        return self.gap if self.fixed.normals.any() and self.moving.normals.any() else 0.0

    def part(self, number: int) -> Closest:
        """The same surfaces with fewer points that look for partners."""
        other = copy(self)
        other.fixed, other.moving = self.fixed.thinned(number), self.moving.thinned(number)
        return other

    def pairs(self, matrix: np.ndarray) -> Pairs:
        """The pairs under `matrix`, homogeneous, fixed-world mm → moving-world mm."""
        back = self.moving.carried(np.linalg.inv(matrix))
        _, there = self.trees[1].query(_told_apart(self.fixed.carried(matrix).points, self.fixed.group))
        _, here = self.trees[0].query(_told_apart(back.points, back.group))
        left = joined([self.fixed, self.dense[0].chosen(np.asarray(here))])
        right = joined([self.dense[1].chosen(np.asarray(there)), self.moving])
        distances, along = self._distances(left.carried(matrix), right)
        costs = np.hypot(distances, _TURN * self.size * (1 - along))
        kept = np.concatenate([self._kept(c) for c in self._ways(costs)])
        # surfaces that face each other from opposite sides are never the same
        facing = kept & (along > 0)
        kept = facing if facing.any() else kept
        return Pairs(left.points, right.points, right.normals, distances, costs, kept)

    def _distances(self, left: Surface, right: Surface) -> tuple[np.ndarray, np.ndarray]:
        """How far paired points lie from the other surface, mm, and the cosine between the surfaces' directions."""
        apart = left.points - right.points
        square = np.einsum("na,na->n", apart, apart)
        flat = right.normals.any(1)
        across = np.where(flat, np.einsum("na,na->n", apart, right.normals), 0)
        # along the surface the next point is only as near as the points lie to each other
        gap = np.repeat(self.gaps[::-1], (len(self.fixed), len(self.moving)))
        beside = np.maximum(np.sqrt(np.maximum(square - across**2, 0)) - np.where(flat, gap, 0), 0)
        known = flat & left.normals.any(1)
        along = np.where(known, np.einsum("na,na->n", left.normals, right.normals), 1)
        return np.hypot(across, beside), along

    def _ways(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of pairs, from fixed to moving and back."""
        return values[: len(self.fixed)], values[len(self.fixed) :]

    def _kept(self, costs: np.ndarray) -> np.ndarray:
        number = max(1, round((1 - self.trim) * len(costs)))
        kept = np.zeros(len(costs), dtype=bool)
        kept[np.argsort(costs, kind="stable")[:number]] = True
        return kept

    def score(self, matrix: np.ndarray) -> float:
        """How far apart the surfaces are under `matrix`, mm, over the share of the pairs that counts."""
        return float(np.mean([c[self._kept(c)].mean() for c in self._ways(self.pairs(matrix).costs)]))


@dataclass(frozen=True, eq=False)
class Found:
    """Where the iterations ended: the matrix, and how many steps it took."""

    matrix: np.ndarray
    iterations: int


def approach(
    closest: Closest,
    start: np.ndarray,
    model: Model,
    metric: Metric,
    iterations: int,
    tolerance: float,
    notify: Callable[[int, float], None] = lambda i, v: None,
) -> Found:
    """Pair and fit (Besl and McKay 1992, doi:10.1109/34.121791; Chen and Medioni 1992) until nothing moves any more.

    Args:
        closest: the surfaces.
        start: homogeneous matrix, fixed-world mm → moving-world mm.
        model: of the transform.
        metric: `"point"` shortens the distances between paired points, `"plane"` those along the normals.
        iterations: the most there may be.
        tolerance: mm that the surface must move for another one.
        notify: called with each iteration's number and score.

    Raises:
        PointsError: the pairs do not settle the model.
    """
    matrix = start
    for iteration in range(1, iterations + 1):
        pairs = closest.pairs(matrix)
        new = _by_planes(pairs, matrix, model, closest) if metric == "plane" else _by_points(pairs, model)
        moved = np.linalg.norm(_carry(new - matrix, closest.fixed.points), axis=1).max()
        matrix = new
        notify(iteration, float(pairs.costs[pairs.kept].mean()))
        if moved < tolerance:
            return Found(matrix, iteration)
    return Found(matrix, iterations)


def _by_points(pairs: Pairs, model: Model) -> np.ndarray:
    return fit_linear(pairs.source[pairs.kept], pairs.target[pairs.kept], model)


def _by_planes(pairs: Pairs, matrix: np.ndarray, model: Model, closest: Closest) -> np.ndarray:
    """A Gauss–Newton step for the distances along the targets' normals."""
    kept = pairs.kept
    moved, target, normals = _carry(matrix, pairs.source[kept]), pairs.target[kept], pairs.normals[kept]
    basis = generators(model, closest.centre, closest.size)
    shifts = np.einsum("kij,nj->nki", basis[:, :-1, :-1], moved) + basis[:, :-1, -1]
    slopes = np.einsum("nki,ni->nk", shifts, normals)
    residual = np.einsum("ni,ni->n", moved - target, normals)
    hessian = np.einsum("nk,nl->kl", slopes, slopes)
    # what the surface slides along freely, as a sphere turns, is left alone
    damped = hessian + 1e-4 * np.trace(hessian) / len(hessian) * np.eye(len(hessian))
    step = -np.linalg.solve(damped, np.einsum("nk,n->k", slopes, residual))
    step *= min(1.0, 0.5 * closest.size / max(np.abs(step).max(), 1e-12))
    return expm(np.einsum("k,kij->ij", step, basis)) @ matrix


def _carry(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.einsum("nj,ij->ni", points, matrix[:-1, :-1]) + matrix[:-1, -1]


def _told_apart(points: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Points with one more coordinate, which keeps groups apart."""
    return np.concatenate([points, group[:, None] * _APART], axis=1)
