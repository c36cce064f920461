"""What a volume looks like round a place, in a frame of the place's own."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from coincide.ops.sample import sample

_CELLS, _PER_CELL = 3, 4
"""Cells along every axis of a patch, and samples along a cell."""
_STEP = 1.0
"""Distance between samples, in Gaussians of the level."""
_BLOCK = 256
_GOLDEN = (1 + 5**0.5) / 2


def frames(volume: torch.Tensor, index: np.ndarray, sigma: float) -> np.ndarray:
    """A right-handed frame for each place, which turns with the volume: `(number, 3, 3)`, axes as columns.

    The axes are the principal directions of the gradients round the place; the first two point along the mean
    gradient (after Rister et al. 2017, doi:10.1109/TIP.2017.2722689).

    Args:
        volume: `(I, J, K)`.
        index: `(number, 3)` places, voxels.
        sigma: scale of the places, voxels.
    """
    upright = np.broadcast_to(np.eye(3), (len(index), 3, 3))
    size = 2 * _CELLS * _PER_CELL // 2 + 1
    found = []
    window = _window(size - 2, 0.25 * size)
    for start in range(0, len(index), _BLOCK):
        some = slice(start, start + _BLOCK)
        patches = sampled(volume, index[some], upright[some], size, sigma * _STEP)
        gradient = _gradient(patches) * window
        gradient = gradient.flatten(2).double()
        tensor = torch.einsum("nas,nbs->nab", gradient, gradient).numpy()
        mean = gradient.sum(2).numpy()
        axes = np.linalg.eigh(tensor)[1][:, :, ::-1]
        signs = np.where(np.einsum("na,nak->nk", mean, axes[:, :, :2]) < 0, -1.0, 1.0)
        first, second = axes[:, :, 0] * signs[:, :1], axes[:, :, 1] * signs[:, 1:]
        found.append(np.stack([first, second, np.cross(first, second)], 2))
    return np.concatenate(found) if found else np.zeros((0, 3, 3))


def gradients(volume: torch.Tensor, index: np.ndarray, turns: np.ndarray, sigma: float) -> np.ndarray:
    """Histograms of the directions of the gradients in cells round each place, `(number, 27·12)` float32.

    Lowe's descriptor in three dimensions, with the twelve corners of an icosahedron for directions.

    Args:
        volume: `(I, J, K)`.
        index: `(number, 3)` places, voxels.
        turns: `(number, 3, 3)` the frames they are described in, axes as columns.
        sigma: scale of the places, voxels.
    """
    size = _CELLS * _PER_CELL
    window, weights = _window(size, 0.5 * size), _cells(size)
    corners = _icosahedron()
    found = []
    for start in range(0, len(index), _BLOCK):
        some = slice(start, start + _BLOCK)
        gradient = _gradient(sampled(volume, index[some], turns[some], size + 2, sigma * _STEP)) * window
        along = torch.einsum("da,naijk->ndijk", corners, gradient)
        length = gradient.square().sum(1, keepdim=True).sqrt()
        # a direction takes what points within some 50° of it, the more the closer
        share = length * F.relu(along / length.clamp_min(1e-12) - 0.65)
        cells = torch.einsum("ndijk,ai,bj,ck->ndabc", share, weights, weights, weights).flatten(1)
        found.append((cells / cells.sum(1, keepdim=True).clamp_min(1e-12)).sqrt().numpy())
    return np.concatenate(found) if found else np.zeros((0, _CELLS**3 * 12), np.float32)


def likenesses(volume: torch.Tensor, index: np.ndarray, turns: np.ndarray, sigma: float) -> np.ndarray:
    """How alike the surroundings of each place are to each other, `(number, 27·12)` float32: MIND-SSC in cells.

    The contrast falls out: bright and dark may be exchanged, or stand for something else. Heinrich et al. 2013,
    doi:10.1007/978-3-642-40811-3_24. Arguments as in `gradients`.
    """
    size = _CELLS * _PER_CELL
    weights, found = _cells(size), []
    for start in range(0, len(index), _BLOCK):
        some = slice(start, start + _BLOCK)
        patches = sampled(volume, index[some], turns[some], size + 4, sigma * _STEP)
        distances = torch.stack([_apart(patches, a, b, size) for a, b in _PAIRS], 1)
        distances = distances - distances.amin(1, keepdim=True)
        variance = distances.mean(1, keepdim=True)
        likeness = torch.exp(-distances / variance.clamp_min(1e-9))
        cells = torch.einsum("ndijk,ai,bj,ck->ndabc", likeness, weights, weights, weights)
        cells = cells - cells.mean(1, keepdim=True)
        found.append(cells.flatten(1).numpy())
    return np.concatenate(found) if found else np.zeros((0, _CELLS**3 * 12), np.float32)


_FACES = [step for axis in range(3) for step in (-np.eye(3, dtype=int)[axis], np.eye(3, dtype=int)[axis])]
_PAIRS = [(a, b) for a, b in itertools.combinations(_FACES, 2) if (a + b).any()]
"""Neighbours that are compared with each other: all pairs that do not lie opposite."""


def _apart(patches: torch.Tensor, a: np.ndarray, b: np.ndarray, size: int) -> torch.Tensor:
    """Mean squared difference, over 3³ samples, of the patches shifted by `a` and by `b`, `(number, size³)`."""

    def shifted(step: np.ndarray) -> torch.Tensor:
        i, j, k = (slice(1 + s, 1 + s + size + 2) for s in step)
        return patches[:, i, j, k]

    return F.avg_pool3d((shifted(a) - shifted(b)).square()[:, None], 3, stride=1)[:, 0]


def sampled(
    volume: torch.Tensor, index: np.ndarray, turns: np.ndarray, size: int, step: float
) -> torch.Tensor:
    """The volume on a lattice of `size³` samples, `step` voxels apart, round each place, `(number, size³)`."""
    line = (np.arange(size) - (size - 1) / 2) * step
    lattice = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    places = index[:, None, None, None] + np.einsum("nab,ijkb->nijka", turns, lattice)
    at = torch.from_numpy(np.ascontiguousarray(np.moveaxis(places, -1, 0)))
    return sample(volume[None], at, "linear", "edge")[0]


def _gradient(patches: torch.Tensor) -> torch.Tensor:
    """Central differences within patches `(number, n³)`, `(number, 3, (n − 2)³)`."""
    inner = slice(1, -1)
    return torch.stack(
        [
            patches[:, 2:, inner, inner] - patches[:, :-2, inner, inner],
            patches[:, inner, 2:, inner] - patches[:, inner, :-2, inner],
            patches[:, inner, inner, 2:] - patches[:, inner, inner, :-2],
        ],
        1,
    )


def _window(size: int, sigma: float) -> torch.Tensor:
    line = torch.exp(-0.5 * ((torch.arange(size) - (size - 1) / 2) / sigma) ** 2)
    return line[:, None, None] * line[:, None] * line


def _cells(size: int) -> torch.Tensor:
    """Share of each of `size` samples in each cell along an axis: whole in its middle, none beyond the next's."""
    middles = (torch.arange(_CELLS) + 0.5) * _PER_CELL - 0.5
    return (1 - (torch.arange(size) - middles[:, None]).abs() / _PER_CELL).clamp_min(0)


def _icosahedron() -> torch.Tensor:
    corners = [
        np.roll((0.0, a, b * _GOLDEN), turn) for turn in range(3) for a in (-1.0, 1.0) for b in (-1.0, 1.0)
    ]
    unit = np.array(corners) / np.linalg.norm(corners[0])
    return torch.from_numpy(unit).to(torch.float32)
