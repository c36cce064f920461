"""A transform made ready to carry whole lattices of points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from coincide.grid import Grid
from coincide.ops import follow
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine
from coincide.transforms.velocity import Velocity

Move = Callable[[np.ndarray, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Route:
    """The way of points through a transform; its linear parts are gathered in as few matrices as can be.

    Args:
        steps: matrices, each with the part that comes after it.
        last: the matrix after all of them.
    """

    steps: tuple[tuple[np.ndarray, Move], ...]
    last: np.ndarray

    def __call__(self, points: np.ndarray, inside: np.ndarray | None = None) -> None:
        """Carry a block of `points` (see `ops.follow`) in place.

        Args:
            points: `(3, number)`, positions in voxels of the grid the route starts from.
            inside: `(number)` bool, becomes False where a point leaves a displacement field it meets.
        """
        inside = np.ones(points.shape[1], dtype=bool) if inside is None else inside
        for matrix, move in self.steps:
            follow.turn(points, matrix)
            move(points, inside)
        follow.turn(points, self.last)


def route(parts: Sequence[Transform], start: Grid, end: Grid | None = None) -> Route:
    """The way from voxels of `start` to positions in voxels of `end`, or to world mm where it is left out.

    Args:
        parts: of a transform, outermost (applied last) first, as `Transform.parts` gives them.
        start: in the world the transform maps from.
        end: in the world it maps to.
    """
    steps: list[tuple[np.ndarray, Move]] = []
    matrix, dim = start.affine, start.dim
    for part in reversed(parts):
        if isinstance(part, Affine):
            matrix = part.matrix @ matrix
        elif isinstance(part, Displacement | Velocity):
            steps.append((follow.padded(part.grid.inverse_affine @ matrix, dim), _displacing(part)))
            matrix = part.grid.affine
        else:
            steps.append((follow.padded(matrix, dim), _mapping(part)))
            matrix = np.eye(dim + 1)
    matrix = matrix if end is None else end.inverse_affine @ matrix
    return Route(tuple(steps), follow.padded(matrix, dim))


def _displacing(part: Displacement | Velocity) -> Move:
    flow = part.displacement if isinstance(part, Velocity) else part
    field = flow.vectors.cpu().contiguous().numpy()
    matrix = follow.padded(part.grid.inverse_affine[:-1, :-1], part.dim)
    return lambda points, inside: follow.displace(points, field, matrix, inside)


def _mapping(part: Transform) -> Move:
    def move(points: np.ndarray, _: np.ndarray) -> None:
        points[: part.dim] = part._map(points[: part.dim].T.copy()).T

    return move
