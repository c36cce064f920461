"""Blobs in a volume: extrema, over space and scale, of the difference of Gaussians."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from coincide.ops.smooth import gaussian

_FIRST, _INTERVALS = 1.2, 3
"""Gaussian of an octave's first level, voxels of the octave, and levels an octave."""
_OWN = 0.5
"""Gaussian that a volume is taken to have been blurred with already, voxels."""
_LEAST, _BORDER = 16, 3
"""Voxels along every axis that an octave has at least; how far from its border a blob lies at least."""
_ROUND = 0.08
"""Least ratio of the smallest to the largest curvature: below, it is a sheet or a tube, and slides along itself."""


@dataclass(frozen=True, eq=False)
class Level:
    """One smoothed volume, and the blobs of its scale.

    Args:
        values: `(I, J, K)` of the octave.
        factor: the octave's voxel, in voxels of the volume.
        sigma: of the Gaussian, voxels of the octave.
        index: `(number, 3)` places of the blobs, voxels of the octave.
        height: `(number,)` how far each stands out.
    """

    values: torch.Tensor
    factor: int
    sigma: float
    index: np.ndarray
    height: np.ndarray


def blobs(values: np.ndarray, contrast: float) -> list[Level]:
    """The levels of the scale space of a volume, with the blobs found on each.

    Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94, in three dimensions.

    Args:
        values: `(I, J, K)`, 0 to 1 for nearly all, with voxels that are cubes.
        contrast: least height of an extremum of the difference of Gaussians.
    """
    found: list[Level] = []
    first = gaussian(
        torch.from_numpy(np.ascontiguousarray(values, np.float32))[None], np.sqrt(_FIRST**2 - _OWN**2)
    )
    factor = 1
    while min(first.shape[1:]) >= _LEAST:
        levels, sigmas = _octave(first)
        differences = torch.stack([b - a for a, b in itertools.pairwise(levels)])[:, 0].numpy()
        for layer in range(1, _INTERVALS + 1):
            index, height = _extrema(differences[layer - 1 : layer + 2], contrast)
            found.append(Level(levels[layer][0], factor, sigmas[layer], index, height))
        first, factor = levels[_INTERVALS][:, ::2, ::2, ::2].contiguous(), 2 * factor
    return found


def _octave(first: torch.Tensor) -> tuple[list[torch.Tensor], list[float]]:
    sigmas = [_FIRST * 2 ** (i / _INTERVALS) for i in range(_INTERVALS + 3)]
    levels = [first]
    for before, after in itertools.pairwise(sigmas):
        levels.append(gaussian(levels[-1], np.sqrt(after**2 - before**2)))
    return levels, sigmas


def _extrema(three: np.ndarray, contrast: float) -> tuple[np.ndarray, np.ndarray]:
    """Places, to a fraction of a voxel, where the middle of `three` volumes is above, or below, all 80 neighbours."""
    inner = tuple(slice(_BORDER, n - _BORDER) for n in three.shape[1:])
    middle = three[1][inner]
    places = np.argwhere(np.abs(middle) > 0.5 * contrast) + _BORDER
    values = three[1][tuple(places.T)]
    offsets = sorted(itertools.product((0, -1, 1), repeat=4), key=lambda o: sum(map(abs, o)))[1:]
    for layer, *step in offsets:
        other = three[1 + layer][tuple((places + step).T)]
        keep = np.where(values > 0, values > other, values < other)
        places, values = places[keep], values[keep]
    gradient, hessian = _derivatives(three[1], places)
    curvatures = np.linalg.eigvalsh(hessian)
    sizes = np.abs(curvatures)
    curved = (sizes.min(1) > _ROUND * sizes.max(1)) & (np.abs(np.sign(curvatures).sum(1)) == 3)
    places, values, gradient, hessian = places[curved], values[curved], gradient[curved], hessian[curved]
    shift = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
    height = np.abs(values + 0.5 * np.einsum("na,na->n", gradient, shift))
    keep = (np.abs(shift).max(1, initial=0) < 1) & (height > contrast)
    return (places + shift)[keep], height[keep]


def _derivatives(volume: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient `(number, 3)` and second derivatives `(number, 3, 3)` at voxels, by central differences."""
    unit = np.eye(3, dtype=int)

    def at(step) -> np.ndarray:
        return volume[tuple((places + step).T)].astype(np.float64)

    gradient = np.stack([(at(a) - at(-a)) / 2 for a in unit], 1)
    hessian = np.empty((len(places), 3, 3))
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        a, b = unit[i], unit[j]
        straight = i == j
        second = (
            at(a) - 2 * at(0) + at(-a) if straight else (at(a + b) - at(a - b) - at(b - a) + at(-a - b)) / 4
        )
        hessian[:, i, j] = hessian[:, j, i] = second
    return gradient, hessian
