"""Free-form deformation by cubic B-splines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from coincide.methods.classical.bending import Bending
from coincide.optimise.spline import Lattice, Restraint, follow_spline
from coincide.options import NotNegative, Range, Whole
from coincide.similarity import LNCC, Similarity

_ACROSS = {2: 40.0, 3: 25.0}
"""Control points along the grid's size where nothing else is asked for."""


@dataclass(frozen=True)
class BSpline(Bending):
    """Linear, then free-form deformation: control points of a cubic B-spline, moved by L-BFGS from coarse to fine.

    The similarity's exact gradient is carried to the control points, whose distance halves from level to level down to
    `spacing`. Bending costs energy, and so does a Jacobian determinant below twice the least (Rueckert et al. 1999,
    doi:10.1109/42.796284; Klein et al. 2007, doi:10.1109/TIP.2007.909412).

    Args:
        similarity: what is minimised.
        iterations: the most steps, per level, coarse to fine; each level is twice as fine as the one before, the last
            stands at `finest`. A spline is smooth, so the finest is left out where the one before it suffices.
        spacing: distance of the control points on the finest level, mm; 0 takes a 25th of the grid's size in volumes
            and a 40th in pictures.
        voxels: the fewest voxels between control points on any level.
        bending: weight of the bending energy, the mean squared second derivative of the displacement, in mm².
        folding: weight of the mean squared shortfall of the Jacobian determinant.
        tolerance: a level ends early when five steps gain less than this share of the level's gain.

    Raises:
        OptionError: a number out of its range.
    """

    costs: ClassVar[float] = 130e-9

    similarity: Similarity = LNCC()  # noqa: RUF009 - frozen
    iterations: tuple[Whole, ...] = (60, 60, 60, 60, 40, 0)
    spacing: NotNegative = 0.0
    voxels: Annotated[float, Range(2)] = 4.0
    bending: NotNegative = 1.0
    folding: NotNegative = 10.0
    tolerance: NotNegative = 0.005

    @property
    def compared(self) -> Similarity:
        return self.similarity

    def _follow(self, level, field, iterations, finest, start, pair, notify):  # noqa: ARG002 - others need them
        grid = level.grid
        size = float(np.prod((np.asarray(grid.shape) - 1) * grid.spacing) ** (1 / grid.dim))
        wanted = self.spacing or size / _ACROSS[grid.dim]
        lattice = Lattice(grid, max(wanted, self.voxels * float(grid.spacing.max())))
        restraint = Restraint((0.0, 0.0, self.bending), self.folding, 2 * self.least_jacobian)
        coefficients = lattice.fitted(field)
        found = follow_spline(
            level, lattice, coefficients, self.similarity, restraint, iterations, self.tolerance, notify
        )
        return lattice.field(found)
