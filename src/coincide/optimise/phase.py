"""How far, and in 2-D how turned and how large, one image lies from another: by the phases of their spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from coincide.ops._parallel import get_threads

_OUTER = 0.75
"""Share of the highest frequency beyond which a spectrum is taken for noise."""
_FLOOR = 3.0
"""Times the noise that a frequency must reach to count half."""
_NEWTON = 12
_ANGLES, _RADII = 720, 256
"""Samples of a spectrum over half a turn, and from its lowest to its highest ring."""
_WHITENED = 0.8
"""Power of their amplitude that is taken from the frequencies of a spectrum's layout, which are not all sure."""
_LARGER = 3.0
"""How many times larger or smaller one image may show things."""
_LOWEST = 3.0
"""Cycles over the lattice of the lowest ring."""


@dataclass(frozen=True, eq=False)
class Peak:
    """Where one image lies in another.

    Args:
        shift: `(dim,)` voxels: what stands at `x` in the fixed image stands at `x + shift` in the moving one.
        coherence: share of the frequencies, by weight, that agree on it: 1 for equal images.
        clearness: how many times higher the peak is than the next one elsewhere.
    """

    shift: np.ndarray
    coherence: float
    clearness: float


def shift_between(fixed: np.ndarray, moving: np.ndarray) -> Peak:
    """The shift, to a fraction of a voxel, that the phases of two periodic arrays of one shape agree on.

    Frequencies that rise above the noise count alike, whatever their amplitude (Kuglin and Hines 1975); the peak is
    refined on its own trigonometric sum by Newton's method.
    """
    return _peak(_cross(fixed, moving), fixed.shape)


