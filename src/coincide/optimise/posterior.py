"""What images and a prior together say about a displacement: how uncertain it is, and what its noise and size are.

The prior takes each component of the displacement for a Gaussian field of some standard deviation, smooth over some
length (Matérn, by Lindgren et al. 2011, doi:10.1111/j.1467-9868.2011.00777.x); the likelihood takes the images'
difference for Gaussian noise, of which as many values count as are independent. About its maximum the posterior is
taken for Gaussian (Laplace).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from coincide.ops.field import warp
from coincide.ops.force import slope
from coincide.ops.smooth import gaussian
from coincide.ops.spline import taps
from coincide.optimise.deformable import Level, known
from coincide.optimise.demons import gain_and_offset
from coincide.optimise.spline import Energy, Lattice
from coincide.similarity.base import combined, weights_of

_LAGS = 4
"""Voxels up to which the differences of images are looked at for being alike."""
_SMOOTH = 1.0
"""Gaussian on the images before their slopes are taken, voxels."""
_SIGNS = 64
"""Vectors of signs that a trace is estimated by."""
_DIGITS = 3
"""Digits of what is found about noise and prior: the last bits depend on the number of threads."""


@dataclass(frozen=True)
class Prior:
    """What is known of a displacement before the images are seen.

    Args:
        amplitude: standard deviation of each component, mm.
        length: over which it is smooth, mm.
    """

    amplitude: float
    length: float

    def precision(self, lattice: Lattice) -> Energy:
        """The energy whose matrix is the prior's precision of the lattice's coefficients."""
        dim = lattice.grid.dim
        volume = float(np.prod(np.array(lattice.intervals) * lattice.spacing))
        weight = volume / (4 * np.pi if dim == 2 else 8 * np.pi) / self.length**dim / self.amplitude**2
        return weight, 2 * weight * self.length**2, weight * self.length**4


@dataclass(frozen=True)
class Noise:
    """The images' difference where they are registered.

    Args:
        variance: of the difference.
        number: how many independent values of it there are.
    """

    variance: float
    number: float

    def restraint(self, prior: Prior, lattice: Lattice) -> Energy:
        """The prior's energy beside a mean squared difference, so that the sum is least where the posterior is most."""
        a, b, c = (w * self.variance / self.number for w in prior.precision(lattice))
        return a, b, c


def noise_of(level: Level, field) -> Noise:
    """The noise that the images of a level show under a field (voxels)."""
    apart, weights, _ = _seen(level, field)
    number = float(weights.sum())
    variance = float((weights * apart**2).sum()) / max(number, 1e-12)
    counted = apart * np.sqrt(weights)
    volume = 1.0
    for axis in range(apart.ndim):
        along = 1.0
        for lag in range(1, min(_LAGS + 1, apart.shape[axis])):
            ahead = np.take(counted, np.arange(lag, apart.shape[axis]), axis)
            here = np.take(counted, np.arange(apart.shape[axis] - lag), axis)
            alike = float((ahead * here).sum()) / max(variance * number, 1e-30)
            if alike < 0.05:  # chance
                break
            along += 2 * alike
        volume *= along
    return Noise(max(variance, 1e-12), max(number / volume, 10.0))


