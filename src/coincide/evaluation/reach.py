"""From how bad a header a method still finds its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.verdict import judge
from coincide.methods.base import AbstractMethod
from coincide.pair import Pair
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.normalise import normalise
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine, about

_POINTS = 2000
_LINEAR = {"field": {"folding_any_percent": 0.0}}
"""What is measured of a linear transform that a verdict goes by."""


@dataclass(frozen=True)
class Attempt:
    """One registration from a header that was moved.

    Args:
        degrees: by which the moving image's header was turned.
        error: mm, mean distance in the fixed anatomy from the result with the good header.
        seconds: processor time of all threads.
        verdict: its level, None where nothing was judged.
    """

    degrees: float
    error: float
    seconds: float
    verdict: str | None = None


def motions(
    number: int, seed: int, rotation: float = 90.0, shift: float = 80.0
) -> list[tuple[float, np.ndarray]]:
    """Seeded motions of a header: degrees, and a homogeneous matrix (mm) about the origin.

    Args:
        number: how many.
        seed: of the randomness.
        rotation: the largest turn in degrees; turns are even from 0 up, about axes that are even over the sphere.
        shift: mm, the largest along each axis.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(number):
        axis, degrees = rng.standard_normal(3), rng.uniform(0, rotation)
        turn = Rotation.from_rotvec(degrees * axis / np.linalg.norm(axis), degrees=True).as_matrix()
        found.append((degrees, about(turn, rng.uniform(-shift, shift, 3), np.zeros(3)).matrix))
    return found


def with_moved_header(image: Image, matrix: np.ndarray) -> tuple[Image, Affine]:
    """The image with its header moved about the middle of its field of view, and the motion that this amounts to.

    Args:
        image: its voxels stay as they are.
        matrix: homogeneous, mm, about the origin.

    Returns:
        The image, and the map from its old world to its new one, mm.
    """
    centre = image.grid.centre
    motion = np.eye(4)
    motion[:3, :3] = matrix[:3, :3]
    motion[:3, 3] = centre + matrix[:3, 3] - matrix[:3, :3] @ centre
    return replace(image, grid=Grid(image.grid.shape, motion @ image.grid.affine)), Affine(motion)


def attempts(
    pair: Pair,
    method: AbstractMethod,
    reference: Transform,
    starts: Sequence[tuple[float, np.ndarray]],
    judged: Callable[[int, float], bool] = lambda number, error: False,
) -> list[Attempt]:
    """What `method` makes of a 3-D pair from each of `starts`.

    Args:
        pair: with its good header.
        method: to try.
        reference: the right answer, fixed-world mm → moving-world mm.
        starts: as `motions` makes them.
        judged: told the number of a start, from 0, and the error there: whether a verdict on it is wanted, which takes
            as long as the registration.
    """
    points = _anatomy(pair.fixed)
    right, found = reference(points), []
    for number, (degrees, matrix) in enumerate(starts):
        moving, motion = with_moved_header(pair.moving, matrix)
        moved = replace(pair, moving=moving)
        begun = time.process_time()
        solution = method.solve(moved)
        seconds = time.process_time() - begun
        error = float(np.linalg.norm(solution.transform(points) - motion(right), axis=1).mean())
        verdict = judge(moved, solution, _LINEAR).level if judged(number, error) else None
        found.append(Attempt(degrees, error, seconds, verdict))
    return found


def _anatomy(image: Image) -> np.ndarray:
    """Places evenly strided over the anatomy of an image, `(number, 3)` world mm."""
    inside = np.argwhere(foreground_weights(normalise(image)).numpy() > 0)
    return image.grid.world(inside[:: max(1, len(inside) // _POINTS)])
