"""Diffeomorphic registration: a linear start, then composed smooth steps from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.linear import WORST, Linear, Starts, linear_similarity, normalised
from coincide.methods.recorder import Recorder
from coincide.ops.field import invert
from coincide.ops.sample import sample, sample_affine
from coincide.ops.smooth import gaussian
from coincide.optimise.deformable import Level, Rule, compare, descend, tapered, to_level
from coincide.optimise.starts import apart
from coincide.pair import Pair
from coincide.preprocess.foreground import bounding_box, foreground_weights
from coincide.preprocess.shrink import resample_smooth
from coincide.regularity.folding import unfold
from coincide.similarity import LNCC, Similarity
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_world
from coincide.transforms.linear import Affine

_FINEST_SIZE = {2: 500.0, 3: 220.0}
"""Voxels along the anatomy's size beyond which a finer level costs much and brings little."""
_BETTER = 0.005
"""Share of the gain over unrelated images by which another start must beat the linear optimum."""
_WORK, _MOST_STEPS = 40_000_000, 100
"""Voxels times steps that any level may take, as they cost little; and the steps that are enough for every level."""
_ROOM = 20
"""Voxels that the finest level must have along an axis for each voxel of the force's kernel (sigma)."""
_TRIAL_VOXELS = 150_000
"""Trials go on to the second level only where it is smaller than this."""


