"""Diffeomorphic registration: a linear start, then composed smooth steps from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status, Step
from coincide.methods.classical.linear import Linear
from coincide.ops.field import invert
from coincide.optimise.deformable import Level, Rule, descend, tapered, to_level
from coincide.optimise.recorder import Recorder
from coincide.pair import Pair
from coincide.preprocess.foreground import bounding_box, foreground_weights
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import resample_smooth
from coincide.regularity.folding import unfold
from coincide.similarity import LNCC, Similarity
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_world
from coincide.transforms.linear import Affine


@dataclass(frozen=True)
class Deformable(AbstractMethod):
    """Linear, then diffeomorphic registration, from coarse to fine, with the inverse.

    Each step is the similarity's exact gradient, smoothed, scaled so that its longest vector is `step` voxels, and
    composed with the field, which is smoothed in turn (the greedy scheme of Joshi et al. 2004, as made popular by
    Yushkevich et al. 2016, with an exact gradient). Levels stand at fixed sizes in mm, so smoothing and steps are
    lengths in mm and do not change with the images' resolution.

    Args:
        linear: what finds the linear part; its transform is where the deformation starts.
        similarity: what is minimised.
        levels: voxel size of each level as a multiple of `finest`.
        iterations: the most steps, per level.
        finest: voxel size of the finest level, mm; 0 takes the fixed image's mean one.
        force_sigma: Gaussian on each step, in voxels of the level.
        field_sigma: Gaussian on the field after each step, in voxels of the level.
        step: longest vector of a step, in voxels of the level.
        tolerance: a level ends early when ten steps gain less than this share of the level's gain.
        least_jacobian: smallest Jacobian determinant the result may have.
        use_landmarks: whether the pair's landmarks pull.
    """

    linear: Linear = Linear(similarity=LNCC())  # noqa: RUF009 - frozen
    similarity: Similarity = LNCC()  # noqa: RUF009 - frozen
    levels: tuple[float, ...] = (4.0, 2.0, 1.0)
    iterations: tuple[int, ...] = (100, 50, 10)
    finest: float = 0.0
    force_sigma: float = 1.7
    field_sigma: float = 0.7
    step: float = 1.0
    tolerance: float = 0.002
    least_jacobian: float = 0.1
    use_landmarks: bool = False

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.iterations):
            raise OptionError(
                f"levels {self.levels} and iterations {self.iterations} must be of the same length, one at least."
            )

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        with recorder.timed("prepare"):
            fixed, moving = normalise(pair.fixed), normalise(pair.moving)
        start, status = self._start(fixed, moving, pair, recorder)
        if status is not Status.SUCCEEDED:
            return _solution(start, None, status, recorder)
        with recorder.timed("deformable"):
            field, grid = self._deform(fixed, moving, start, pair, recorder)
        with recorder.timed("inverse"):
            recorder.say("inverse", "computing the inverse")
            field, grid = tapered(field, grid)
            field, _ = unfold(field, self.least_jacobian)
            backward = Displacement(to_world(invert(field), grid), grid)
        transform = start @ Displacement(to_world(field, grid), grid)
        return _solution(transform, backward @ start.inverse(), status, recorder)

    def _start(self, fixed: Image, moving: Image, pair: Pair, recorder: Recorder) -> tuple[Transform, Status]:
        if pair.initial is not None and not isinstance(pair.initial, Affine):
            recorder.decide("The deformation starts from the initial transform that was given, as it is.")
            return pair.initial, Status.SUCCEEDED
        matrix, status = self.linear.find(fixed, moving, pair, recorder)
        return Affine(matrix, fixed.grid.centre), status

    def work_grid(self, fixed: Image) -> Grid:
        """The orthogonal grid of the finest level: the box around what there is in the fixed image, and a margin."""
        spacing = self.finest or float(np.prod(fixed.grid.spacing) ** (1 / fixed.dim))
        spacings = np.full(fixed.dim, spacing)
        weights = foreground_weights(fixed, threshold=0.05)
        start, stop = bounding_box(weights, share=0.0)
        margin = np.ceil(6 * spacing / fixed.grid.spacing).astype(int)
        start, stop = np.maximum(start - margin, 0), np.minimum(stop + margin, fixed.grid.shape)
        near = np.abs(fixed.grid.spacing / spacing - 1) < 0.05
        if near.all() and fixed.grid.is_orthogonal:
            return fixed.grid.cropped(start, stop)
        return fixed.grid.cropped(start, stop).orthogonalised(spacings)

    def _deform(self, fixed, moving, start: Transform, pair: Pair, recorder: Recorder):
        finest = self.work_grid(fixed)
        rule = Rule(self.force_sigma, self.field_sigma, self.step, self.tolerance)
        field, grid = None, finest
        for number, (factor, iterations) in enumerate(zip(self.levels, self.iterations)):
            previous, grid = grid, finest if factor == 1 else finest.orthogonalised(finest.spacing * factor)
            level = self._level(grid, fixed, moving, start, pair)
            field = torch.zeros((grid.dim, *grid.shape)) if field is None else to_level(field, previous, grid)
            field = descend(
                level,
                field,
                self.similarity,
                rule,
                iterations,
                lambda i, v, n=number, m=iterations: recorder.step("deformable", n + 1, len(self.levels), i, m, v),
            )
            field, _ = unfold(field, self.least_jacobian)
        return field, grid

    def _level(self, grid: Grid, fixed: Image, moving: Image, start: Transform, pair: Pair) -> Level:
        f = resample_smooth(fixed.data, fixed.grid, grid)
        fixed_mask = None if fixed.mask is None else _mask_on(fixed.mask, fixed.grid, grid, np.eye(grid.dim + 1))
        m, known = _through(moving, start, grid)
        landmarks = None
        if self.use_landmarks and pair.fixed_points is not None and pair.moving_points is not None:
            targets = start.inverse()(pair.moving_points.world)
            landmarks = grid.index(pair.fixed_points.world), grid.index(targets)
        return Level(grid, f, m, fixed_mask, known, landmarks)


def _mask_on(mask: torch.Tensor, source: Grid, target: Grid, matrix: np.ndarray) -> torch.Tensor | None:
    """`mask` on `target`, or None where it covers all of it."""
    from coincide.ops.sample import sample_affine

    index = source.inverse_affine @ matrix @ target.affine
    share = sample_affine(mask.to(torch.float32)[None], index, target.shape, "zero")[0]
    inside = share > 0.5
    return None if bool(inside.all()) else inside


def _through(moving: Image, start: Transform, grid: Grid) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The moving image on `grid` through `start`, smoothed as the grid needs, and where it is known."""
    mask = torch.ones(moving.grid.shape, dtype=torch.bool) if moving.mask is None else moving.mask
    if isinstance(start, Affine):
        data = resample_smooth(moving.data, moving.grid, grid, start.matrix)
        return data, _mask_on(mask, moving.grid, grid, start.matrix)
    from coincide.ops.sample import sample
    from coincide.ops.smooth import gaussian

    steps = grid.spacing.mean() / moving.grid.spacing
    data = gaussian(moving.data.contiguous(), 0.5 * np.sqrt(np.maximum(steps**2 - 1, 0)))
    index = torch.from_numpy(np.ascontiguousarray(np.moveaxis(moving.grid.index(start(grid.points())), -1, 0)))
    known = sample(mask.to(torch.float32)[None], index, "linear", "zero")[0] > 0.5
    return sample(data, index, "linear", "edge"), None if bool(known.all()) else known


def _solution(transform: Transform, inverse: Transform | None, status: Status, recorder: Recorder) -> Solution:
    return Solution(
        transform,
        inverse,
        status,
        tuple(Step(*s) for s in recorder.steps),
        tuple(recorder.decisions),
        recorder.evidence,
        recorder.seconds,
    )
