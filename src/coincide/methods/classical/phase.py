"""Phase correlation, and Fourier–Mellin in 2-D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from scipy import fft
from scipy.optimize import minimize
from scipy.signal.windows import tukey

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.surface_start import linear_start
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.ops.memory import require
from coincide.optimise.phase import Peak, shift_between, turns_between
from coincide.options import NotNegative, Range, Share
from coincide.pair import Pair
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import resample_smooth
from coincide.transforms.linear import Affine, about, rotation_matrix, translation

_LARGEST = {2: 384, 3: 112}
"""Voxels along the longest axis that are looked at, at most, where nothing else is asked for."""
_BYTES = 100
"""Memory for each voxel: both images, their spectra, and what is worked out from them, in complex double precision."""
_TRIES = 60
"""Shifts that are looked for, at most, to find turn and size to a fraction of a degree."""
_COSTS = 3e-7
"""Processor seconds per voxel of the lattice and shift, at most."""


@dataclass(frozen=True)
class Phase(AbstractMethod):
    """Phase correlation: the shift between two images in one stroke, to a fraction of a voxel; in 2-D with rotation.

    All frequencies that rise above the noise vote on the shift, in mm and along whatever axes the images lie. In 2-D
    the amplitudes of the spectra give rotation and size first, however large the rotation (Fourier–Mellin). It needs no
    start and minds neither brightness nor contrast, but the images must show mostly the same thing.

    Args:
        model: how far the transform goes; auto takes a similarity in 2-D and a translation in 3-D, where there is no
            more.
        spacing: voxel size that is looked at, mm; 0 takes the fixed image's, or a larger one that suffices.
        taper: share of each image, from either border, over which it fades out, so that the border is no edge.
        least_coherence: share of the frequencies that must agree; below it the images are taken for different things.
        least_clearness: times that the peak must be higher than the next one. Pictures of one thing reach 5 and more,
            9 where they share but a half; unrelated ones, or two people's, up to 3 at a place that means nothing.

    Raises:
        OptionError: an unknown model, or a number out of its range.
    """

    model: Literal["auto", "translation", "rigid", "similarity"] = "auto"
    spacing: NotNegative = 0.0
    taper: Annotated[float, Range(0, 0.5)] = 0.1
    least_coherence: Share = 0.03
    least_clearness: NotNegative = 3.0

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        shape, _ = _lattice(pair, self.spacing)
        shifts = 1 if self._model(pair) == "translation" else _TRIES + 12
        return (Part("phase", 0, 0.2 + _COSTS * shifts * float(np.prod(shape))),)

    def _model(self, pair: Pair) -> str:
        return self.model if self.model != "auto" else "similarity" if pair.dim == 2 else "translation"

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        model = self._model(pair)
        if pair.dim == 3 and model != "translation":
            raise OptionError(
                f"phase finds no {model} in 3-D, where spectra give a shift alone. Take model=translation, or blocks."
            )
        recorder = Recorder(context.progress)
        start = linear_start(pair, model)
        if pair.initial is None:
            start = translation(pair.moving.grid.centre - pair.fixed.grid.centre)
        with recorder.timed("phase"):
            recorder.say("phase", "correlating phases")
            spectra = _Spectra(self, pair)
            if model == "translation":
                found, peak = spectra.shifted(start.matrix)
            else:
                found, peak = spectra.turned(start.matrix, model == "similarity")
        recorder.evidence |= {"coherence": peak.coherence, "clearness": peak.clearness}
        told = (
            f"{100 * peak.coherence:.0f} % of the frequencies agree on the shift; the peak is {peak.clearness:.1f} "
            "times as high as the next."
        )
        if model == "translation":
            told += " Rotation and size were not looked for."
        weak = peak.coherence < self.least_coherence or peak.clearness < self.least_clearness
        recorder.decide(
            f"{told} That is too little to go by: they may show different things." if weak else told
        )
        transform = Affine(found, pair.fixed.grid.centre)
        status = Status.NO_CORRESPONDENCE if weak else Status.SUCCEEDED
        return recorder.solution(transform, transform.inverse(), status)


class _Spectra:
    """Both images, faded out at their borders, on one periodic lattice of the fixed world."""

    def __init__(self, options: Phase, pair: Pair):
        images = [_faded(normalise(image), options.taper) for image in (pair.fixed, pair.moving)]
        self.fixed, self.moving = images
        shape, spacing = _lattice(pair, options.spacing)
        u, _, vt = np.linalg.svd(pair.fixed.grid.direction)
        origin = pair.fixed.grid.centre - u @ vt @ (spacing * (np.array(shape) // 2))
        self.grid = Grid.from_spacing(shape, spacing, origin, u @ vt)
        self.here = self._seen(self.fixed, np.eye(pair.dim + 1))

    def _seen(self, image: Image, matrix: np.ndarray) -> np.ndarray:
        return resample_smooth(image.data, image.grid, self.grid, matrix)[0].numpy().astype(np.float64)

    def shifted(self, matrix: np.ndarray) -> tuple[np.ndarray, Peak]:
        """`matrix` (fixed-world mm → moving-world mm) after the shift that is left, and the peak that gave it."""
        peak = shift_between(self.here, self._seen(self.moving, matrix))
        return matrix @ translation(self.grid.affine[:-1, :-1] @ peak.shift).matrix, peak

    def turned(self, matrix: np.ndarray, scaled: bool) -> tuple[np.ndarray, Peak]:
        """`matrix` after the turn, size and shift that are left, and the peak of the shift."""
        there = self._seen(self.moving, matrix)
        tried = [
            self.shifted(matrix @ self._about_middle(angle, turn.scale))
            for turn in turns_between(self.here, there, scaled)
            for angle in (turn.angle, turn.angle + 180)
        ]
        best, _ = max(tried, key=lambda t: t[1].coherence)
        angle, scale = self._polished(best, scaled)
        return self.shifted(best @ self._about_middle(angle, scale))

    def _polished(self, matrix: np.ndarray, scaled: bool) -> tuple[float, float]:
        """The turn (degrees) and the size that raise the peak most, near those of `matrix`."""

        def low(steps: np.ndarray) -> float:
            scale = float(np.exp(steps[1] / 100)) if scaled else 1.0
            return -self.shifted(matrix @ self._about_middle(float(steps[0]), scale))[1].coherence

        corners = np.array([[0.0, 0.0], [0.4, 0.0], [0.0, 0.8]]) if scaled else np.array([[0.0], [0.4]])
        found = minimize(
            low if scaled else lambda s: low(np.array([s[0], 0.0])),
            corners[0],
            method="Nelder-Mead",
            options={"initial_simplex": corners, "maxfev": _TRIES, "xatol": 0.003, "fatol": 1e-6},
        ).x
        return float(found[0]), float(np.exp(found[1] / 100)) if scaled else 1.0

    def _about_middle(self, angle: float, scale: float) -> np.ndarray:
        """A turn and a change of size in index space, about the lattice's middle, as a matrix of the fixed world."""
        middle = np.array(self.grid.shape) // 2
        turn = about(scale * rotation_matrix(angle), np.zeros(2), middle).matrix
        return self.grid.affine @ turn @ self.grid.inverse_affine


