"""Tumours that grow in a brain: what they look like, where their oedema goes, and what they push aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.data.synthesis.motion import around
from coincide.data.synthesis.noise import taper
from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.ops.field import exponentiate
from coincide.ops.sample import sample
from coincide.ops.smooth import gaussian
from coincide.transforms.displacement import Displacement, to_voxels, to_world

RIM, NECROSIS, OEDEMA = 1, 2, 3
"""What a place in a tumour is: the part that takes up contrast agent, its dead middle, the swollen white matter."""
_HULL, _SKIN = 12.0, 2.0
"""Millimetres below the surface of the brain from which tissue gives way freely; and from which a core may grow."""
_SLOW = (1.0, 5.0, 25.0)
"""How much longer a millimetre is for water that spreads through white matter, other tissue and fluid."""
_FINEST = 3.0
"""Millimetres between the nodes of the field that pushes, unless voxels are larger."""
_WAVES = 8


@dataclass(frozen=True)
class Tumour:
    """How large tumours are, what they consist of and what they do to the brain; every range is drawn from evenly.

    Args:
        radius: mm, of the core in the fixed image.
        growth: its radius in the moving image as a share of that; 0 where it is gone, 1 where it is the same.
        rim: share of the radius that takes up contrast agent; what is inside is dead, and 1 leaves nothing of that.
        oedema: mm that the white matter around is swollen; it goes around grey matter and fluid.
        push: share of the radius by which the tissue at the border of the core has been pushed outwards.
        rough: share of the radius by which the outline wanders.

    Raises:
        OptionError: a range that is none, or a push of 1 or more.
    """

    radius: tuple[float, float] = (6.0, 20.0)
    growth: tuple[float, float] = (0.7, 1.4)
    rim: tuple[float, float] = (0.2, 1.0)
    oedema: tuple[float, float] = (0.0, 25.0)
    push: tuple[float, float] = (0.1, 0.6)
    rough: float = 0.15

    def __post_init__(self) -> None:
        for name, most in (("radius", 60), ("growth", 3), ("rim", 1), ("oedema", 100), ("push", 0.9)):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= most:
                raise OptionError(
                    f"{name} of a tumour is {(low, high)}; expected two numbers from 0 to {most}, in order."
                )
        if self.radius[0] <= 0 or not 0 <= self.rough <= 0.5:
            raise OptionError(
                f"the radius of a tumour is {self.radius} and rough {self.rough}; expected more than 0, and 0 to 0.5."
            )


@dataclass(frozen=True, eq=False)
class Terrain:
    """The brain that a tumour grows in, all `(*shape)` bool: all of it, its white matter, and the fluid in it."""

    brain: np.ndarray
    white: np.ndarray
    fluid: np.ndarray


@dataclass(frozen=True, eq=False)
class Grown:
    """One tumour at two times.

    Args:
        centre: mm.
        radii: mm, of the core in the fixed and in the moving image.
        reach: mm that the oedema reaches from the centre, likewise.
        rim: share of the radius.
        pull: from the brain with the tumour of the fixed image to the brain without one, mm.
        change: from the brain of the fixed image to that of the moving one, mm; None where nothing changes.
        grid: of the maps below, of the brain without a tumour.
        ways: `(1, *shape)` mm from the centre, as long as it is for water.
        room: `(1, *shape)` float32: where a core may be.
        white: likewise, where oedema may be.
        waves: directions, phases and heights of the waves that make its outline rough, a row each.
    """

    centre: np.ndarray
    radii: tuple[float, float]
    reach: tuple[float, float]
    rim: float
    pull: Displacement
    change: Displacement | None
    grid: Grid
    ways: Tensor
    room: Tensor
    white: Tensor
    waves: np.ndarray

    def parts(self, places: np.ndarray, later: bool = False) -> np.ndarray:
        """What of the tumour is at `places` `(dim, *shape)` mm of the fixed brain, `(*shape)` int8; 0 where none is.

        Args:
            places: in the brain of the fixed image.
            later: of the tumour in the moving image.
        """
        flat = places.reshape(len(places), -1).T
        now = self.change(flat) if later and self.change is not None else flat
        radius, reach = self.radii[later], self.reach[later]
        found = np.zeros(len(flat), np.int8)
        if radius == 0:
            return found.reshape(places.shape[1:])
        apart = now - self.centre
        near = np.flatnonzero(np.linalg.norm(apart, axis=1) < 2 * max(radius, reach))
        apart, rough = apart[near], self._rough(now[near])
        share = np.linalg.norm(apart, axis=1) * (1 + rough) / radius
        tissue = torch.from_numpy(np.ascontiguousarray(self.grid.index(self.pull(flat[near])).T))
        ways, room, white = (
            sample(x, tissue, "linear")[0].numpy() for x in (self.ways, self.room, self.white)
        )
        core, swollen = (share < 1) & (room > 0.5), (ways * (1 + rough) < reach) & (white > 0.5)
        part = np.where(swollen, OEDEMA, 0)
        part[core] = np.where(share[core] < 1 - self.rim, NECROSIS, RIM)
        found[near] = part
        return found.reshape(places.shape[1:])

    def _rough(self, places: np.ndarray) -> np.ndarray:
        dim = places.shape[1]
        return np.sin(places @ self.waves[:, :dim].T + self.waves[:, dim]) @ self.waves[:, dim + 1]


def grow(rng: np.random.Generator, tumour: Tumour, terrain: Terrain, grid: Grid) -> Grown | None:
    """A tumour somewhere in the white matter of `terrain`, which lies on `grid`; None where there is none of that."""
    from scipy.ndimage import distance_transform_edt

    radius, ratio, rim, oedema, push = (
        rng.uniform(*getattr(tumour, name)) for name in ("radius", "growth", "rim", "oedema", "push")
    )
    depth = distance_transform_edt(terrain.brain, sampling=grid.spacing)
    assert isinstance(depth, np.ndarray), "no indices were asked for"
    places = np.argwhere(
        terrain.white & (depth >= min(0.7 * radius, 0.9 * depth[terrain.white].max(initial=0)))
    )
    if len(places) == 0:
        return None
    seed = places[rng.integers(len(places))]
    centre = grid.world(seed.astype(float))
    radii = (radius, radius * ratio)
    pull, change = _pushed(centre, radii, push, depth, grid)
    return Grown(
        centre,
        radii,
        # the tissue at the border of the core came from nearer to its middle
        tuple((radius * (1 - push) + oedema) * size / radius for size in radii),
        rim,
        pull,
        change,
        grid,
        _ways(terrain, seed, grid),
        _layer((depth > _SKIN) & ~_cavities(terrain.fluid, grid)),
        _layer(terrain.white),
        _waves(rng, grid.dim, radius, tumour.rough),
    )


def _pushed(
    centre: np.ndarray, radii: tuple[float, float], push: float, depth: np.ndarray, grid: Grid
) -> tuple[Displacement, Displacement | None]:
    """The maps `pull` and `change` of `Grown`: flows of one velocity away from `centre`, none at the skull."""
    step = np.maximum(grid.spacing, _FINEST)
    lattice = around(grid, step, 2 * step.max())
    index = torch.from_numpy(np.ascontiguousarray(np.moveaxis(grid.index(lattice.points()), -1, 0)))
    free = sample(torch.from_numpy(np.minimum(depth / _HULL, 1)).float()[None], index)[0].numpy()
    free = free * free * (3 - 2 * free) * taper(lattice.shape, 2)
    apart = lattice.points() - centre
    # fastest at the border of the larger of the two cores
    far = 1.25 * max(radii)
    fall = np.exp(0.5 - 0.5 * np.square(apart).sum(-1) / far**2) / far
    velocity = torch.from_numpy(np.moveaxis(apart * (fall * free)[..., None], -1, 0)).float()
    velocity = gaussian(to_voxels(velocity, lattice).contiguous(), 0.7)

    def flow(amount: float) -> Displacement:
        return Displacement(to_world(exponentiate(velocity * amount), lattice), lattice)

    change = flow(push * (radii[1] - radii[0])) if radii[0] != radii[1] else None
    return flow(-push * radii[0]), change


def _ways(terrain: Terrain, seed: np.ndarray, grid: Grid) -> Tensor:
    """Length of the shortest way from the voxel `seed` to each, `(1, *shape)` mm, as long as it is for water."""
    from skimage.graph import MCP_Geometric

    white, other, fluid = _SLOW
    slow = np.where(terrain.white, white, np.where(terrain.brain & ~terrain.fluid, other, fluid))
    ways, _ = MCP_Geometric(slow, sampling=tuple(grid.spacing.tolist())).find_costs([tuple(seed)])
    return torch.from_numpy(ways.astype(np.float32))[None]


def _cavities(fluid: np.ndarray, grid: Grid) -> np.ndarray:
    """Fluid that is wide, as in the ventricles, without what is in the furrows, which a core fills."""
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(fluid, sampling=grid.spacing)
    core = np.asarray(deep) > 3.0
    return np.asarray(distance_transform_edt(~core, sampling=grid.spacing)) <= 3.0 if core.any() else core


def _layer(where: np.ndarray) -> Tensor:
    return torch.from_numpy(where).float()[None]


def _waves(rng: np.random.Generator, dim: int, radius: float, rough: float) -> np.ndarray:
    direction = rng.standard_normal((_WAVES, dim))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    # from one to three waves across the core
    number = direction * (np.pi * rng.uniform(1, 3, _WAVES) / radius)[:, None]
    height = np.full(_WAVES, rough * np.sqrt(2 / _WAVES))
    return np.column_stack([number, rng.uniform(0, 2 * np.pi, _WAVES), height])
