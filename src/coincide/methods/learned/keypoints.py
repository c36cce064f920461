"""A start from keypoints that a network finds in each image by itself, followed by the linear optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from coincide.errors import DimensionError, PointsError
from coincide.features.matches import Matches
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context, Solution
from coincide.methods.classical.linear import normalised
from coincide.methods.learned.start import StartOptions
from coincide.methods.learned.view import shown
from coincide.methods.recorder import Recorder
from coincide.networks import KeypointNetwork, chosen
from coincide.optimise.fit import fit_linear
from coincide.pair import Pair
from coincide.preprocess.foreground import Moments, foreground_weights, moments
from coincide.preprocess.shrink import shrink
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine, about

_AGREES = 20.0
"""Millimetres from where the result puts it within which a keypoint counts as agreeing: it is the middle of a part of
the brain, and two people differ by so much."""
_FINER = 0.6
"""Voxel size, as a share of the network's, at which the images are turned: smoothed once, not for every turn."""


@dataclass(frozen=True)
class Keypoints(StartOptions):
    """Linear registration of brains and heads from the start that a network sees, whatever contrast and pose they have.

    The network finds the middles of parts of the brain in each image by itself; a rigid fit through them is a start.
    It is shown the moving image as it stands, and turned several ways, as it knows upright heads best. These starts and
    that from the headers (or the initial transform) are refined at a coarse level, and the best ones by similarity
    followed.
    """

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        if pair.dim != 3:
            raise DimensionError("the method keypoints knows heads in 3-D, found 2-D images. Use auto.")
        header = self._header(pair)
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.similarity)
        with recorder.timed("keypoints"):
            recorder.say("keypoints", "looking for the parts of the brain")
            network = chosen("keypoints", self.weights)
            seen = look(network, fixed, moving, self.looks, self._turned(header))
        with recorder.timed("start"):
            found = [view.matrix for view in seen.found]
            starts = self._starts((fixed, moving), seen.masses, header, found, recorder)
            recorder.evidence |= {"keypoint_starts": len(found)}
        solution = self._linear.finish(fixed, moving, starts, pair, recorder)
        return replace(solution, matches=_matches(seen.found, solution.transform))


@dataclass(frozen=True, eq=False)
class View:
    """What the network saw in two images, the moving one turned in some way.

    Args:
        fixed: `(keypoint, 3)` fixed-world mm.
        moving: `(keypoint, 3)` moving-world mm.
        weight: `(keypoint,)` how much of both images belongs to each, the largest 1.
        matrix: the rigid fit, fixed-world mm → moving-world mm.
    """

    fixed: np.ndarray
    moving: np.ndarray
    weight: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class Seen:
    """All that the network saw in two images.

    Args:
        found: one for each way the moving image was turned; fewer where the keypoints settle no fit.
        masses: where the brightness of the fixed and of the moving image lies.
    """

    found: tuple[View, ...]
    masses: tuple[Moments, Moments]


def look(
    network: KeypointNetwork,
    fixed: Image,
    moving: Image,
    looks: int = 1,
    turns: Sequence[np.ndarray] = (np.eye(3),),
) -> Seen:
    """What `network` sees in two images that are normalised already.

    Args:
        network: 3-D.
        fixed: image.
        moving: image.
        looks: how often it looks at the moving image in a row, each time as turned by what it found before.
        turns: rotations by which the moving image is turned back for the first look.
    """
    fixed, moving = (shrink(image, _FINER * network.spacing) for image in (fixed, moving))
    ours, theirs = (moments(image, foreground_weights(image)) for image in (fixed, moving))
    cube = _cube(network, ours.centre)
    here, size = _find(network, fixed, cube, np.eye(4))
    views = (
        _view(
            network,
            moving,
            cube,
            here,
            size,
            about(turn, theirs.centre - ours.centre, ours.centre).matrix,
            looks,
        )
        for turn in turns
    )
    return Seen(tuple(view for view in views if view is not None), (ours, theirs))


def _view(
    network: KeypointNetwork,
    moving: Image,
    cube: Grid,
    here: np.ndarray,
    size: np.ndarray,
    matrix: np.ndarray,
    looks: int,
) -> View | None:
    """Looks in a row at the moving image, first through `matrix`; None where the keypoints settle no fit."""
    view = None
    for _ in range(looks):
        there, other = _find(network, moving, cube, matrix)
        weight = np.sqrt(size * other)
        try:
            matrix = fit_linear(here, there, "rigid", weight)
        except PointsError:
            return None
        view = View(here, there, weight / weight.max(), matrix)
    return view


def _cube(network: KeypointNetwork, centre: np.ndarray) -> Grid:
    """The network's field of view around `centre` (mm), its axes along the world's."""
    shape = (network.shape,) * 3
    return Grid.from_spacing(shape, network.spacing, centre - (network.shape - 1) / 2 * network.spacing)


def _find(
    network: KeypointNetwork, image: Image, cube: Grid, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints `(number, 3)` in the image's world (mm), and how many voxels belong to each.

    Args:
        network: 3-D.
        image: normalised.
        cube: the network's field of view.
        matrix: from the cube's world to the image's, mm.
    """
    with torch.inference_mode():
        found = network(shown(image, cube, matrix)[None])
    centres = cube.world(found.centres[0].double().numpy())
    return Affine(matrix)(centres), found.masses[0].double().numpy()


def _matches(found: Sequence[View], transform: Transform) -> Matches | None:
    """The keypoints of the view that comes closest to the result."""
    off = [np.linalg.norm(transform(view.fixed) - view.moving, axis=1) for view in found]
    if not off:
        return None
    best = int(np.argmin([each.mean() for each in off]))
    view = found[best]
    return Matches(view.fixed, view.moving, off[best] < _AGREES, view.weight)
