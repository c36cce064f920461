"""A start that a network answers with when it is shown both images, followed by the linear optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import DimensionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context, Solution, Status
from coincide.methods.classical.linear import normalised
from coincide.methods.learned.start import StartOptions
from coincide.methods.learned.view import shown
from coincide.methods.recorder import Recorder
from coincide.networks import RegressorNetwork, chosen
from coincide.optimise.starts import Start
from coincide.pair import Pair
from coincide.preprocess.foreground import Moments, foreground_weights, moments
from coincide.preprocess.shrink import shrink
from coincide.transforms.linear import Affine, about

_FINER = 0.6
"""Voxel size, as a share of the network's, at which the images are turned: smoothed once, not for every turn."""


@dataclass(frozen=True)
class Regressor(StartOptions):
    """Linear registration from the transform that a network answers with when it sees both images at once.

    The network is shown the moving image as it stands and turned several ways, its middle on that of the fixed one.
    Its answers and the start from the headers (or the initial transform) are refined at a coarse level, and the best
    ones by similarity followed.

    Args:
        alone: the network's answer is the result as it stands; of several, the one by which the images are most alike.
    """

    alone: bool = False

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        network = chosen("regressor", self.weights)
        if pair.dim != network.dim:
            raise DimensionError(
                f"the network knows {network.dim}-D images, found a {pair.dim}-D pair. Use auto, or give weights of a "
                f"{pair.dim}-D one."
            )
        header = self._header(pair)
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.similarity)
        with recorder.timed("regressor"):
            recorder.say("regressor", "asking the network")
            found, masses = answers(network, fixed, moving, self.looks, self._turned(header))
            found = [held(matrix, self.model, masses[0].centre) for matrix in found]
        if self.alone:
            return self._best(found, (fixed, moving), masses, recorder)
        with recorder.timed("start"):
            starts = self._starts((fixed, moving), masses, header, found, recorder)
        return self._linear.finish(fixed, moving, starts, pair, recorder)

    def _best(
        self,
        found: Sequence[np.ndarray],
        images: tuple[Image, Image],
        masses: tuple[Moments, Moments],
        recorder: Recorder,
    ) -> Solution:
        """The answer by which the images are most alike, nothing refined."""
        _, _, scores = self._scored(images, masses, [Start(matrix, "network") for matrix in found])
        if not scores:
            return recorder.solution(Affine(np.eye(images[0].dim + 1)), None, Status.NO_OVERLAP)
        best = min(scores, key=lambda start: start.score)
        recorder.evidence |= {"start_score": best.score}
        transform = Affine(best.matrix, images[0].grid.centre)
        return recorder.solution(transform, transform.inverse(), Status.SUCCEEDED)


def answers(
    network: RegressorNetwork,
    fixed: Image,
    moving: Image,
    looks: int,
    turns: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], tuple[Moments, Moments]]:
    """What `network` answers for two images that are normalised already.

    Args:
        network: of the images' dimension.
        fixed: image.
        moving: image.
        looks: how often it looks in a row, each time with the moving image as laid by what it said before.
        turns: rotations by which the moving image is turned back for the first look.

    Returns:
        A homogeneous matrix (fixed-world mm → moving-world mm) for each of `turns`, and where the brightness of the
        images lies.
    """
    fixed, moving = (shrink(image, _FINER * network.spacing) for image in (fixed, moving))
    ours, theirs = (moments(image, foreground_weights(image)) for image in (fixed, moving))
    cube, still = _cube(network, ours.centre), np.eye(fixed.dim + 1)
    here = shown(fixed, cube, still)[None]
    unit = about(network.half * np.eye(fixed.dim), cube.centre, np.zeros(fixed.dim)).matrix
    back, found = np.linalg.inv(unit), []
    for turn in turns:
        matrix = about(turn, theirs.centre - ours.centre, ours.centre).matrix
        for _ in range(looks):
            with torch.inference_mode():
                step = network(here, shown(moving, cube, matrix)[None]).matrices[0]
            matrix = matrix @ unit @ step.double().numpy() @ back
        found.append(matrix)
    return found, (ours, theirs)


def held(matrix: np.ndarray, model: str, centre: np.ndarray) -> np.ndarray:
    """The transform of `model` closest to a linear one, that puts `centre` (mm) where it does."""
    linear = matrix[:-1, :-1]
    if model != "affine":
        left, lengths, right = np.linalg.svd(linear)
        size = np.prod(lengths) ** (1 / len(lengths)) if model == "similarity" else 1.0
        linear = size * left @ right
    return about(linear, Affine(matrix)(centre[None])[0] - centre, centre).matrix


def _cube(network: RegressorNetwork, centre: np.ndarray) -> Grid:
    """The network's field of view around `centre` (mm), its axes along the world's."""
    shape = (network.shape,) * network.dim
    return Grid.from_spacing(shape, network.spacing, centre - (network.shape - 1) / 2 * network.spacing)
