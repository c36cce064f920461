"""Single artefacts of imaging; pictures are `(*shape)` float32, of brightness about 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy import fft

from coincide.data.synthesis.noise import smooth_noise
from coincide.ops.smooth import gaussian


def thick_slices(picture: np.ndarray, axis: int, distance: float) -> np.ndarray:
    """Slices `distance` voxels apart and as thick, interpolated back to where they came from.

    Source: a slice profile of that full width at half maximum has a standard deviation of its 2.355th part.
    """
    sigma = np.zeros(picture.ndim)
    sigma[axis] = math.sqrt(max(distance**2 - 1, 0)) / 2.355
    smooth = np.moveaxis(gaussian(torch.from_numpy(picture)[None], sigma)[0].numpy(), axis, 0)
    n = len(smooth)
    # the slices lie symmetrically in the field of view
    count = max(2, int((n - 1) / distance) + 1)
    centres = (n - 1) / 2 + (np.arange(count) - (count - 1) / 2) * distance
    slices = _between(smooth, np.clip(centres, 0, n - 1))
    back = _between(slices, np.clip((np.arange(n) - centres[0]) / distance, 0, count - 1))
    return np.ascontiguousarray(np.moveaxis(back, 0, axis))


def _between(planes: np.ndarray, position: np.ndarray) -> np.ndarray:
    base = np.minimum(position.astype(int), max(len(planes) - 2, 0))
    share = (position - base).astype(np.float32).reshape(-1, *[1] * (planes.ndim - 1))
    return planes[base] * (1 - share) + planes[np.minimum(base + 1, len(planes) - 1)] * share


def ringing(picture: np.ndarray, axis: int, share: float) -> np.ndarray:
    """The outer `share` of the frequencies along an axis left out: edges ring (Gibbs)."""
    lines = fft.rfft(picture, axis=axis)
    kept = max(2, math.ceil((1 - share) * lines.shape[axis]))
    lines[(slice(None),) * axis + (slice(kept, None),)] = 0
    return fft.irfft(lines, n=picture.shape[axis], axis=axis).astype(np.float32)


def moved(rng: np.random.Generator, picture: np.ndarray, axis: int, distance: float) -> np.ndarray:
    """A patient who moves while k-space is read line by line along `axis`: sudden moves, and breathing in half of them.

    The lines in the middle, which hold most of the picture, are read at rest, so the picture stays where it is.

    Args:
        rng: for when and where to.
        picture: of the patient at rest.
        axis: along which lines follow each other in time.
        distance: voxels, how far the patient moves.
    """
    n, dim = picture.shape[axis], picture.ndim
    path = _moves(rng, n, dim) * distance
    path -= path[:, n // 2 : n // 2 + 1]
    time = np.abs(np.arange(n) - n // 2) / (n / 2)
    path *= np.clip((time - 0.08) / 0.08, 0, 1)
    lines = fft.fftn(picture)
    turn = np.zeros(picture.shape, np.float32)
    for a, size in enumerate(picture.shape):
        frequency = fft.fftfreq(size).astype(np.float32)
        shift = fft.ifftshift(path[a]).astype(np.float32)
        turn += _along(shift, axis, dim) * _along(frequency, a, dim)
    lines *= np.exp(np.complex64(-2j * np.pi) * turn)
    return np.abs(fft.ifftn(lines)).astype(np.float32)


def _moves(rng: np.random.Generator, lines: int, dim: int) -> np.ndarray:
    """Where the patient is while each line is read, `(dim, lines)`, about 1 at the most."""
    steps = np.zeros((dim, lines))
    for start in rng.integers(0, lines, int(rng.integers(1, 5))):
        steps[:, start:] += rng.normal(0, 0.5, (dim, 1))
    if rng.random() < 0.5:
        breath = np.sin(np.arange(lines) * rng.uniform(0.5, 2.5) + rng.uniform(0, 2 * np.pi))
        steps += 0.5 * rng.standard_normal((dim, 1)) * breath
    return steps


def _along(values: np.ndarray, axis: int, dim: int) -> np.ndarray:
    return values.reshape([-1 if a == axis else 1 for a in range(dim)])


def field_of_view(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """A box that leaves out up to `share` of each axis at either end, `(*shape)` bool."""
    inside = np.zeros(shape, np.bool_)
    ends = [rng.uniform(0, share, 2) * n for n in shape]
    inside[tuple(slice(int(low), n - int(high)) for n, (low, high) in zip(shape, ends))] = True
    return inside


def diaphragm(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """What a diaphragm before the rays lets through of a picture, `(*shape)` float32 of 0 to 1.

    Args:
        rng: for its kind (a disc or a rectangle, which may be turned), place and size, and the width of its soft edge.
        shape: of the picture.
        share: of the picture's width that may be cut off at either side, at the most.
    """
    width = min(shape)
    apart = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    apart = apart - rng.uniform(-0.5, 0.5, len(shape)) * share * width
    half = width / 2 - rng.uniform(0, share, len(shape)) * width
    turn, disc, soft = np.deg2rad(rng.normal(0, 8)), rng.random() < 0.4, rng.uniform(0.5, 2.5)
    if disc:
        depth = half.max() * 1.1 - np.linalg.norm(apart, axis=-1)
    else:
        c, s = np.cos(turn), np.sin(turn)
        turned = apart @ np.array([[c, -s], [s, c]])
        depth = (half - np.abs(turned)).min(-1)
    return np.clip(0.5 + depth / (2 * soft), 0, 1).astype(np.float32)


def gaussian_noise(rng: np.random.Generator, picture: np.ndarray, amount: float) -> np.ndarray:
    """The same noise everywhere, of standard deviation `amount`."""
    return picture + np.float32(amount) * rng.standard_normal(picture.shape, dtype=np.float32)


def rician_noise(rng: np.random.Generator, picture: np.ndarray, amount: float) -> np.ndarray:
    """Magnitude of a complex signal with noise of `amount` in both its parts: never negative, and brighter in air."""
    real, imaginary = np.float32(amount) * rng.standard_normal((2, *picture.shape), dtype=np.float32)
    return np.hypot(picture + real, imaginary)


def speckle(rng: np.random.Generator, picture: np.ndarray, amount: float) -> np.ndarray:
    """Grains a little larger than a voxel whose contrast grows with brightness, as in ultrasound."""
    grains = smooth_noise(rng, picture.shape, 1.5)[0]
    return picture * np.exp(np.float32(3 * amount) * grains)


def quantum_noise(rng: np.random.Generator, picture: np.ndarray, amount: float) -> np.ndarray:
    """Noise of counted photons: its variance is in proportion to brightness, `amount`² where that is 1."""
    spread = np.float32(amount) * np.sqrt(np.maximum(picture, 0))
    return picture + spread * rng.standard_normal(picture.shape, dtype=np.float32)


NOISES: dict[str, Callable[[np.random.Generator, np.ndarray, float], np.ndarray]] = {
    "gaussian": gaussian_noise,
    "rician": rician_noise,
    "speckle": speckle,
    "quantum": quantum_noise,
}
"""Kinds of noise by name."""
