"""Free-form deformation of one level: control points that follow a similarity, and what holds them back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.ops.field import warp
from coincide.ops.spline import Taps, collect, expand, pull, taps
from coincide.optimise.deformable import Level, known
from coincide.optimise.lbfgs import Minimum, minimise
from coincide.similarity.base import Similarity

Energy = tuple[float, float, float]
"""Weights of the mean squared displacement (mm⁻²), of its first derivatives (1) and of its second ones (mm²)."""

_ROUND = 25
"""Iterations after which it is looked up anew where the moving image is known."""
_GAUSS = np.polynomial.legendre.leggauss(4)
"""Places and weights of a quadrature that is exact for products of two cubics."""
_FOLD_SAMPLES = 2
"""Places per control-point distance at which the Jacobian determinant is looked at."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Control points over a level's grid; their coefficients are mm along its axes, `(dim, *controls)`.

    Args:
        grid: of the level.
        spacing: distance of control points, mm.
    """

    grid: Grid
    spacing: float

    @cached_property
    def intervals(self) -> tuple[int, ...]:
        """Control-point distances along each axis of the grid, rounded up."""
        lengths = (np.asarray(self.grid.shape) - 1) * self.grid.spacing / self.spacing
        return tuple(int(n) for n in np.maximum(np.ceil(lengths - 1e-9), 1))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of control points along each axis."""
        return tuple(n + 3 for n in self.intervals)

    @cached_property
    def axes(self) -> list[Taps]:
        """The grid's voxels among the control points."""
        steps = self.grid.spacing / self.spacing
        return [taps(np.arange(n) * s, m) for n, s, m in zip(self.grid.shape, steps, self.shape)]

    @cached_property
    def _per_voxel(self) -> Tensor:
        """Voxels per mm along each axis."""
        return torch.as_tensor(1 / self.grid.spacing, dtype=torch.float32).reshape(-1, *[1] * self.grid.dim)

    def field(self, coefficients: np.ndarray) -> Tensor:
        """The displacement at every voxel, in voxels, `(dim, *shape)`."""
        c = torch.from_numpy(coefficients.astype(np.float32)) * self._per_voxel
        return expand(c.contiguous(), self.axes)

    def gathered(self, upstream: Tensor) -> np.ndarray:
        """The adjoint of `field`, float64."""
        return (collect(upstream, self.axes) * self._per_voxel).numpy().astype(np.float64)

    def fitted(self, field: Tensor) -> np.ndarray:
        """The coefficients whose field is nearest to `field` (voxels), in the sense of least squares."""
        found = self.gathered(field) * (self.grid.spacing**2).reshape(-1, *[1] * self.grid.dim)
        for axis, along in enumerate(self.axes, start=1):
            gram = along.matrix.T @ along.matrix
            # where no voxel tells a control point anything it keeps still
            gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
            found = _mixed(np.linalg.inv(gram), found, axis)
        return found

    @cached_property
    def _grams(self) -> list[list[np.ndarray]]:
        """For each axis and derivative the products of any two splines, mean over the axis, per mm."""
        found = []
        for n, m in zip(self.intervals, self.shape):
            places = (np.arange(n)[:, None] + (_GAUSS[0] + 1) / 2).ravel()
            share = np.tile(_GAUSS[1] / 2, n) / n
            tables = [taps(places, m, d).matrix / self.spacing**d for d in range(3)]
            found.append([np.einsum("qi,q,qj->ij", t, share, t) for t in tables])
        return found

    def stiffened(self, values: np.ndarray, energy: Energy) -> np.ndarray:
        """The energy's matrix times `values` `(dim, *controls)`: its second derivative is twice that."""
        total = np.zeros_like(values)
        for weight, orders in self._terms(energy):
            part = values
            for axis, order in enumerate(orders):
                part = _mixed(self._grams[axis][order], part, axis + 1)
            total += weight * part
        return total

    def energy_matrix(self, energy: Energy) -> np.ndarray:
        """The matrix of one component's energy, `(controls, controls)`, over the control points in their order."""
        total = 0.0
        for weight, orders in self._terms(energy):
            part = np.ones((1, 1))
            for axis, order in enumerate(orders):
                part = np.kron(part, self._grams[axis][order])
            total = total + weight * part
        return np.asarray(total)

    def _terms(self, energy: Energy) -> list[tuple[float, tuple[int, ...]]]:
        """The weights of an energy's terms, and the derivative along each axis that each of them squares."""
        found = []
        for order, weight in enumerate(energy):
            for along in itertools.product(range(self.grid.dim), repeat=order):
                found += [(weight, tuple(along.count(a) for a in range(self.grid.dim)))] if weight else []
        return found

    def energy(self, coefficients: np.ndarray, energy: Energy) -> tuple[float, np.ndarray]:
        """Weighted mean over the grid of the squares of the displacement and its derivatives, and its gradient."""
        pulled = self.stiffened(coefficients, energy)
        return float((coefficients * pulled).sum()), 2 * pulled

    @cached_property
    def _fold_axes(self) -> list[list[Taps]]:
        """For each axis and derivative the taps of the places where folding is looked for."""
        found = []
        for n, m in zip(self.intervals, self.shape):
            places = (np.arange(n * _FOLD_SAMPLES) + 0.5) / _FOLD_SAMPLES
            found.append([taps(places, m, d) for d in range(2)])
        return found

    def folding(self, coefficients: np.ndarray, least: float) -> tuple[float, np.ndarray]:
        """Mean squared shortfall of the Jacobian determinant below `least`, and its gradient."""
        dim = self.grid.dim
        c = torch.from_numpy(coefficients.astype(np.float32))
        ways = [[self._fold_axes[x][int(x == along)] for x in range(dim)] for along in range(dim)]
        slopes = torch.stack([expand(c, way) / self.spacing for way in ways], dim=1)
        jacobian = slopes.movedim((0, 1), (-2, -1)).double() + torch.eye(dim, dtype=torch.float64)
        short = (least - torch.linalg.det(jacobian)).clamp_min(0)
        if not bool(short.any()):
            return 0.0, np.zeros_like(coefficients)
        upstream = (-2 / short.numel()) * short[..., None, None] * _cofactors(jacobian)
        upstream = upstream.movedim((-2, -1), (0, 1)).float()
        parts = [collect(upstream[:, a].contiguous(), way) / self.spacing for a, way in enumerate(ways)]
        return float(short.square().numpy().mean()), torch.stack(parts).numpy().astype(np.float64).sum(0)


