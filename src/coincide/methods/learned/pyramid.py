"""Deformable registration by a network: a linear start, then one velocity field that it answers with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from coincide.errors import DimensionError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.field import settled
from coincide.methods.classical.linear import Linear, normalised
from coincide.methods.learned.view import shown
from coincide.methods.parts import INVERSE, Part, linear_parts
from coincide.methods.recorder import Recorder
from coincide.networks import chosen
from coincide.networks.flow import refined
from coincide.networks.inference import inference
from coincide.ops.field import exponentiate
from coincide.optimise.deformable import tapered
from coincide.options import Fraction, NotNegative, Positive
from coincide.pair import Pair
from coincide.preprocess.foreground import bounding_box, foreground_weights
from coincide.similarity import NMI
from coincide.transforms.displacement import Displacement, to_world
from coincide.transforms.linear import Affine

_MARGIN = 8.0
"""Millimetres around the anatomy that the network sees."""
_FEWEST, _MOST = 100_000, 2_500_000
"""Voxels that the network is shown; an anatomy that takes fewer or more of its own size is shown larger or smaller."""
_FINER = 0.75
"""How much finer than what it was trained on a network is shown images. What it has learned of voxels holds for smaller
ones too: between people, 0.015 to 0.024 of Dice are gained, and 0.2 mm between T1 and T2."""
_LOOK, _USUAL = 5e-6, 1.5
"""Processor seconds for each voxel of about so many mm that the network is shown, at most."""


@dataclass(frozen=True)
class FieldOptions(AbstractMethod):
    """What the methods share by which a network answers with one velocity field after a linear start.

    Args:
        linear: what finds the linear part; an affine registration by NMI where left out.
        weight: how much smoothness counts beside likeness; the network knows 0.3 to 10.
        spacing: mm of the voxels that the network is shown; 0 takes three quarters of those it was trained on.
        least_jacobian: smallest Jacobian determinant the result may have.
        weights: a file that `coincide train` wrote, or several with `+` between them: the mean of their answers
            counts, and how far they are apart is the uncertainty. Those that come with coincide where empty.

    Raises:
        OptionError: a number out of range.
    """

    network: ClassVar[str]
    """The kind of network that answers."""
    linear: Linear | None = None
    weight: Positive = 1.0
    spacing: NotNegative = 0.0
    least_jacobian: Fraction = 0.1
    weights: str = ""

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        return (*linear_parts(pair), *field_parts(pair, self.network))

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        start, fixed, moving = linear_part(self.linear, pair, recorder)
        if start is None:
            return recorder.solution(Affine(np.eye(4)), None, Status.NO_OVERLAP)
        with recorder.timed(self.network):
            recorder.say(self.network, "matching what the network sees")
            field, grid, spread = self.seen(fixed, moving, start)
        solution = finished(field, grid, start, self.least_jacobian, recorder)
        return replace(solution, uncertainty=spread)

    def seen(self, fixed: Image, moving: Image, start: Affine) -> tuple[torch.Tensor, Grid, Image | None]:
        """What the networks answer: the field, in voxels, its grid, and how far they are apart if there are several.

        Args:
            fixed: image, normalised.
            moving: image, normalised.
            start: fixed-world mm → moving-world mm.

        Raises:
            OptionError: networks that look at voxels of different sizes.
        """
        networks = [chosen(self.network, path) for path in self.weights.split("+")]
        if len({(network.spacing, network.multiple) for network in networks}) > 1:
            raise OptionError(
                f"the weights {self.weights} are of networks that look at different voxels. Take those of one recipe."
            )
        found = [predicted(network, fixed, moving, start, self.weight, self.spacing) for network in networks]
        fields, grid = torch.stack([field for field, _ in found]), found[0][1]
        if len(found) == 1:
            return fields[0], grid, None
        # the field comes first and the linear part after it: the axes of the fixed world are the field's
        spread = fields.std(0) * float(grid.spacing[0])
        return fields.mean(0), grid, Image(spread, grid, name="uncertainty")


@dataclass(frozen=True)
class Pyramid(FieldOptions):
    """Deformable registration at one look: a linear start, then the velocity field that a network answers with.

    The network matches what it sees in both images from coarse to fine, whatever their contrasts; it learned from
    made-up anatomies alone. Its answer to swapped images is the negative, so on one grid the way back is the inverse of
    the way there; the linear part before it has no such symmetry. The velocity is followed by scaling and squaring.
    """

    network: ClassVar[str] = "pyramid"


def field_parts(pair: Pair, network: str) -> tuple[Part, Part]:
    """The parts of a run that the field of a network of this kind and its inverse are."""
    grid = pair.fixed.grid
    voxels = float(np.clip(grid.size * grid.voxel_volume / _USUAL**grid.dim, _FEWEST, _MOST))
    return Part(network, 0, _LOOK * voxels), Part("inverse", 0, INVERSE * voxels)


def linear_part(
    linear: Linear | None, pair: Pair, recorder: Recorder, flat: bool = False
) -> tuple[Affine | None, Image, Image]:
    """The linear part before a network's field, None where the images do not overlap, and both images normalised.

    Args:
        linear: what finds it; an affine registration by NMI where left out.
        pair: with a linear initial transform or none.
        recorder: of the run.
        flat: whether the network takes 2-D images too.

    Raises:
        DimensionError: 2-D images that the network does not take.
        OptionError: a deformable initial transform.
    """
    if pair.dim != 3 and not flat:
        raise DimensionError("the shipped network knows volumes, found 2-D images. Use auto.")
    if pair.initial is not None and not isinstance(pair.initial, Affine):
        raise OptionError(
            "a network's field follows a linear start, found a deformable initial transform. Give a linear one, or "
            "none."
        )
    fixed, moving = normalised(pair, None)
    linear = linear or Linear(similarity=NMI())
    starts = linear.explore(fixed, moving, pair, recorder)
    if not starts.found:
        return None, fixed, moving
    return Affine(linear.follow(fixed, moving, starts, recorder), fixed.grid.centre), fixed, moving


def predicted(
    network: Any, fixed: Image, moving: Image, start: Affine, weight: float = 1.0, spacing: float = 0.0
) -> tuple[torch.Tensor, Grid]:
    """The field that `network` answers with, `(3, *shape)` in voxels, and its grid; `start` comes after it.

    Args:
        network: 3-D, of the kind pyramid or recurrent.
        fixed: image, normalised.
        moving: image, normalised.
        start: fixed-world mm → moving-world mm.
        weight: how much smoothness counts beside likeness.
        spacing: mm of the voxels it is shown; 0 takes three quarters of those it was trained on.
    """
    grid = view(fixed, network, spacing)
    images = [
        shown(image, grid, matrix)[None]
        for image, matrix in ((fixed, np.eye(fixed.dim + 1)), (moving, start.matrix))
    ]
    with inference():
        velocity = network(*images, torch.tensor([weight]))[-1].float()
        return exponentiate(refined(velocity)[0].contiguous()), grid


def finished(
    field: torch.Tensor, grid: Grid, start: Affine, least_jacobian: float, recorder: Recorder
) -> Solution:
    """The solution of `start` after a field in voxels of `grid`, smoothed where it folds, with its inverse."""
    with recorder.timed("inverse"):
        recorder.say("inverse", "computing the inverse")
        field, grid = tapered(field, grid)
        found = settled(Displacement(to_world(field, grid), grid), start, least_jacobian)
    if found.mended:
        recorder.decide(f"The field fell below the least Jacobian at {found.mended} voxels: smoothed there.")
    return recorder.solution(found.transform, found.inverse, Status.SUCCEEDED)


def view(fixed: Image, network: Any, spacing: float = 0.0) -> Grid:
    """The box around the anatomy of the fixed image as the network is shown it, its axes along the world's.

    Args:
        fixed: image.
        network: which is to see it.
        spacing: mm of the voxels, as long as these are neither too many nor too few; 0 takes three quarters of those
            it was trained on.
    """
    spacing = spacing or _FINER * network.spacing
    start, stop = bounding_box(foreground_weights(fixed, threshold=0.05), share=0.0)
    ends = np.stack(np.meshgrid(*zip(start, stop - 1), indexing="ij"), -1).reshape(-1, fixed.dim)
    corners = fixed.grid.world(ends)
    low, high = corners.min(0) - _MARGIN, corners.max(0) + _MARGIN
    voxels = float(np.prod((high - low) / spacing))
    step = spacing * (voxels / np.clip(voxels, _FEWEST, _MOST)) ** (1 / fixed.dim)
    shape = network.multiple * np.ceil((high - low) / step / network.multiple).astype(int)
    return Grid.from_spacing(tuple(map(int, shape)), step, (low + high - (shape - 1) * step) / 2)
