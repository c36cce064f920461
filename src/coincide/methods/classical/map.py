"""Maximum a posteriori registration, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.bending import Bending, level_of
from coincide.methods.classical.linear import normalised
from coincide.methods.parts import Part
from coincide.ops.memory import require
from coincide.optimise.posterior import Posterior, Prior, noise_of, rounded
from coincide.optimise.progress import Event
from coincide.optimise.spline import Lattice, Restraint, follow_spline
from coincide.options import Count, NotNegative, Whole
from coincide.pair import Pair
from coincide.similarity import MSE, Similarity
from coincide.transforms.base import Transform

_ACROSS = {2: 14.0, 3: 8.0}
"""Control points along the grid's size: what is known of each with each of the others must fit the memory."""
_VOXELS = 60_000
"""Voxels at most that the posterior is worked out from."""
_POINTS = {2: 40_000, 3: 30_000}
"""Points at most of the map of uncertainty."""
_FIRST_AMPLITUDE = 0.03
"""Of the displacement, as a share of the grid's size, before the images are asked."""
_TOLERANCE, _FOLDING = 0.002, 10.0
_MATRICES = 5
"""Square matrices, of as many rows as there are coefficients, that are held at a time."""
_LENGTH = 1.5
"""Of the prior, in control-point distances: measured to cover the truth best."""
_TELLS = {2: 0.2, 3: 3.0}
"""Processor seconds to work out what images and prior say together, at most."""
_AGAIN = 4
"""Times that the amplitude is found anew from the posterior it leads to, at the end."""