@dataclass(frozen=True)
class Restraint:
    """What holds control points back.

    Args:
        energy: weights of the displacement's energy; its last, mm², is that of bending.
        folding: weight of the shortfall of the Jacobian determinant below `least`.
        least: smallest determinant that costs nothing.
    """

    energy: Energy
    folding: float
    least: float


def follow_spline(
    level: Level,
    lattice: Lattice,
    coefficients: np.ndarray,
    similarity: Similarity,
    restraint: Restraint,
    iterations: int,
    tolerance: float,
    notify: Callable[[int, float], None] = lambda i, v: None,
) -> np.ndarray:
    """The coefficients that `similarity` and `restraint` lead to, from `coefficients` on."""
    features = similarity.features(level.moving, mask=level.moving_mask)
    prepared = similarity.prepare(level.fixed, level.fixed_mask)
    rounds = [iterations] if level.moving_mask is None else [_ROUND] * -(-iterations // _ROUND)
    done = 0
    for number in rounds:
        seen = known(level, lattice.field(coefficients))

        def cost(c: np.ndarray, seen=seen) -> tuple[float, np.ndarray]:
            field = lattice.field(c)
            evaluation = prepared.value_and_gradient(warp(features, field), seen)
            slope = lattice.gathered(pull(features, field, evaluation.gradient))
            bent, unbend = lattice.energy(c, restraint.energy)
            folded, unfold = lattice.folding(c, restraint.least)
            value = evaluation.value + bent + restraint.folding * folded
            return value, slope + unbend + restraint.folding * unfold

        def tell(iteration: int, value: float, done: int = done) -> None:
            notify(done + iteration, value)

        reach = float(level.grid.spacing.min())
        found: Minimum = minimise(cost, coefficients, reach, number, tolerance, tell)
        coefficients, done = found.at, done + found.iterations
        if found.iterations < number:
            break
    return coefficients


def _mixed(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """`matrix` times `values` along an axis; einsum, as BLAS adds in an order that depends on the threads."""
    moved = np.moveaxis(values, axis, -1)
    return np.moveaxis(np.einsum("...j,ij->...i", moved, matrix), -1, axis)


def _cofactors(matrices: Tensor) -> Tensor:
    """The derivative of the determinants of `(…, dim, dim)` matrices."""
    rows = [matrices[..., a, :] for a in range(matrices.shape[-1])]
    if len(rows) == 2:
        a, b = rows
        return torch.stack(
            [torch.stack([b[..., 1], -b[..., 0]], -1), torch.stack([-a[..., 1], a[..., 0]], -1)], -2
        )
    a, b, c = rows
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