def _lattice(pair: Pair, spacing: float) -> tuple[list[int], float]:
    """Shape and voxel size (mm) of the lattice that both images are laid on; a spacing of 0 leaves the size to it."""
    across = np.array(
        [np.ptp(i.grid.corners @ pair.fixed.grid.direction, axis=0) for i in (pair.fixed, pair.moving)]
    )
    across = across.max(0)
    own = float(np.prod(pair.fixed.grid.spacing) ** (1 / pair.dim))
    spacing = spacing or max(own, float(across.max()) / _LARGEST[pair.dim])
    across = np.full(pair.dim, np.linalg.norm(across)) if pair.dim == 2 else across
    # half as wide again: a shift by up to that much goes round to no wrong place
    wide = np.ceil(1.5 * across / spacing) + 1
    told = f"spectra of {np.prod(wide):,.0f} voxels of {spacing:g} mm"
    require(int(_BYTES * np.prod(wide)), told, "Take a larger spacing, or leave it out.")
    return [fft.next_fast_len(int(n), real=True) for n in wide], spacing  # type: ignore - scipy states no type


def _faded(image: Image, share: float) -> Image:
    """The image, fading to zero towards its borders; zero where it is masked out."""
    data = image.data if image.mask is None else image.data * image.mask
    for axis, n in enumerate(image.grid.shape, start=1):
        window = torch.from_numpy(tukey(n + 2, 2 * share)[1:-1].astype(np.float32))
        data = data * window.reshape([-1 if a == axis else 1 for a in range(data.ndim)])
    # a border of zeros: beyond it the border's value would go on
    padded = torch.nn.functional.pad(data, (1, 1) * image.dim)
    grid = image.grid.cropped([-1] * image.dim, np.asarray(image.grid.shape) + 1)
    return Image(padded, grid, name=image.name)