def _cross(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The cross-power spectrum, each frequency by how far it rises above the noise, from 0 to 1."""
    threads = get_threads()
    spectra = [np.asarray(fft.rfftn(x - x.mean(), workers=threads)) for x in (fixed, moving)]
    spectrum = np.conj(spectra[0]) * spectra[1]
    size = np.abs(spectrum)
    outer = size[_frequency(fixed.shape) > _OUTER * 0.5]
    noise = _FLOOR * float(np.median(outer)) if outer.size else 0.0
    return spectrum / np.maximum(size + noise, 1e-30)


def _frequency(shape: tuple[int, ...]) -> np.ndarray:
    """The largest frequency of any axis, cycles per voxel, of each entry of a real transform."""
    axes = [np.abs(np.fft.fftfreq(n)) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    return np.maximum.reduce(np.meshgrid(*axes, indexing="ij"))


def _peak(cross: np.ndarray, shape: tuple[int, ...], near: np.ndarray | None = None) -> Peak:
    """The highest peak of a cross-power spectrum, or the highest within `near` (voxels along each axis) of no shift."""
    surface = np.asarray(fft.irfftn(cross, s=shape, workers=get_threads()))
    looked = (
        surface if near is None else np.where(_around(shape, np.zeros(len(shape)), near), surface, -np.inf)
    )
    top = np.unravel_index(int(np.argmax(looked)), shape)
    place = np.array([p - n if p > n // 2 else p for p, n in zip(top, shape)], dtype=np.float64)
    elsewhere = surface[~_around(shape, place, np.maximum(np.array(shape) / 40, 3))]
    place, height = _refined(cross, shape, place)
    weight = _doubled(np.abs(cross), shape).sum()
    rival = float(elsewhere.max()) * surface.size if elsewhere.size else 0.0
    return Peak(place, height / max(weight, 1e-30), height / max(rival, 1e-30))


def _around(shape: tuple[int, ...], place: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Which shifts lie within `near` of `place` along every axis, the array being periodic."""
    close = []
    for n, p, d in zip(shape, place, near):
        away = np.abs(np.arange(n) - p) % n
        close.append(np.minimum(away, n - away) <= d)
    return np.logical_and.reduce(np.meshgrid(*close, indexing="ij"))


def _doubled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Entries of a real transform, those that stand for two frequencies counted twice."""
    doubled = 2 * values
    doubled[..., 0] = values[..., 0]
    if shape[-1] % 2 == 0:
        doubled[..., -1] = values[..., -1]
    return doubled


def _refined(cross: np.ndarray, shape: tuple[int, ...], place: np.ndarray) -> tuple[np.ndarray, float]:
    """The top of the trigonometric sum near `place`, and its height there."""
    axes = [2 * np.pi * np.fft.fftfreq(n) for n in shape[:-1]] + [2 * np.pi * np.fft.rfftfreq(shape[-1])]
    waves = [w.ravel() for w in np.meshgrid(*axes, indexing="ij")]
    weighted = _doubled(cross, shape).ravel()
    counted = np.abs(weighted) > 0.02
    waves, weighted = np.stack([w[counted] for w in waves]), weighted[counted]
    start, best, height = place, place, -np.inf
    for _ in range(_NEWTON):
        part = weighted * np.exp(1j * (waves * place[:, None]).sum(0))
        new = float(part.real.sum())
        if new <= height:  # too far: half way back
            place = (place + best) / 2
            continue
        best, height = place, new
        gradient = -(waves * part.imag).sum(1)
        hessian = -np.einsum("an,bn,n->ab", waves, waves, part.real)
        if np.linalg.eigvalsh(hessian).max() >= 0:
            break
        step = -np.linalg.solve(hessian, gradient)
        place = start + np.clip(best + step - start, -1, 1)
        if np.abs(place - best).max() < 1e-4:
            break
    return best, height


@dataclass(frozen=True)
class Turn:
    """A rotation (degrees) and a factor of size, in index space."""

    angle: float
    scale: float


def turns_between(fixed: np.ndarray, moving: np.ndarray, scaled: bool, number: int = 6) -> list[Turn]:
    """How much larger and how turned `moving` is, from the amplitudes of the spectra, which no shift changes.

    The spectra are laid out by angle and by the logarithm of the radius, where both are shifts (Reddy and Chatterji
    1996, doi:10.1109/83.506761). Half a turn changes no amplitude, so each angle stands for two.

    Args:
        fixed: `(n, n)`, periodic.
        moving: the same.
        scaled: whether the size may differ.
        number: of the best answers.

    Returns:
        Best first; `F(x) = M(scale · rotation(angle) x)`.
    """
    amplitudes = [_amplitude(image) for image in (fixed, moving)]
    highest = min(_highest(a) for a in amplitudes)
    polar = [_polar(a, highest) for a in amplitudes]
    ring = np.log(highest / _LOWEST) / (_RADII - 1)
    reach = np.array([_ANGLES, np.log(_LARGER) / ring if scaled else 0.5])
    spectra, shape = [np.fft.rfftn(p) for p in polar], polar[0].shape
    cross = np.conj(spectra[0]) * spectra[1]
    cross = cross / np.maximum(np.abs(cross), 1e-30) ** _WHITENED
    found = []
    for _ in range(number):
        peak = _peak(cross, shape, reach)
        scale = float(np.exp(-peak.shift[1] * ring)) if scaled else 1.0
        found.append(Turn(peak.shift[0] * 180 / _ANGLES, scale))
        cross = cross - _bump(cross, shape, peak)
    return found


def _bump(cross: np.ndarray, shape: tuple[int, ...], peak: Peak) -> np.ndarray:
    """What of a cross-power spectrum a peak explains."""
    waves = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    phase = sum(w * s for w, s in zip(np.meshgrid(*waves, indexing="ij"), peak.shift))
    return peak.coherence * np.abs(cross) * np.exp(-2j * np.pi * phase)


def _amplitude(image: np.ndarray) -> np.ndarray:
    """Amplitudes of the spectrum of a square image, the lowest frequency in the middle."""
    return np.fft.fftshift(np.abs(np.asarray(fft.fft2(image - image.mean(), workers=get_threads()))))


def _highest(amplitude: np.ndarray) -> float:
    """Cycles over the lattice up to which a spectrum stands out of its noise."""
    size = len(amplitude)
    away = np.hypot(*np.meshgrid(*[np.arange(n) - n // 2 for n in amplitude.shape], indexing="ij"))
    rings = ndimage.mean(amplitude, away.astype(int), np.arange(size // 2))
    noise = np.median(amplitude[away > _OUTER * size / 2])
    above = np.flatnonzero(rings > _FLOOR * noise)
    return float(np.clip(above.max(initial=0), 6 * _LOWEST, _OUTER * size / 2))


def _polar(amplitude: np.ndarray, highest: float) -> np.ndarray:
    """Log-amplitudes by angle (rows, half a turn) and log-radius, without each ring's mean."""
    angles = np.arange(_ANGLES) * np.pi / _ANGLES
    radii = np.geomspace(_LOWEST, highest, _RADII)
    index = len(amplitude) // 2 + np.stack([np.cos(angles)[:, None] * radii, np.sin(angles)[:, None] * radii])
    polar = ndimage.map_coordinates(
        np.log(amplitude + 1e-6 * amplitude.max()), index, order=1, mode="nearest"
    )
    polar -= polar.mean(axis=0)
    taper = np.sin(np.pi * (np.arange(_RADII) + 0.5) / _RADII) ** 2
    # twice as long, so that larger and smaller are told apart
    return np.pad(polar * taper, ((0, 0), (0, _RADII)))
