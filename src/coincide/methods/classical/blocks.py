"""Block matching with trimmed least squares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from coincide.errors import PointsError
from coincide.features.matches import Matches
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.linear import Voxels, normalised
from coincide.methods.classical.searching import Searching
from coincide.methods.classical.surface_start import linear_start
from coincide.methods.parts import Part, linear_parts
from coincide.methods.recorder import Recorder
from coincide.ops.block_matching import match_blocks
from coincide.ops.sample import sample_affine
from coincide.optimise.fit import fewest
from coincide.optimise.trimmed import fit_trimmed
from coincide.options import Count, PositiveShare, Range
from coincide.pair import Pair
from coincide.preprocess.shrink import resample_smooth
from coincide.similarity import NMI
from coincide.transforms.linear import Affine

_SIZE = {2: 7, 3: 4}
"""Voxels of a block along each axis."""
_REACH = 3
_COSTS = 400e-9
"""Processor seconds per voxel and round, at most."""
_STILL = 0.01
"""Share of a voxel that the transform must move the blocks for another round."""
_SHOWN = 2000
"""Pairs that are kept with the solution, to look at."""


@dataclass(frozen=True)
class Blocks(Searching):
    """Linear registration by block matching: small blocks look for their like nearby, and most decide.

    On each level the blocks that show most are compared, by squared correlation, with all places three voxels around in
    the moving image as it now lies, and the other way round; the transform is then fitted to the pairs by least trimmed
    squares, which a tumour, a tube or a slipped organ cannot bend; until it stands still (Ourselin et al. 2001,
    doi:10.1016/S0262-8856(00)00052-4; Modat et al. 2014, doi:10.1117/1.JMI.1.2.024003). It does not mind what changes
    brightness and contrast slowly over the image.

    Args:
        strongest: share of the blocks, those that vary most, that look for partners.
        kept: share of the pairs that the fit rests on.
        rounds: the most on each level.
        blocks: the most that look for partners, of either image.
        fine: voxels of the finest level (3-D; a quarter as many in 2-D).

    Raises:
        OptionError: a number out of its range.
    """

    strongest: PositiveShare = 0.5
    kept: PositiveShare = 0.5
    rounds: Count = 15
    blocks: Annotated[int, Range(50)] = 4000
    fine: Voxels = 600_000

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        start, _ = linear_parts(pair)
        grids = [grid for _, grid in self.linear(NMI()).levels(pair.fixed)]
        return start, Part("blocks", 0, self.rounds * sum(_COSTS * grid.size + 0.01 for grid in grids))

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        linear_start(pair, self.model)  # refuses a deformation
        recorder = Recorder(context.progress)
        similarity = NMI()
        fixed, moving = normalised(pair, similarity)
        linear = replace(self.linear(similarity), fine=self.fine)
        starts = linear.explore(fixed, moving, pair, recorder)
        if not starts.found:
            return recorder.solution(Affine(np.eye(pair.dim + 1)), None, Status.NO_OVERLAP)
        matrix, pairs = starts.found[0].matrix, None
        levels = [grid for _, grid in linear.levels(fixed)]
        with recorder.timed("blocks"):
            for number, grid in enumerate(levels, start=1):
                level = _BlockLevel(self, grid, fixed, moving)
                for iteration in range(1, self.rounds + 1):
                    found = level.step(matrix)
                    if found is None:
                        return recorder.solution(
                            Affine(starts.found[0].matrix), None, Status.NO_CORRESPONDENCE
                        )
                    new, pairs, residual = found
                    recorder.step("blocks", number, len(levels), iteration, self.rounds, residual)
                    moved = level.moved(new, matrix)
                    matrix = new
                    if moved < _STILL * float(grid.spacing.min()):
                        break
        assert pairs is not None
        inliers = int(pairs.inlier.sum())
        recorder.evidence |= {"matches": len(pairs.inlier), "inliers": inliers, "residual_mm": residual}
        recorder.decide(f"The transform rests on {inliers} of {len(pairs.inlier)} blocks.")
        transform = Affine(matrix, pair.fixed.grid.centre)
        few = np.unique(np.linspace(0, len(pairs.inlier) - 1, _SHOWN).round().astype(int))
        shown = Matches(pairs.fixed[few], pairs.moving[few], pairs.inlier[few])
        solution = recorder.solution(transform, transform.inverse(), Status.SUCCEEDED)
        return replace(solution, matches=shown)


class _BlockLevel:
    """One level's images, ready to be matched under any matrix."""

    def __init__(self, options: Blocks, grid: Grid, fixed: Image, moving: Image):
        self.options, self.grid, self.moving = options, grid, moving
        self.fixed = _with_nan(fixed, grid, np.eye(grid.dim + 1))
        self.corners = self._corners(self.fixed)

    def step(self, matrix: np.ndarray) -> tuple[np.ndarray, Matches, float] | None:
        """The matrix fitted to the partners under `matrix`, the pairs, their residual in mm; None if too few."""
        warped = _with_nan(self.moving, self.grid, matrix)
        there, here = self._matched(self.fixed, warped, self.corners)
        back, forth = self._matched(warped, self.fixed, self._corners(warped))
        source = self.grid.world(np.concatenate([there, forth]))
        target = self.grid.world(np.concatenate([here, back]))
        target = np.einsum("nj,ij->ni", target, matrix[:-1, :-1]) + matrix[:-1, -1]
        if len(source) < 4 * fewest(self.options.model, self.grid.dim):
            return None
        try:
            new, kept = fit_trimmed(source, target, self.options.model, self.options.kept)
        except PointsError:  # all in one place or on one line
            return None
        apart = np.einsum("nj,ij->ni", source, new[:-1, :-1]) + new[:-1, -1] - target
        residual = float(np.sqrt((apart[kept] ** 2).sum(1).mean()))
        return new, Matches(source, target, kept), residual

    def moved(self, new: np.ndarray, old: np.ndarray) -> float:
        """The most that any block moved between two matrices, mm."""
        world = self.grid.world(self.corners)
        shift = np.einsum("nj,ij->ni", world, (new - old)[:-1, :-1]) + (new - old)[:-1, -1]
        return float(np.linalg.norm(shift, axis=1).max())

    def _matched(self, image: np.ndarray, other: np.ndarray, corners: np.ndarray):
        """Middles of the blocks that found a partner, and of the partners, in voxels."""
        size = _SIZE[self.grid.dim]
        shifts, scores = match_blocks(image, other, corners, size, _REACH)
        # one that fits best at the end of its reach might fit better beyond
        good = (scores > 0) & (np.abs(shifts).max(1, initial=0) < _REACH)
        middles = corners[good] + (size - 1) / 2
        return middles, middles + shifts[good]

    def _corners(self, image: np.ndarray) -> np.ndarray:
        """First voxels of the blocks that vary most, `(blocks, dim)`; blocks stand side by side."""
        size, dim = _SIZE[self.grid.dim], self.grid.dim
        counts = [n // size for n in image.shape]
        if min(counts) == 0:
            return np.zeros((0, dim), np.int64)
        tiled = image[tuple(slice(0, n * size) for n in counts)]
        tiled = tiled.reshape([x for n in counts for x in (n, size)]).astype(np.float64)
        variance = tiled.var(axis=tuple(range(1, 2 * dim, 2))).ravel()
        # whatever holds NaN is out; so is air
        seen = np.flatnonzero(np.nan_to_num(variance) > 1e-6)
        number = min(round(self.options.strongest * len(seen)), self.options.blocks)
        order = seen[np.argsort(-variance[seen], kind="stable")][: max(number, min(len(seen), 50))]
        return np.stack(np.unravel_index(np.sort(order), counts), axis=1).astype(np.int64) * size


def _with_nan(image: Image, grid: Grid, matrix: np.ndarray) -> np.ndarray:
    """The image on `grid` under `matrix` (world mm of the grid → world mm of the image), NaN where it is unknown."""
    data = resample_smooth(image.data, image.grid, grid, matrix)[0]
    mask = torch.ones(image.grid.shape) if image.mask is None else image.mask.to(torch.float32)
    index = image.grid.inverse_affine @ matrix @ grid.affine
    known = sample_affine(mask[None], index, grid.shape, "zero")[0] > 0.5
    return np.where(known.numpy(), data.numpy(), np.float32(np.nan)).astype(np.float32)
