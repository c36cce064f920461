"""Named landmarks in world millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coincide.errors import PointsError


@dataclass(frozen=True, eq=False)
class Points:
    """Named landmarks.

    Args:
        world: `(number, dim)` positions in world mm (RAS+ in 3-D).
        names: one name each; `1`, `2`, … where left out.
        named: whether names were given.

    Raises:
        PointsError: not 2-D or 3-D positions, not finite, or names that do not fit.
    """

    world: np.ndarray
    names: tuple[str, ...] = ()
    named: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        world = np.array(self.world, dtype=np.float64)
        if world.ndim != 2 or world.shape[1] not in (2, 3):
            raise PointsError(
                f"points are (number, 2) or (number, 3) positions in mm, found shape {world.shape}."
            )
        if not np.isfinite(world).all():
            bad = int((~np.isfinite(world).all(axis=1)).sum())
            raise PointsError(f"{bad} of {len(world)} points have a NaN or infinite coordinate.")
        object.__setattr__(self, "named", bool(self.names))
        names = tuple(str(n) for n in self.names) or tuple(str(i + 1) for i in range(len(world)))
        if len(names) != len(world):
            raise PointsError(f"{len(world)} points, but {len(names)} names.")
        world.setflags(write=False)
        object.__setattr__(self, "world", world)
        object.__setattr__(self, "names", names)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return int(self.world.shape[1])

    def __len__(self) -> int:
        return len(self.world)

    def mapped(self, transform) -> Points:
        """The points carried through `transform` (fixed world mm → moving world mm, or its inverse)."""
        return Points(transform(self.world), self.names if self.named else ())


def matched(fixed: Points, moving: Points) -> tuple[Points, Points]:
    """The landmarks that two sets have in common, in the order of the fixed ones: row i of both is one place.

    They correspond by name; where one set was given no names, or they share none, row by row.

    Raises:
        PointsError: the sets can only correspond row by row, and differ in number; or a name comes twice, and the
            names of the two sets do not stand in the same order.
    """
    place = {name: row for row, name in enumerate(moving.names)}
    shared = [row for row, name in enumerate(fixed.names) if name in place]
    if not (fixed.named and moving.named and shared) or fixed.names == moving.names:
        if len(fixed) != len(moving):
            raise PointsError(
                f"{len(fixed)} fixed and {len(moving)} moving landmarks that share no names; expected names by which "
                "they correspond, or as many in the same order."
            )
        return fixed, moving
    for points in (fixed, moving):
        if twice := sorted({name for name in points.names if points.names.count(name) > 1}):
            raise PointsError(
                f"the name {twice[0]!r} stands for several landmarks, so they cannot be paired by name. Give each a "
                "name of its own, or the same names in the same order."
            )
    partners = [place[fixed.names[row]] for row in shared]
    names = tuple(fixed.names[row] for row in shared)
    return Points(fixed.world[shared], names), Points(moving.world[partners], names)
