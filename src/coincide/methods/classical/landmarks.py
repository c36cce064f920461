"""Registration by landmarks that correspond: in closed form, from rigid to the thin-plate spline."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from coincide.errors import OptionError, PointsError
from coincide.features.matches import Matches
from coincide.methods.base import AbstractMethod, Context, Solution, Status
from coincide.methods.classical.field import field_grid, fielded
from coincide.methods.parts import Part
from coincide.methods.recorder import Recorder
from coincide.optimise.fit import Model, fit_linear
from coincide.options import NotNegative, Positive, ShareBelowOne
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.linear import Affine
from coincide.transforms.thin_plate import fit_thin_plate, left_out

_STIFFNESSES = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 30.0)
_TRIED = 150
"""Landmarks that are left out, one at a time, to see what the others make of them."""
_FIELD, _LEFT_OUT = 4.0, 2e-4
"""Processor seconds for a spline's field and inverse, and for the square of the number of landmarks, at most."""
_STRANGE, _TOLD = 5.0, 4
"""Times the median by which a landmark is missed that deserves a look; and how many of them are told of."""


@dataclass(frozen=True)
class Landmarks(AbstractMethod):
    """Lays landmarks on their partners, in closed form; the landmarks steer, as nothing else does.

    Landmarks correspond by name, or row by row where the two sets share no name. Choosing this method is the consent
    that they steer: the error at the landmarks is then no independent check, but the error of each when it is left out
    is, and is reported.

    Args:
        transform: `"translation"`, `"rigid"`, `"similarity"`, `"affine"`, or `"deformable"`: a thin-plate spline.
        stiffness: of the spline: 0 passes through every landmark, 0.01 to 0.1 evens out how exactly they were placed, a
            large one leaves the affine fit; none takes what foretells left-out landmarks best.
        weights: how much each landmark counts, in the order of the fixed ones; all alike where left out.
        spacing: voxel size of the spline's field, mm; 0 takes the fixed image's, or a larger that suffices.
        least_jacobian: smallest Jacobian determinant the spline may have, relative to its linear part.

    Raises:
        OptionError: an unknown transform, or a number out of its range.
    """

    follows_landmarks: ClassVar[bool] = True

    transform: Literal["translation", "rigid", "similarity", "affine", "deformable"] = "deformable"
    stiffness: NotNegative | None = None
    weights: tuple[Positive, ...] = ()
    spacing: NotNegative = 0.0
    least_jacobian: ShareBelowOne = 0.1

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        number = 0 if pair.landmarks is None else len(pair.landmarks[0])
        spline = _FIELD + _LEFT_OUT * number**2 if self.transform == "deformable" else 0.0
        return (Part("landmarks", 0, 0.2 + spline),)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        fixed, moving = _given(pair)
        landmarks = _Landmarks(fixed.world, moving.world, self._weights(fixed, pair))
        recorder.say("landmarks", f"fitting {len(fixed)} landmarks")
        with recorder.timed("landmarks"):
            if self.transform == "deformable":
                transform, inverse, missed = self._spline(landmarks, pair, recorder)
            else:
                matrix = fit_linear(landmarks.source, landmarks.target, self.transform, landmarks.weights)
                transform = Affine(matrix, pair.fixed.grid.centre)
                inverse, missed = transform.inverse(), landmarks.linear_left_out(self.transform)
        residual = np.linalg.norm(transform(fixed.world) - moving.world, axis=1)
        recorder.evidence |= {"points": len(fixed), **_spread("residual", residual)}
        strange = self._strange(landmarks, missed, fixed.names, recorder)
        solution = recorder.solution(transform, inverse, Status.SUCCEEDED)
        return replace(solution, matches=Matches(fixed.world, moving.world, ~strange))

    def _weights(self, fixed: Points, pair: Pair) -> np.ndarray | None:
        """One weight for each of the landmarks that take part."""
        if not self.weights:
            return None
        assert pair.fixed_points is not None
        names = pair.fixed_points.names
        if len(self.weights) != len(names):
            raise OptionError(f"{len(self.weights)} weights for {len(names)} fixed landmarks; give one each.")
        by_name = dict(zip(names, self.weights))
        return np.array([by_name[name] for name in fixed.names])

    def _spline(self, landmarks: _Landmarks, pair: Pair, recorder: Recorder):
        """The spline as a field, its inverse, and how far each landmark is missed when it is left out, mm."""
        given = _STIFFNESSES if self.stiffness is None else (self.stiffness,)
        tried = {s: missed for s in given if np.isfinite(missed := landmarks.spline_left_out(s)).any()}
        stiffness = min(tried, key=lambda s: np.nanmean(tried[s])) if tried else self.stiffness or 0.0
        missed = tried.get(stiffness, np.full(len(landmarks.source), np.nan))
        recorder.evidence["stiffness"] = stiffness
        if self.stiffness is None and tried:
            recorder.decide(
                f"A stiffness of {stiffness:g} foretells left-out landmarks best: {np.nanmean(missed):.2g} mm off on "
                "average."
            )
        spline = fit_thin_plate(landmarks.source, landmarks.target, stiffness, landmarks.weights)
        found = fielded(spline, spline.linear, field_grid(pair.fixed.grid, self.spacing), self.least_jacobian)
        if found.mended:
            recorder.decide(
                f"The spline folded at {found.mended:,} voxels of its field and was smoothed there; look for landmarks "
                "that are exchanged or misplaced, or give it more stiffness."
            )
        return found.transform, found.inverse, missed

    def _strange(self, landmarks: _Landmarks, missed: np.ndarray, names, recorder: Recorder) -> np.ndarray:
        """Record what leaving landmarks out says, and which of them the others contradict, `(number,)` bool."""
        kept = np.arange(len(missed))
        if not np.isfinite(missed).any():
            recorder.decide(
                "There are just as many landmarks as the fit needs: nothing checks them. Give some more."
            )
            return np.zeros(len(missed), dtype=bool)
        recorder.evidence |= _spread("left_out", missed[np.isfinite(missed)])
        # one at a time, as a landmark that is wrong makes its neighbours look wrong too
        for _ in range(_TOLD):
            middle, worst = float(np.nanmedian(missed)), int(np.argmax(np.nan_to_num(missed)))
            if not missed[worst] > _STRANGE * middle + 1e-6:
                break
            recorder.decide(
                f"Landmark {names[kept[worst]]!r} lies {missed[worst]:.1f} mm from where the others put it (the median "
                f"is {middle:.1f} mm): check it."
            )
            kept = np.delete(kept, worst)
            part = landmarks.part(kept)
            if self.transform == "deformable":
                missed = part.spline_left_out(recorder.evidence["stiffness"])
            else:
                missed = part.linear_left_out(self.transform)
            if not np.isfinite(missed).any():
                break
        return ~np.isin(np.arange(len(landmarks.source)), kept)


