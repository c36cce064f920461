"""A network's field as the start of the optimiser, which then has only its finest levels to go through."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.bending import level_of
from coincide.methods.classical.deformable import Deformable
from coincide.methods.learned.pyramid import Pyramid, field_parts, finished, linear_part
from coincide.methods.likeness import Likeness
from coincide.methods.parts import INVERSE, Part, level_parts, linear_parts
from coincide.methods.recorder import Recorder
from coincide.ops.sample import sample_affine
from coincide.optimise.deformable import Level, compare
from coincide.options import Whole
from coincide.pair import Pair
from coincide.regularity.folding import unfold
from coincide.similarity import LNCC, MIND, Similarity
from coincide.transforms.displacement import to_voxels, to_world
from coincide.transforms.linear import Affine

_STEP = 90e-9
"""Processor seconds per voxel and step of the optimiser, at most."""


@dataclass(frozen=True)
class Hybrid(AbstractMethod):
    """Linear, then a network's velocity field, then the optimiser of `deformable` on the finest levels alone.

    The better by similarity of the linear start, the network's field and the refined one is the result; none of them
    folds. The network's weights stay as they are.

    Args:
        pyramid: the linear part and the network's field.
        similarity: what the optimiser follows; where left out, LNCC for images of one contrast and MIND for others.
        iterations: the most steps on each of the finest levels, coarse to fine.

    Raises:
        OptionError: no level, or a number of steps below 0.
    """

    pyramid: Pyramid = Pyramid()  # noqa: RUF009 - frozen
    similarity: Similarity | None = None
    iterations: tuple[Whole, ...] = (40, 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.iterations:
            raise OptionError(
                "iterations names no level; expected a number of steps for each of one or more."
            )

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        look, inverse = field_parts(pair, self.pyramid.network)
        levels = schedule(self.similarity or MIND()).grids(pair.fixed)[-len(self.iterations) :]
        steps = [(grid, n) for (grid, _), n in zip(levels, self.iterations[-len(levels) :])]
        fine = replace(inverse, seconds=INVERSE * levels[-1][0].size)
        return (*linear_parts(pair), look, *level_parts(steps, _STEP), fine)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        start, fixed, moving = linear_part(self.pyramid.linear, pair, recorder)
        if start is None:
            return recorder.solution(Affine(np.eye(4)), None, Status.NO_OVERLAP)
        with recorder.timed("pyramid"):
            recorder.say("pyramid", "matching what the network sees")
            field, grid, spread = self.pyramid.seen(fixed, moving, start)
        with recorder.timed("deformable"):
            field, grid = self._refined(field, grid, fixed, moving, start, pair, recorder)
        solution = finished(field, grid, start, self.pyramid.least_jacobian, recorder)
        return replace(solution, uncertainty=spread)

    def _refined(
        self,
        field: torch.Tensor,
        grid: Grid,
        fixed: Image,
        moving: Image,
        start: Affine,
        pair: Pair,
        recorder: Recorder,
    ) -> tuple[torch.Tensor, Grid]:
        """The best of no field, the network's and the refined one, in voxels of the finest level's grid."""
        similarity = self.similarity or suited(fixed, moving, start)
        chosen = schedule(similarity)
        grids = [target for target, _ in chosen.grids(fixed)][-len(self.iterations) :]
        finest = grids[-1].size ** (1 / fixed.dim)
        levels = [level_of(target, fixed, moving, start, chosen.cubic) for target in grids]
        refined, own = field, grid
        for number, (level, steps) in enumerate(zip(levels, self.iterations[-len(levels) :]), start=1):

            def notify(iteration: int, value: float, number: int = number, steps: int = steps) -> None:
                recorder.step("deformable", number, len(levels), iteration, steps, value)

            refined, own = carried(refined, own, level.grid, self.pyramid.least_jacobian), level.grid
            refined = chosen._follow(level, refined, steps, finest, start, pair, notify)
        refined, _ = unfold(refined, self.pyramid.least_jacobian)
        network = carried(field, grid, own, self.pyramid.least_jacobian)
        fields = {
            "linear start": torch.zeros_like(network),
            "network's field": network,
            "refined field": refined,
        }
        return better(fields, levels[-1], similarity, recorder), own


def better(
    fields: dict[str, torch.Tensor], level: Level, similarity: Similarity, recorder: Recorder
) -> torch.Tensor:
    """That of `fields` (voxels of `level`, none of which folds) with the best similarity."""
    values = compare([level] * len(fields), list(fields.values()), similarity)
    best = int(np.argmin(values))
    told = ", ".join(f"{name} {value:.3f}" for name, value in zip(fields, values))
    recorder.decide(f"By {similarity.name} ({told}) the {list(fields)[best]} is the best.")
    recorder.evidence |= {f"value_{n}": value for n, value in enumerate(values)}
    return list(fields.values())[best]


def suited(fixed: Image, moving: Image, start: Affine) -> Similarity:
    """What to compare two images by that `start` lays on each other: LNCC where they have one contrast, else MIND."""
    return LNCC() if Likeness.of(fixed, moving, start).same_modality else MIND(dilation=1)


def schedule(similarity: Similarity) -> Deformable:
    """How `auto` follows `similarity` by default between two people, whose levels and steps the optimiser keeps to."""
    from coincide.methods.auto import Auto

    return Auto(similarity=similarity).deformable(similarity, 3, alike=0.0)


def carried(field: torch.Tensor, grid: Grid, target: Grid, least_jacobian: float) -> torch.Tensor:
    """`field` (voxels of `grid`) on `target`, in its voxels, smoothed where it folds there."""
    world = to_world(field, grid)
    index = grid.inverse_affine @ target.affine
    voxels = to_voxels(sample_affine(world.contiguous(), index, target.shape, "edge"), target)
    return unfold(voxels.contiguous(), least_jacobian)[0]
