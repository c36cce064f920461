"""A lattice of labels on which shapes are painted, one over the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike

from coincide.data.synthesis import _paint_kernels as kernels
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.structures import LAST, STRUCTURES
from coincide.grid import Grid
from coincide.ops.sample import sample_affine
from coincide.transforms.linear import rotation_matrix

_COARSE = 4.0
"""Millimetres between the places where depth below a hull is worked out."""

SIDES = (("left", -1.0), ("right", 1.0))
"""Which way x points: RAS+."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid with a rough surface.

    Args:
        name: of the structure.
        centre: mm.
        radii: mm.
        tilt: degrees about x, y and z, as in `rotation_matrix`.
        rough: mm by which its surface wanders.
    """

    name: str
    centre: ArrayLike
    radii: ArrayLike
    tilt: ArrayLike = (0.0, 0.0, 0.0)
    rough: float = 0.5

    def row(self) -> np.ndarray:
        """Its numbers as the kernels take them: centre, radii, the unit vectors of its axes."""
        axes = rotation_matrix(self.tilt).T
        return np.concatenate(
            [np.asarray(part, dtype=np.float64).ravel() for part in (self.centre, self.radii, axes)]
        )


@dataclass(frozen=True, eq=False)
class Capsule:
    """A round cone between two places.

    Args:
        name: of the structure.
        start: mm.
        end: mm.
        radii: mm, at the start and at the end.
        rough: mm by which its surface wanders.
    """

    name: str
    start: ArrayLike
    end: ArrayLike
    radii: tuple[float, float]
    rough: float = 0.3

    def row(self) -> np.ndarray:
        """Its numbers as the kernels take them: start, end, radii."""
        return np.concatenate(
            [np.asarray(part, dtype=np.float64) for part in (self.start, self.end, self.radii)]
        )


def tube(name: str, path: np.ndarray, radii, rough: float = 0.3) -> list[Capsule]:
    """A chain of round cones along `path` `(number, 3)` mm, of one radius or one per place."""
    r = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(path),))
    return [Capsule(name, *ends, (r[i], r[i + 1]), rough) for i, ends in enumerate(pairwise(path))]


class Canvas:
    """Labels on a lattice of which the axes are those of the world.

    Args:
        grid: the lattice, 3-D; it may be one voxel thin.
        rng: for the roughness of surfaces.
        vary: share by which `varied` changes sizes, and twice the share of their size by which it changes places.
    """

    def __init__(self, grid: Grid, rng: np.random.Generator, vary: float = 0.06) -> None:
        self.grid, self.rng, self.vary = grid, rng, vary
        self.labels = np.zeros(grid.shape, np.int16)
        self.noise = smooth_noise(rng, grid.shape, 7.0 / grid.spacing)[0]
        self._frame = grid.origin, grid.spacing

    def varied(self, centre, radii) -> tuple[np.ndarray, np.ndarray]:
        """A place and sizes a little other than usual, as between people, or between left and right."""
        radii = np.asarray(radii, dtype=np.float64)
        shift = self.rng.normal(0, self.vary * 0.5 * radii.mean(), len(centre))
        return np.asarray(centre) + shift, radii * np.exp(self.rng.normal(0, self.vary, len(radii)))

    def paint(
        self, shapes: Iterable[Ellipsoid | Capsule], onto: Sequence[str] = (), bare: bool = True
    ) -> None:
        """Paint `shapes` in order, but only over the structures `onto`, over all where none is named.

        Args:
            shapes: what to paint.
            onto: what may be painted over.
            bare: whether what holds nothing yet may be painted over.
        """
        allowed = self._allowed(onto, bare)
        shapes = list(shapes)
        for kind, kernel in ((Ellipsoid, kernels.paint_ellipsoids), (Capsule, kernels.paint_capsules)):
            chosen = [s for s in shapes if isinstance(s, kind)]
            if chosen:
                rows = np.stack([s.row() for s in chosen])
                names = np.array([STRUCTURES[s.name].label for s in chosen], np.int16)
                rough = np.array([s.rough for s in chosen])
                kernel(self.labels, *self._frame, self.noise, allowed, rows, names, rough)

    def shell(
        self,
        name: str,
        depth: np.ndarray,
        low: float,
        high: float,
        onto: Sequence[str] = (),
        rough: float = 0.5,
    ) -> None:
        """Paint where `depth` (mm) lies between `low` and `high`."""
        kernels.paint_shell(
            self.labels.reshape(-1),
            depth.reshape(-1),
            self.noise.reshape(-1),
            self._allowed(onto, True),
            low,
            high,
            rough,
            STRUCTURES[name].label,
        )

    def depth(self, shapes: Sequence[Ellipsoid], blend: float) -> np.ndarray:
        """How deep (mm, negative outside) each voxel lies in the union of `shapes`, rounded off over `blend` mm."""
        rows, grid = np.stack([s.row() for s in shapes]), self.grid
        # depth is smooth: a coarse lattice tells it to a few hundredths of a mm
        step = np.maximum(grid.spacing, _COARSE)
        shape = np.ceil((np.asarray(grid.shape) - 1) * grid.spacing / step - 1e-9).astype(int) + 1
        out = np.empty(tuple(shape), np.float32)
        kernels.hull_depth(grid.origin, step, rows, blend, out)
        matrix = np.diag([*(grid.spacing / step), 1.0])
        return sample_affine(torch.from_numpy(out)[None], matrix, grid.shape)[0].numpy()

    def _allowed(self, onto: Sequence[str], bare: bool) -> np.ndarray:
        allowed = np.zeros(LAST, np.bool_)
        allowed[[STRUCTURES[name].label for name in onto] or slice(None)] = True
        allowed[0] = bare
        return allowed