@dataclass(frozen=True)
class Map(Bending):
    """Linear, then the most probable deformation under a stated prior and likelihood, and how uncertain it is, in mm.

    The prior: each component of the displacement, beside the linear part, is a Gaussian field of standard deviation
    `amplitude`, smooth over `length`. The likelihood: the images differ by Gaussian noise, after gain and offset.
    Noise, how many of its values are independent, and, where it is not given, the amplitude are found from the images
    (MacKay 1992, doi:10.1162/neco.1992.4.3.415). What is left after the most probable deformation is uncertain as the
    curvature there says (Laplace): large where the images show nothing, and along edges. The uncertainty takes the
    linear part and the prior's form for known and holds for images of one modality; what is finer than the control
    points is not in it.

    Args:
        iterations: the most steps of a round, per level, coarse to fine; each level is twice as fine as the one
            before, the last stands at `finest`. Noise hides there what the control points could follow.
        amplitude: standard deviation of each component of the displacement before the images are seen, mm; 0 finds it.
        length: over which the displacement is smooth, mm; 0 takes one and a half distances of the control points.
        spacing: distance of the control points, mm; 0 takes a 14th of the grid's size in pictures and an 8th in
            volumes.
        rounds: times that deformation, noise and amplitude are found in turn on every level.

    Raises:
        OptionError: a number out of its range.
    """

    iterations: tuple[Whole, ...] = (40, 40, 40, 40, 40, 0)
    amplitude: NotNegative = 0.0
    length: NotNegative = 0.0
    spacing: NotNegative = 0.0
    rounds: Count = 3

    @property
    def compared(self) -> Similarity:
        return MSE()

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        # every level is followed anew in each round, and asked what it tells after all but the last
        told = _TELLS[pair.dim] * (self.rounds - 1)
        bends = tuple(
            replace(part, seconds=self.rounds * part.seconds + told) if part.stage == "deformable" else part
            for part in super().parts(pair)
        )
        return (*bends, Part("uncertainty", 0, _TELLS[pair.dim] * (_AGAIN + 1)))

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        solution = super().solve(pair, context)
        if solution.status is not Status.SUCCEEDED:
            return solution
        fixed, moving = normalised(pair, self.compared)
        grid, _ = self.grids(fixed)[-1]
        grid = grid.orthogonalised(grid.spacing * max(1.0, (grid.size / _VOXELS) ** (1 / grid.dim)))
        # what the deformation that was found leaves is asked about a further one before it, which is none
        level = level_of(grid, fixed, moving, solution.transform, self.cubic)
        nothing = torch.zeros((grid.dim, *grid.shape))
        noise, lattice = noise_of(level, nothing), self._lattice(grid)
        prior = self._first(lattice)
        coefficients = lattice.fitted(_displacement(solution.transform.parts()[-1], grid))
        context.progress(Event("uncertainty", "working out how uncertain it is"))
        for number in range(1, _AGAIN + 1):
            context.progress(Event("uncertainty", iteration=number, iterations=_AGAIN))
            posterior = Posterior.of(level, nothing, lattice, prior, noise)
            prior = self._better(prior, posterior, coefficients)
        shown = _map_grid(pair.fixed.grid)
        deviations = posterior.deviations(shown.points().reshape(-1, grid.dim))
        data = torch.from_numpy(deviations.T.reshape(grid.dim, *shown.shape).astype(np.float32))
        found = {
            "amplitude_mm": prior.amplitude,
            "determined": rounded(posterior.determined),
            "noise_values": rounded(noise.number),
            "uncertainty_mm": rounded(float(np.sqrt((deviations**2).sum(1)).mean())),
        }
        told = (
            f"Each component of the deformation was taken for a Gaussian field of {prior.amplitude:.2g} mm, smooth "
            f"over {prior.length:.2g} mm; the images determine {posterior.determined:.0f} of its {coefficients.size} "
            "coefficients."
        )
        return replace(
            solution,
            uncertainty=Image(data, shown, name="uncertainty"),
            evidence={**solution.evidence, **found},
            decisions=(*solution.decisions, told),
        )

    def _follow(self, level, field, iterations, finest, start, pair, notify):  # noqa: ARG002 - others need them
        lattice = self._lattice(level.grid)
        coefficients, prior = lattice.fitted(field), self._first(lattice)
        for number in range(self.rounds):
            noise = noise_of(level, lattice.field(coefficients))
            restraint = Restraint(noise.restraint(prior, lattice), _FOLDING, 2 * self.least_jacobian)
            coefficients = follow_spline(
                level, lattice, coefficients, self.compared, restraint, iterations, _TOLERANCE, notify
            )
            field = lattice.field(coefficients)
            if not self.amplitude and number + 1 < self.rounds:
                posterior = Posterior.of(level, field, lattice, prior, noise_of(level, field))
                prior = self._better(prior, posterior, coefficients)
        return field

    def _lattice(self, grid: Grid) -> Lattice:
        lattice = Lattice(grid, self.spacing or _size(grid) / _ACROSS[grid.dim])
        number = grid.dim * int(np.prod(lattice.shape))
        require(
            _MATRICES * 8 * number**2,
            f"what is known of each of {number:,} coefficients with each other",
            "Take a larger spacing, or leave it out.",
        )
        return lattice

    def _first(self, lattice: Lattice) -> Prior:
        return Prior(
            self.amplitude or _FIRST_AMPLITUDE * _size(lattice.grid), self.length or _LENGTH * lattice.spacing
        )

    def _better(self, prior: Prior, posterior: Posterior, coefficients: np.ndarray) -> Prior:
        """The prior with the amplitude that images and coefficients speak for, where none was given."""
        return prior if self.amplitude else replace(prior, amplitude=posterior.again(coefficients, prior))


def _size(grid: Grid) -> float:
    return float(np.prod((np.asarray(grid.shape) - 1) * grid.spacing) ** (1 / grid.dim))


def _displacement(bent: Transform, grid: Grid) -> torch.Tensor:
    """What a transform adds to the voxels of `grid`, in voxels, `(dim, *shape)`."""
    moved = grid.index(bent(grid.points())) - np.stack(
        np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1
    )
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(moved, -1, 0)).astype(np.float32))


def _map_grid(grid: Grid) -> Grid:
    """A grid over the field of view of `grid`, coarse enough for a map that is smooth."""
    coarser = max(1.0, (grid.size / _POINTS[grid.dim]) ** (1 / grid.dim))
    return grid.orthogonalised(grid.spacing * coarser)
