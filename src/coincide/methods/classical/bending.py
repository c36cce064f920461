"""What methods that bend do alike: a linear start, levels from coarse to fine, a field that does not fold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.linear import Linear, Starts, linear_similarity, normalised
from coincide.methods.parts import INVERSE, Part, level_parts, linear_parts
from coincide.methods.recorder import Recorder
from coincide.ops.field import inverse
from coincide.ops.memory import DEFORMED, require
from coincide.ops.sample import sample, sample_affine
from coincide.ops.smooth import gaussian
from coincide.optimise.deformable import Level, compare, tapered, to_level
from coincide.optimise.progress import Event
from coincide.optimise.starts import apart
from coincide.options import Count, NotNegative, Range, ShareBelowOne, Whole
from coincide.pair import Pair
from coincide.preprocess.foreground import bounding_box, foreground_weights
from coincide.preprocess.shrink import resample_smooth
from coincide.regularity.folding import unfold
from coincide.similarity import Similarity
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement, to_world
from coincide.transforms.linear import Affine

_MOST = {2: 500.0, 3: 220.0}
_BETTER = 0.005
"""Share of the gain over unrelated images by which another start must beat the linear optimum."""
_WORK, _MOST_STEPS = 40_000_000, 100
"""Voxels times steps that any level may take, as they cost little; and the steps that are enough for every level."""
_TRIAL_VOXELS, _TRIAL_STEPS = 150_000, 30
"""Trials go on to the second level only where it is smaller than this; and the steps they take on each."""
_THICK = 3.0
"""Times the width of a voxel from which slices are told of."""


@dataclass(frozen=True)
class Bending(AbstractMethod):
    """What methods that bend do alike; each says how it follows one level.

    Levels stand at fixed sizes in mm, so lengths do not change with the images' resolution. A linear part that fits the
    whole as well as it can is not always the best start for a deformation: where a liver slides along the ribs it
    spoils both. So some others (in 2-D the runners-up and the header's; in 3-D the header's, for two images on one
    grid, as frames of one examination are) are carried through the coarsest levels too, and the one that ends best
    goes on.

    Args:
        linear: what finds the linear part; an affine registration by the same similarity, or what comes nearest to it,
            where left out.
        iterations: the most steps, per level, coarse to fine; each level is twice as fine as the one before, the last
            stands at `finest`. Levels too coarse for the anatomy are left out, and so are last ones with 0 steps.
        finest: voxel size of the finest level, mm; 0 takes the fixed image's mean one, or a larger, see `most`.
        most: voxels along the anatomy's size on the finest level, unless `finest` says otherwise: more cost much and
            bring little; 0 takes 500 for pictures and 220 for volumes.
        coarsest: the fewest voxels along the anatomy's size on a level; what is coarser is left out.
        least_jacobian: smallest Jacobian determinant the result may have.
        trials: linear starts that are tried on the coarsest levels; 1 takes the linear part as it is.
        cubic: whether the images are interpolated by cubic B-splines on the finest levels. Images of one person match
            to a few hundredths of a voxel then, instead of a tenth; between people it costs time and brings nothing.

    Raises:
        OptionError: a number out of its range, or no iterations.
    """

    heeds_lesions: ClassVar[bool] = True
    costs: ClassVar[float] = 45e-9
    """Processor seconds per voxel and iteration, at most."""

    linear: Linear | None = None
    iterations: tuple[Whole, ...] = (100, 100, 100, 100, 50, 10)
    finest: NotNegative = 0.0
    most: NotNegative = 0.0
    coarsest: Annotated[float, Range(4)] = 26.0
    least_jacobian: ShareBelowOne = 0.1
    trials: Count = 4
    cubic: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(self.iterations):
            raise OptionError(f"iterations must not all be 0, found {self.iterations}.")

    @property
    @abstractmethod
    def compared(self) -> Similarity:
        """The similarity that the linear part and the trials go by."""

    @abstractmethod
    def _follow(
        self,
        level: Level,
        field: torch.Tensor,
        iterations: int,
        finest: float,
        start: Transform,
        pair: Pair,
        notify: Callable[[int, float], None],
    ) -> torch.Tensor:
        """The field `(dim, *shape)` (voxels of the level) that a level leads to.

        Args:
            level: its images.
            field: where to start.
            iterations: the most there may be.
            finest: voxels along an axis of the finest level that will be followed.
            start: what comes after the field, fixed-world mm → moving-world mm.
            pair: what is registered.
            notify: told the number of each iteration and the value there.
        """

    @property
    def _linear(self) -> Linear:
        return self.linear or Linear(similarity=linear_similarity(self.compared))

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        levels = self.grids(pair.fixed)
        coarse = sum(_TRIAL_STEPS * grid.size for grid, _ in levels[:2])
        trials = Part("trials", 0, self.costs * self.trials * coarse if self.trials > 1 else 0.0)
        inverse = Part("inverse", 0, INVERSE * levels[-1][0].size)
        return (*linear_parts(pair), trials, *level_parts(levels, self.costs), inverse)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.compared)
        if pair.initial is not None and not isinstance(pair.initial, Affine):
            return self.bend(fixed, moving, pair.initial, pair, recorder)
        return self.finish(fixed, moving, self._linear.explore(fixed, moving, pair, recorder), pair, recorder)

    def finish(self, fixed: Image, moving: Image, starts: Starts, pair: Pair, recorder: Recorder) -> Solution:
        """The solution that linear `starts` lead to, for images that are normalised already."""
        if not starts.found:
            return recorder.solution(Affine(np.eye(fixed.dim + 1)), None, Status.NO_OVERLAP)
        matrix = self._linear.follow(fixed, moving, starts, recorder)
        if self.trials > 1 and pair.initial is None:
            with recorder.timed("trials"):
                matrix = self._best_start(fixed, moving, matrix, starts, pair, recorder)
        return self.bend(fixed, moving, Affine(matrix, fixed.grid.centre), pair, recorder)

    def bend(self, fixed: Image, moving: Image, start: Transform, pair: Pair, recorder: Recorder) -> Solution:
        """The solution that a deformation after `start` leads to, for images that are normalised already."""
        if start is pair.initial:
            recorder.decide("The deformation starts from the initial transform that was given, as it is.")
        for image in (fixed, moving):
            told = _told_of_slices(image)
            if told:
                recorder.decide(told)
        with recorder.timed("deformable"):
            levels = self.grids(fixed)
            field, grid = self._deform(levels, fixed, moving, start, pair, recorder)
        with recorder.timed("inverse"):
            recorder.say("inverse", "computing the inverse")
            field, grid = tapered(field, grid)
            field, _ = unfold(field, self.least_jacobian)
            backward = Displacement(to_world(inverse(field), grid), grid)
        transform = start @ Displacement(to_world(field, grid), grid)
        solution = recorder.solution(transform, backward @ start.inverse(), Status.SUCCEEDED)
        # after a start that was given no linear part has run
        ran = self.resolved(levels)
        return replace(solution, ran=replace(ran, linear=None) if start is pair.initial else ran)

    def resolved(self, levels: list[tuple[Grid, int]]) -> Bending:
        """This method with what it works out, and the `levels` of `grids`, in the place of what was left open."""
        last = levels[-1][0]
        finest = float(np.prod(last.spacing) ** (1 / last.dim))
        return replace(self, linear=self._linear, finest=finest, iterations=tuple(n for _, n in levels))

    def grids(self, fixed: Image) -> list[tuple[Grid, int]]:
        """The orthogonal grid and the number of steps of every level, coarse to fine.

        They cover the box around what there is in the fixed image, and a margin.

        Raises:
            ResourceError: memory would not suffice for a finest level as fine as that.
        """
        weights = foreground_weights(fixed, threshold=0.05)
        start, stop = bounding_box(weights, share=0.0)
        size = float(np.prod((stop - start) * fixed.grid.spacing) ** (1 / fixed.dim))
        own = float(np.prod(fixed.grid.spacing) ** (1 / fixed.dim))
        finest = self.finest or max(own, size / (self.most or _MOST[fixed.dim]))
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
        if self.finest:
            size = grids[-1][0].size
            require(DEFORMED * size, f"deforming {size:,} voxels of {finest:g} mm", "Take a larger finest.")
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
        short = [
            (grid, _TRIAL_STEPS)
            for grid, _ in levels[:2]
            if grid is levels[0][0] or grid.size < _TRIAL_VOXELS
        ]
        ends = []
        for number, (_, m) in enumerate(tried, start=1):
            recorder.progress(Event("trials", level=number, levels=len(tried)))
            ends.append((self._descend(short, fixed, moving, Affine(m), pair), Affine(m)))
        levels = [level_of(grid, fixed, moving, start, self.cubic) for (_, grid), start in ends]
        values = compare(levels, [field for (field, _), _ in ends], self.compared)
        # the linear optimum goes on unless another is better by more than chance
        needed = values[0] - _BETTER * abs(self.compared.worst - values[0])
        best = int(np.argmin(values)) if min(values) < needed else 0
        told = ", ".join(f"{name} {value:.3f}" for (name, _), value in zip(tried, values))
        recorder.decide(
            f"Tried on the coarsest levels ({told}), the deformation starts from the {tried[best][0]}."
        )
        return tried[best][1]

    def _deform(self, levels, fixed, moving, start: Transform, pair: Pair, recorder: Recorder):
        def notify(number: int, iterations: int, iteration: int, value: float) -> None:
            recorder.step("deformable", number, len(levels), iteration, iterations, value)

        return self._descend(levels, fixed, moving, start, pair, notify)

    def _descend(self, levels, fixed, moving, start: Transform, pair: Pair, notify=lambda *_: None):
        """The field (voxels) that following `levels` down ends at, and its grid."""
        grids = [grid for grid, _ in levels]
        finest = grids[-1].size ** (1 / fixed.dim)

        def follow(number: int, field: torch.Tensor) -> torch.Tensor:
            iterations = levels[number][1]
            level = level_of(grids[number], fixed, moving, start, self.cubic)

            def step(iteration: int, value: float) -> None:
                notify(number + 1, iterations, iteration, value)

            return self._follow(level, field, iterations, finest, start, pair, step)

        field = torch.zeros((fixed.dim, *grids[0].shape))
        return coarse_to_fine(grids, field, self.least_jacobian, follow), grids[-1]


def _told_of_slices(image: Image) -> str:
    """What a person should know of slices that are thick; nothing where they are not."""
    thin, thick = image.grid.spacing.min(), image.grid.spacing.max()
    if image.dim == 2 or thick < _THICK * thin:
        return ""
    return (
        f"{image.name}: slices of {thick:.3g} mm are {thick / thin:.1f} times as thick as its voxels are wide; between "
        "them the deformation rests on its own smoothness. Between series of one visit take a rigid transform."
    )


def coarse_to_fine(
    grids: Sequence[Grid],
    field: torch.Tensor,
    least_jacobian: float,
    follow: Callable[[int, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The field (voxels of the last of `grids`) that levels lead to, each begun where the one before ended, mended.

    Args:
        grids: of the levels, coarse to fine.
        field: where to start, voxels of the first.
        least_jacobian: the smallest determinant that a level may begin with, but for the first.
        follow: told the number of a level, from 0, and the field there: where that leads to.
    """
    for number, grid in enumerate(grids):
        if number:
            field, _ = unfold(field, least_jacobian)
            field = to_level(field, grids[number - 1], grid)
        field = follow(number, field)
    return field


def level_of(grid: Grid, fixed: Image, moving: Image, start: Transform, cubic: bool = True) -> Level:
    """Both images, normalised already, on the grid of a level.

    Args:
        grid: orthogonal.
        fixed: the fixed image.
        moving: the moving image.
        start: through which it is seen, fixed-world mm → moving-world mm.
        cubic: as in `Bending`.
    """
    f = resample_smooth(fixed.data, fixed.grid, grid, cubic=cubic)
    fixed_mask = None if fixed.mask is None else _mask_on(fixed.mask, fixed.grid, grid, np.eye(grid.dim + 1))
    m, known = _through(moving, start, grid, cubic)
    return Level(grid, f, m, fixed_mask, known)


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
