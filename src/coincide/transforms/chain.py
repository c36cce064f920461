"""Composition of transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.errors import DimensionError
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine, identity


@dataclass(frozen=True, eq=False)
class Chain(Transform):
    """Several transforms one after the other: `Chain((a, b))(x) == a(b(x))`. Made with `@` or `chain`."""

    members: tuple[Transform, ...]

    @property
    def dim(self) -> int:
        return self.members[0].dim

    def _map(self, points: np.ndarray) -> np.ndarray:
        for member in reversed(self.members):
            points = member._map(points)
        return points

    def inverse(self) -> Transform:
        return chain(*(member.inverse() for member in reversed(self.members)))

    def parts(self) -> tuple[Transform, ...]:
        return self.members


def chain(*transforms: Transform) -> Transform:
    """The composition of `transforms`, outermost (applied last) first; neighbouring linear ones become one.

    Raises:
        DimensionError: 2-D and 3-D transforms are mixed, or there is none.
    """
    if len({t.dim for t in transforms}) != 1:
        raise DimensionError(f"cannot compose transforms of dimensions {[t.dim for t in transforms]}.")
    members: list[Transform] = []
    for transform in (part for t in transforms for part in t.parts()):
        if isinstance(transform, Affine) and members and isinstance(members[-1], Affine):
            members[-1] = Affine(members[-1].matrix @ transform.matrix, transform.centre)
        else:
            members.append(transform)
    if len(members) > 1:
        members = [
            m for m in members if not (isinstance(m, Affine) and np.array_equal(m.matrix, np.eye(m.dim + 1)))
        ]
    return (
        members[0] if len(members) == 1 else Chain(tuple(members)) if members else identity(transforms[0].dim)
    )
