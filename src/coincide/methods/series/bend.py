"""Frames that bend: after linear transforms a smooth field each, from that of the frame before, made smooth in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context
from coincide.methods.classical.bending import coarse_to_fine, level_of
from coincide.methods.classical.deformable import Deformable
from coincide.methods.series.base import Series
from coincide.methods.series.smoothing import LEAST, smoothed
from coincide.optimise.deformable import Rule, compare, descend, tapered, to_level
from coincide.optimise.progress import Event
from coincide.preprocess.normalise import normalise
from coincide.regularity.folding import unfold
from coincide.similarity import Similarity
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_world
from coincide.transforms.linear import Affine

_ACROSS = {2: 60.0, 3: 25.0}
"""Lengths over which forces are smoothed that the anatomy's size has room for, where nothing else is asked for."""
_REACH = 3.0
"""Voxels of a level over which forces are smoothed."""


@dataclass(frozen=True, eq=False)
class Bender:
    """Bends frames onto one reference, from coarse to fine, by the optimiser of `deformable`.

    Args:
        fixed: the reference, normalised.
        grids: of the levels, coarse to fine; the fields stand on the last one, in its voxels.
        steps: on a level, at most.
        similarity: what is minimised.
        least: the smallest Jacobian determinant.
    """

    fixed: Image
    grids: tuple[Grid, ...]
    steps: int
    similarity: Similarity
    least: float = 0.1

    @classmethod
    def of(cls, reference: Image, similarity: Similarity, detail: float, steps: int) -> Bender:
        """For what forces smoothed over `detail` mm can follow; 0 takes a share of the anatomy's size."""
        fixed, usual = normalise(reference), Deformable(similarity=similarity)
        own = usual.grids(fixed)[-1][0]
        size = float(np.prod((np.asarray(own.shape) - 1) * own.spacing) ** (1 / own.dim))
        finest = max((detail or size / _ACROSS[own.dim]) / _REACH, float(own.spacing.mean()))
        levels = Deformable(similarity=similarity, finest=finest).grids(fixed)
        return cls(fixed, tuple(grid for grid, _ in levels), steps, similarity, usual.least_jacobian)

    @property
    def grid(self) -> Grid:
        """Where the fields stand."""
        return self.grids[-1]

    def bent(self, frame: Image, start: Affine, before: Tensor | None) -> Tensor:
        """The field `(dim, *shape)` (voxels) of a frame.

        Args:
            frame: normalised.
            start: what comes after the field, reference-world mm → frame-world mm.
            before: the field of the frame before, from which it goes on where that lays the frame better than none.
        """
        grid, rule = self.grids[0], Rule(force_sigma=_REACH, field_sigma=1.0)
        coarsest = level_of(grid, self.fixed, frame, start)
        field = torch.zeros((grid.dim, *grid.shape))
        if before is not None:
            tried = [field, to_level(before, self.grid, grid)]
            field = tried[int(np.argmin(compare([coarsest] * 2, tried, self.similarity)))]

        def follow(number: int, field: Tensor) -> Tensor:
            level = level_of(self.grids[number], self.fixed, frame, start) if number else coarsest
            return descend(level, field, self.similarity, rule, self.steps)

        return unfold(coarse_to_fine(self.grids, field, self.least, follow), self.least)[0]

    def transform(self, field: Tensor, after: Affine) -> Transform:
        """Reference-world mm → frame-world mm: the field, without folds, and then the linear transform `after`."""
        wide, grid = tapered(unfold(field, self.least)[0], self.grid)
        wide, _ = unfold(wide, self.least)
        return after @ Displacement(to_world(wide, grid), grid)

    def calmed(self, fields: Tensor, times: np.ndarray, wanted: np.ndarray, most: float) -> Tensor:
        """Fields made smooth in time, by as much as they themselves ask for.

        What they share with each other is told apart from what each has for itself: the principal motions of the series
        are smoothed one by one, as the numbers of linear transforms are.

        Args:
            fields: `(frame, dim, *shape)`, voxels.
            times: `(frame,)`, ascending, in frames.
            wanted: times that fields are wanted at.
            most: mm, as in `smoothed`.

        Returns:
            `(wanted, dim, *shape)`.
        """
        mean = fields.mean(0)
        off = (fields - mean).flatten(1)
        scale = float(self.grid.spacing.mean()) / np.sqrt(self.grid.size)
        lengths, axes = np.linalg.eigh((off @ off.T).double().numpy() * scale**2)
        told = lengths > 1e-9 * max(float(lengths[-1]), 1e-12)
        if not told.any():
            return mean.expand(len(wanted), *mean.shape)
        # courses in mm, root mean square over the field
        size = np.sqrt(lengths[told])
        courses, _ = smoothed(times, axes[:, told] * size, wanted, most)
        shares = torch.from_numpy(courses / size @ axes[:, told].T).to(off)
        return mean + (shares @ off).reshape(len(wanted), *mean.shape)


def bent(
    series: Series, bender: Bender, linear: list[Affine], direction: str, smooth: bool, context: Context
) -> tuple[Transform, ...]:
    """Every frame bent after its linear transform, reference-world mm → frame-world mm.

    Args:
        series: the frames; one that repeats another is bent as that one.
        bender: which bends them.
        linear: their linear transforms.
        direction: as of `Sequence`; `"alone"` lets no frame go on from the one before.
        smooth: whether fields are made smooth in time; a missing frame is bent as the last one before it otherwise.
        context: where to report to.
    """
    new, found, last = series.new, [], None
    for n in new:
        context.progress(Event("series", f"bending frame {n + 1} of {len(series)}", fraction=n / len(series)))
        before = None if direction == "alone" else last
        last = bender.bent(normalise(series.frames[n]), linear[n], before)
        found.append(last)
    if smooth and len(new) >= LEAST:
        most = 0.5 * float(series.grid.spacing.min())
        fields = list(bender.calmed(torch.stack(found), new.astype(float), series.times, most))
    else:
        index = np.searchsorted(new, series.times, side="right") - 1
        fields = [found[k] if k >= 0 else torch.zeros_like(found[0]) for k in index]
    return tuple(bender.transform(field, after) for field, after in zip(fields, linear))