@dataclass(frozen=True)
class Deformable(AbstractMethod):
    """Linear, then diffeomorphic registration, from coarse to fine, with the inverse.

    Each step is the similarity's exact gradient, smoothed, scaled so that its longest vector is `step` voxels, and
    composed with the field, which is smoothed in turn (the greedy scheme of Joshi et al. 2004,
    doi:10.1016/j.neuroimage.2004.07.068, with an exact gradient). Levels stand at fixed sizes in mm, so smoothing and
    steps are lengths in mm and do not change with the images' resolution. A linear part that fits the whole as well as
    it can is not always the best start for a deformation: where a liver slides along the ribs it spoils both. So some
    others (in 2-D the runners-up and the header's; in 3-D the header's, for two images on one grid, as frames of one
    examination are) are carried through the coarsest levels too, and the one that ends best goes on.

    Args:
        linear: what finds the linear part; an affine registration by the same similarity, or what comes nearest to it,
            where left out.
        similarity: what is minimised.
        iterations: the most steps, per level, coarse to fine; each level is twice as fine as the one before, the last
            stands at `finest`. Levels too coarse for the anatomy are left out, and so are last ones with 0 steps.
        finest: voxel size of the finest level, mm; 0 takes the fixed image's mean one, or a larger that suffices.
        coarsest: the fewest voxels along the anatomy's size on a level; what is coarser is left out.
        force_sigma: Gaussian on each step, in voxels of the level; 0 takes 2 for volumes and 3 for pictures, which
            have fewer neighbours to agree with.
        field_sigma: Gaussian on the field after each step, in voxels of the level; 0 takes 0.5 for volumes and 1 for
            pictures.
        step: longest vector of a step, in voxels of the level.
        tolerance: a level ends early when ten steps gain less than this share of the level's gain.
        least_jacobian: smallest Jacobian determinant the result may have.
        trials: linear starts that are tried on the coarsest levels; 1 takes the linear part as it is.
        cubic: whether the images are interpolated by cubic B-splines on the finest levels. Images of one person match
            to a few hundredths of a voxel then, instead of a tenth; between people it costs time and brings nothing.
        use_landmarks: whether the pair's landmarks pull.
    """

    linear: Linear | None = None
    similarity: Similarity = LNCC()  # noqa: RUF009 - frozen
    iterations: tuple[int, ...] = (100, 100, 100, 100, 50, 10)
    finest: float = 0.0
    coarsest: float = 26.0
    force_sigma: float = 0.0
    field_sigma: float = 0.0
    step: float = 1.0
    tolerance: float = 0.002
    least_jacobian: float = 0.1
    trials: int = 4
    cubic: bool = True
    use_landmarks: bool = False

    def __post_init__(self) -> None:
        if not any(self.iterations) or min(self.iterations) < 0:
            raise OptionError(f"iterations {self.iterations} must be 0 or more, and not all 0.")
        if self.trials < 1:
            raise OptionError(f"trials must be at least 1, found {self.trials}.")

    @property
    def _linear(self) -> Linear:
        return self.linear or Linear(similarity=linear_similarity(self.similarity))

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.similarity)
        if pair.initial is not None and not isinstance(pair.initial, Affine):
            recorder.decide("The deformation starts from the initial transform that was given, as it is.")
            return self._from(fixed, moving, pair.initial, pair, recorder)
        return self.finish(fixed, moving, self._linear.explore(fixed, moving, pair, recorder), pair, recorder)

    def finish(self, fixed: Image, moving: Image, starts: Starts, pair: Pair, recorder: Recorder) -> Solution:
        """The solution that linear `starts` lead to, for images that are normalised already."""
        if not starts.found:
            return recorder.solution(Affine(np.eye(fixed.dim + 1)), None, Status.NO_OVERLAP)
        matrix = self._linear.follow(fixed, moving, starts, recorder)
        if self.trials > 1 and pair.initial is None:
            with recorder.timed("trials"):
                matrix = self._best_start(fixed, moving, matrix, starts, pair, recorder)
        return self._from(fixed, moving, Affine(matrix, fixed.grid.centre), pair, recorder)

    def _from(
        self, fixed: Image, moving: Image, start: Transform, pair: Pair, recorder: Recorder
    ) -> Solution:
        with recorder.timed("deformable"):
            field, grid = self._deform(fixed, moving, start, pair, recorder)
        with recorder.timed("inverse"):
            recorder.say("inverse", "computing the inverse")
            field, grid = tapered(field, grid)
            field, _ = unfold(field, self.least_jacobian)
            backward = Displacement(to_world(invert(field), grid), grid)
        transform = start @ Displacement(to_world(field, grid), grid)
        return recorder.solution(transform, backward @ start.inverse(), Status.SUCCEEDED)

    def grids(self, fixed: Image) -> list[tuple[Grid, int]]:
        """The orthogonal grid and the number of steps of every level, coarse to fine.

        They cover the box around what there is in the fixed image, and a margin.
        """
        weights = foreground_weights(fixed, threshold=0.05)
        start, stop = bounding_box(weights, share=0.0)
        size = float(np.prod((stop - start) * fixed.grid.spacing) ** (1 / fixed.dim))
        own = float(np.prod(fixed.grid.spacing) ** (1 / fixed.dim))
        finest = self.finest or max(own, size / _FINEST_SIZE[fixed.dim])
        spacings = [finest * 2.0**k for k in reversed(range(len(self.iterations)))]
        levels = [
            (s, n) for s, n in zip(spacings, self.iterations) if s <= size / self.coarsest or s == finest
        ]
        while levels[-1][1] == 0 and len(levels) > 1:
            levels.pop()
        margin = np.ceil(6 * finest / fixed.grid.spacing).astype(int)
        cropped = fixed.grid.cropped(
            np.maximum(start - margin, 0), np.minimum(stop + margin, fixed.grid.shape)
        )
        alike = np.abs(fixed.grid.spacing / finest - 1).max() < 0.05 and fixed.grid.is_orthogonal
        whole = cropped if alike else cropped.orthogonalised(finest)
        grids = [
            (whole if s == finest else whole.orthogonalised(whole.spacing * (s / finest)), n)
            for s, n in levels
        ]
        return [(grid, max(n, min(_WORK // grid.size, _MOST_STEPS))) for grid, n in grids]

    def _best_start(self, fixed, moving, matrix: np.ndarray, starts: Starts, pair: Pair, recorder: Recorder):
        """The matrix from which a short deformation at the coarsest levels ends best."""
        tried = [("linear optimum", matrix)]
        others = [(s.origin, s.matrix) for s in starts.found[:2]] if fixed.dim == 2 else []
        if fixed.dim == 2 or fixed.grid.matches(moving.grid):
            others.append(("header", np.eye(fixed.dim + 1)))
        for name, other in others:
            if all(apart(other, m, starts.probes) > 0.02 * starts.radius for _, m in tried):
                tried.append((name, other))
        tried = tried[: self.trials]
        if len(tried) == 1:
            return matrix
        recorder.say("trials", "trying linear starts")
        levels = self.grids(fixed)
        short = [(grid, 30) for grid, _ in levels[:2] if grid is levels[0][0] or grid.size < _TRIAL_VOXELS]
        ends = [(self._descend(short, fixed, moving, Affine(m), pair), Affine(m)) for _, m in tried]
        compared = [self._level(grid, fixed, moving, start, pair) for (_, grid), start in ends]
        values = compare(compared, [field for (field, _), _ in ends], self.similarity)
        # the linear optimum goes on unless another is better by more than chance
        needed = values[0] - _BETTER * abs(WORST[self.similarity.name] - values[0])
        best = int(np.argmin(values)) if min(values) < needed else 0
        told = ", ".join(f"{name} {value:.3f}" for (name, _), value in zip(tried, values))
        recorder.decide(
            f"Tried on the coarsest levels ({told}), the deformation starts from the {tried[best][0]}."
        )
        return tried[best][1]

    def _deform(self, fixed, moving, start: Transform, pair: Pair, recorder: Recorder):
        levels = self.grids(fixed)

        def notify(number: int, iterations: int, iteration: int, value: float) -> None:
            recorder.step("deformable", number, len(levels), iteration, iterations, value)

        return self._descend(levels, fixed, moving, start, pair, notify)

    def _descend(self, levels, fixed, moving, start: Transform, pair: Pair, notify=lambda *_: None):
        """The field (voxels) that following `levels` down ends at, and its grid."""
        grid = levels[0][0]
        usual = (3.0, 1.0) if grid.dim == 2 else (2.0, 0.5)
        # an image of few voxels has no room for wide kernels: what they get wrong, no finer level would mend
        room = levels[-1][0].size ** (1 / grid.dim) / _ROOM
        force_sigma = min(self.force_sigma or usual[0], room)
        field_sigma = min(self.field_sigma or usual[1], room / 2)
        rule = Rule(force_sigma, field_sigma, self.step, self.tolerance)
        field = torch.zeros((grid.dim, *grid.shape))
        for number, (target, iterations) in enumerate(levels, start=1):
            if number > 1:
                field, _ = unfold(field, self.least_jacobian)
                field = to_level(field, grid, target)
            grid = target
            level = self._level(grid, fixed, moving, start, pair)

            def step(
                iteration: int, value: float, number: int = number, iterations: int = iterations
            ) -> None:
                notify(number, iterations, iteration, value)

            field = descend(level, field, self.similarity, rule, iterations, step)
        return field, grid

    def _level(self, grid: Grid, fixed: Image, moving: Image, start: Transform, pair: Pair) -> Level:
        f = resample_smooth(fixed.data, fixed.grid, grid, cubic=self.cubic)
        fixed_mask = (
            None if fixed.mask is None else _mask_on(fixed.mask, fixed.grid, grid, np.eye(grid.dim + 1))
        )
        m, known = _through(moving, start, grid, self.cubic)
        landmarks = None
        if self.use_landmarks and pair.fixed_points is not None and pair.moving_points is not None:
            targets = start.inverse()(pair.moving_points.world)
            landmarks = grid.index(pair.fixed_points.world), grid.index(targets)
        return Level(grid, f, m, fixed_mask, known, landmarks)


def _mask_on(mask: torch.Tensor, source: Grid, target: Grid, matrix: np.ndarray) -> torch.Tensor | None:
    """`mask` on `target`, or None where it covers all of it."""
    index = source.inverse_affine @ matrix @ target.affine
    inside = sample_affine(mask.to(torch.float32)[None], index, target.shape, "zero")[0] > 0.5
    return None if bool(inside.all()) else inside


def _through(
    moving: Image, start: Transform, grid: Grid, cubic: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The moving image on `grid` through `start`, smoothed as the grid needs, and where it is known."""
    mask = torch.ones(moving.grid.shape, dtype=torch.bool) if moving.mask is None else moving.mask
    if isinstance(start, Affine):
        data = resample_smooth(moving.data, moving.grid, grid, start.matrix, cubic)
        return data, _mask_on(mask, moving.grid, grid, start.matrix)
    steps = grid.spacing.mean() / moving.grid.spacing
    data = gaussian(moving.data.contiguous(), 0.5 * np.sqrt(np.maximum(steps**2 - 1, 0)))
    index = torch.from_numpy(
        np.ascontiguousarray(np.moveaxis(moving.grid.index(start(grid.points())), -1, 0))
    )
    known = sample(mask.to(torch.float32)[None], index, "linear", "zero")[0] > 0.5
    return sample(data, index, "cubic" if cubic else "linear", "edge"), None if bool(known.all()) else known