@dataclass(frozen=True, eq=False)
class _Landmarks:
    """Landmarks row by row: `(number, dim)` fixed-world mm and moving-world mm, and their weights or None."""

    source: np.ndarray
    target: np.ndarray
    weights: np.ndarray | None

    def part(self, rows: np.ndarray) -> _Landmarks:
        """Some of them."""
        return _Landmarks(
            self.source[rows], self.target[rows], None if self.weights is None else self.weights[rows]
        )

    def spline_left_out(self, stiffness: float) -> np.ndarray:
        """How far a spline of the others misses each landmark, mm; NaN where not tried, or they settle none."""
        missed, few = np.full(len(self.source), np.nan), _evenly(len(self.source))
        part = self.part(few)
        with suppress(PointsError):
            missed[few] = np.linalg.norm(left_out(part.source, part.target, stiffness, part.weights), axis=1)
        return missed

    def linear_left_out(self, model: Model) -> np.ndarray:
        """The same of a linear fit."""
        missed = np.full(len(self.source), np.nan)
        for k in _evenly(len(self.source)):
            rest = self.part(np.arange(len(self.source)) != k)
            with suppress(PointsError):
                matrix = fit_linear(rest.source, rest.target, model, rest.weights)
                missed[k] = np.linalg.norm(Affine(matrix)(self.source[k]) - self.target[k])
        return missed


def _given(pair: Pair) -> tuple[Points, Points]:
    """The landmarks that correspond, row by row.

    Raises:
        PointsError: there are none.
    """
    if pair.landmarks is None:
        missing = [r for r in ("fixed", "moving") if getattr(pair, f"{r}_points") is None]
        raise PointsError(
            f"the method 'landmarks' needs landmarks on both images; there are none on the {' and the '.join(missing)} "
            "one. Give --fixed-points and --moving-points, or choose another method, such as auto."
        )
    return pair.landmarks


def _evenly(number: int) -> np.ndarray:
    """Indices of at most `_TRIED` of so many, evenly."""
    return np.unique(np.linspace(0, number - 1, min(number, _TRIED)).round().astype(int))


def _spread(name: str, lengths: np.ndarray) -> dict[str, float]:
    return {f"{name}_mean_mm": float(lengths.mean()), f"{name}_p90_mm": float(np.percentile(lengths, 90))}
