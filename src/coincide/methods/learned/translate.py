"""Deformable registration of pictures of one contrast, which a network painted from those of any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.bending import level_of
from coincide.methods.classical.linear import Linear
from coincide.methods.learned.hybrid import schedule
from coincide.methods.learned.pyramid import linear_part
from coincide.methods.parts import Part, linear_parts
from coincide.methods.recorder import Recorder
from coincide.networks import chosen
from coincide.networks.slices import along_every_axis
from coincide.optimise.deformable import compare
from coincide.pair import Pair
from coincide.preprocess.shrink import coarse_grid, shrink
from coincide.similarity import MIND, Similarity
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine

_LOOK = 12e-6
"""Processor seconds for each voxel that the network paints, at most."""


@dataclass(frozen=True)
class Translate(AbstractMethod):
    """A linear start; a network paints the moving image in the contrast of T1; then the optimiser.

    The network sees slices, of a volume along each axis in turn, and learned from made-up heads alone. What it paints
    is only looked at: the result is a transform of the images themselves. The better of the linear start and the
    result is kept, by MIND on the images as they were, which knows nothing of the network.

    Args:
        linear: what finds the linear part; an affine registration by NMI where left out.
        painted: whether the moving image alone is painted, as the fixed one is T1 already, or both.
        similarity: what the optimiser follows on the painted images. Painting blurs, which LNCC takes at its word.
        weights: a file that `coincide train` wrote; those that come with coincide where empty.
    """

    linear: Linear | None = None
    painted: Literal["moving", "both"] = "moving"
    similarity: Similarity = MIND()  # noqa: RUF009 - frozen
    weights: str = ""

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        voxels = sum(coarse_grid(image.grid, 2.0).size for image in (pair.fixed, pair.moving))
        bent = schedule(self.similarity).parts(pair)
        return (*linear_parts(pair), Part("translate", 0, _LOOK * voxels), *bent[3:])

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        start, fixed, moving = linear_part(self.linear, pair, recorder, flat=True)
        if start is None:
            return recorder.solution(Affine(np.eye(pair.dim + 1)), None, Status.NO_OVERLAP)
        network = chosen("translate", self.weights)
        with recorder.timed("translate"):
            recorder.say("translate", "painting the images in one contrast")
            there = translated(network, moving)
            here = translated(network, fixed) if self.painted == "both" else fixed
        found = schedule(self.similarity).bend(here, there, start, pair, recorder)
        values = [unlike(fixed, moving, way) for way in (start, found.transform)]
        recorder.evidence |= {f"value_{n}": value for n, value in enumerate(values)}
        better = values[1] < values[0]
        recorder.decide(
            f"By {MIND.name} on the images themselves (linear start {values[0]:.4f}, result {values[1]:.4f}) the "
            f"{'result' if better else 'linear start'} is the better one."
        )
        transform, inverse = (found.transform, found.inverse) if better else (start, start.inverse())
        return recorder.solution(transform, inverse, Status.SUCCEEDED)


def translated(network: Any, image: Image) -> Image:
    """`image` as the network paints it, on voxels of about the network's.

    Args:
        network: 2-D.
        image: normalised.
    """
    small = shrink(image, network.spacing)
    found = along_every_axis(network, small.data[:1].contiguous(), network.multiple).mean(0)
    return Image(found.contiguous(), small.grid, mask=small.mask, name=f"{image.name}, painted")


def unlike(fixed: Image, moving: Image, way: Transform) -> float:
    """How unlike two images are by MIND through `way` (fixed-world mm → moving-world mm), on voxels of about 2 mm."""
    level = level_of(coarse_grid(fixed.grid, 2.0), fixed, moving, way, False)
    still = torch.zeros(fixed.dim, *level.grid.shape)
    return compare([level], [still], MIND(dilation=1))[0]