def _seen(level: Level, field) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images' difference, the weights, and the slope of the warped image, per mm along the grid's axes."""
    warped = warp(level.moving, field)
    weights = combined(weights_of(level.fixed, level.fixed_mask), known(level, field))
    gain, offset = gain_and_offset(level.fixed, warped, weights)
    warped = gain * warped + offset
    # noise has slopes too, and what they seem to tell is nothing: the mean of both images has least of it
    slopes = slope(gaussian((level.fixed + warped) / 2, _SMOOTH))[0].double().numpy()
    slopes /= level.grid.spacing.reshape(-1, *[1] * level.grid.dim)
    return (level.fixed - warped)[0].double().numpy(), weights.double().numpy(), slopes


@dataclass(frozen=True, eq=False)
class Posterior:
    """The Gaussian about the most probable displacement.

    Args:
        lattice: of the control points.
        factor: Cholesky's, of the precision of the coefficients, per mm², upper, `(dim · controls, dim · controls)`.
        determined: how many coefficients the images, and not the prior, determine; an estimate, good to a hundredth.
    """

    lattice: Lattice
    factor: np.ndarray
    determined: float

    @classmethod
    def of(cls, level: Level, field, lattice: Lattice, prior: Prior, noise: Noise) -> Posterior:
        """The posterior about a field (voxels) of a level."""
        _, weights, slopes = _seen(level, field)
        dim, told = level.grid.dim, lattice.energy_matrix(prior.precision(lattice))
        share = noise.number / noise.variance / max(float(weights.sum()), 1e-12)
        size = len(told)
        seen = np.zeros((dim * size, dim * size))
        for a in range(dim):
            for b in range(a + 1):
                part = _products(lattice, share * weights * slopes[a] * slopes[b])
                seen[a * size : (a + 1) * size, b * size : (b + 1) * size] = part
                seen[b * size : (b + 1) * size, a * size : (a + 1) * size] = part
        factor, _ = linalg.cho_factor(seen + np.kron(np.eye(dim), told))
        # the trace of covariance times `seen`, by random signs (Hutchinson 1990): a third of an inverse's cost
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (len(seen), _SIGNS))
        determined = (linalg.cho_solve((factor, False), seen @ signs) * signs).sum() / _SIGNS
        return cls(lattice, factor, float(determined))

    @cached_property
    def covariance(self) -> np.ndarray:
        """Of the coefficients, mm², `(dim · controls, dim · controls)`."""
        (inverted,) = linalg.get_lapack_funcs(("potri",), (self.factor,))
        found, failed = inverted(self.factor)
        assert not failed, "a factor of Cholesky's has an inverse"
        upper = np.triu(found)
        return upper + np.triu(upper, 1).T

    def deviations(self, points: np.ndarray) -> np.ndarray:
        """Standard deviation of the displacement along each axis of the world, mm, at `points` `(number, dim)`."""
        dim, base = self.lattice.grid.dim, _matrix(self.lattice, points)
        size, local = int(np.prod(self.lattice.shape)), np.empty((len(points), dim, dim))
        for a in range(dim):
            for b in range(a + 1):
                part = self.covariance[a * size : (a + 1) * size, b * size : (b + 1) * size]
                local[:, a, b] = local[:, b, a] = np.asarray(base.multiply(base @ part).sum(1)).ravel()
        turn = self.lattice.grid.direction
        return np.sqrt(np.maximum(np.einsum("xa,nab,xb->nx", turn, local, turn), 0))

    def again(self, coefficients: np.ndarray, prior: Prior) -> float:
        """The amplitude (mm) that makes images and coefficients most probable (MacKay 1992), from this posterior's."""
        unit = Prior(1.0, prior.length).precision(self.lattice)
        found = self.lattice.energy(coefficients, unit)[0] / max(self.determined, 1e-6)
        return rounded(np.sqrt(max(found, 1e-12)))


def rounded(value: float) -> float:
    """`value` to a few digits."""
    return float(f"{value:.{_DIGITS}g}")


def _products(lattice: Lattice, weights: np.ndarray) -> np.ndarray:
    """The weighted sums over a lattice's voxels, `weights` `(*shape)`, of the products of any two of its splines.

    The splines are products of one along each axis, so that one axis can be summed over after the other.
    """
    for along in lattice.axes:
        matrix = along.matrix
        pairs = (matrix[:, :, None] * matrix[:, None, :]).reshape(len(matrix), -1)
        weights = np.tensordot(weights, pairs, axes=(0, 0))
    controls = [along.controls for along in lattice.axes]
    apart = weights.reshape([n for each in controls for n in (each, each)])
    order = [*range(0, 2 * len(controls), 2), *range(1, 2 * len(controls), 2)]
    return apart.transpose(order).reshape(int(np.prod(controls)), -1)


def _matrix(lattice: Lattice, points: np.ndarray) -> sparse.csr_array:
    """The splines' values at `points` `(number, dim)`, world mm, `(number, controls)`; at the border's beyond it."""
    dim, places = lattice.grid.dim, lattice.grid.index(points) * lattice.grid.spacing / lattice.spacing
    columns, values = np.zeros((len(points), 1), np.int64), np.ones((len(points), 1))
    for axis, controls in enumerate(lattice.shape):
        along = taps(np.clip(places[:, axis], 0, controls - 3), controls)
        at = along.first[:, None] + np.arange(4)
        columns = (columns[:, :, None] * controls + at[:, None, :]).reshape(len(points), -1)
        values = (values[:, :, None] * along.weights[:, None, :]).reshape(len(points), -1)
    rows = np.repeat(np.arange(len(points)), 4**dim)
    shape = len(points), int(np.prod(lattice.shape))
    return sparse.csr_array((values.ravel(), (rows, columns.ravel())), shape=shape)
