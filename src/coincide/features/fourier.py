"""Fourier descriptors: closed curves as a few complex numbers, by which they are laid on each other.

Zahn and Roskies 1972, doi:10.1109/TC.1972.5008949; Persoon and Fu 1977, doi:10.1109/TSMC.1977.4309681.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.errors import PointsError
from coincide.features.contours import area, even

_POINTS = 1024
"""Points along a curve that its descriptors are worked out from."""
_ROUNDS = 3
"""Times that the length is measured again along the curve without what the noise adds."""
_STARTS = 4096
"""Places along the curve that are tried for the first point, before the best is refined."""
_APART = 0.06
"""Share of the curve by which two first points differ, or else they are the same."""


@dataclass(frozen=True, eq=False)
class Descriptors:
    """A closed curve as a sum of circles: `centre + Σ c_k exp(2πi k t)` at the share `t` of its length.

    Args:
        centre: of the curve, mm, `(2,)`.
        orders: `k`, whole numbers but 0.
        coefficients: `c_k`, complex, mm.
    """

    centre: np.ndarray
    orders: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of(cls, contour: np.ndarray, harmonics: int = 24) -> Descriptors:
        """The descriptors of a closed curve, mm, in either sense; they are those of its counter-clockwise one.

        Args:
            contour: `(number, 2)`, the first point not repeated.
            harmonics: the highest order either way; what is finer is left out, noise among it.

        Raises:
            PointsError: fewer than 8 points, or a curve round nothing.
        """
        contour = np.asarray(contour, dtype=np.float64)
        if len(contour) < 8 or abs(area(contour)) < 1e-9:
            raise PointsError(
                f"a closed curve of {len(contour)} points round {abs(area(contour)):.3g} mm² has no shape to tell; "
                "expected 8 points or more round some area. Take another outline."
            )
        curve = contour if area(contour) > 0 else contour[::-1]
        highest = min(harmonics, (len(contour) - 1) // 2)
        orders = np.r_[-highest:0, 1 : highest + 1]
        for _ in range(_ROUNDS):
            points = even(curve, _POINTS)
            complete = np.fft.fft(points[:, 0] + 1j * points[:, 1]) / _POINTS
            found = cls(np.array([complete[0].real, complete[0].imag]), orders, complete[orders])
            curve = found.curve(_POINTS)
        return found

    @property
    def size(self) -> float:
        """Root mean square distance of the curve from its centre, mm."""
        return float(np.sqrt((np.abs(self.coefficients) ** 2).sum()))

    @property
    def shape(self) -> np.ndarray:
        """What is left of the curve when its place, size, rotation and first point are left out."""
        return np.abs(self.coefficients) / self.size

    def curve(self, number: int, start: float = 0.0) -> np.ndarray:
        """So many points along the curve, from the share `start` of its length on, `(number, 2)` mm."""
        t = start + np.arange(number) / number
        z = np.einsum("k,kt->t", self.coefficients, np.exp(2j * np.pi * np.outer(self.orders, t)))
        return self.centre + np.stack([z.real, z.imag], axis=1)

    def mirrored(self) -> Descriptors:
        """Those of the curve with its second coordinate negated."""
        return Descriptors(self.centre * (1, -1), self.orders, self.coefficients.conj())


@dataclass(frozen=True, eq=False)
class Match:
    """How one closed curve lies on another.

    Args:
        matrix: homogeneous, fixed mm → moving mm; a similarity, after a reflection where `reflected`.
        start: where the moving curve begins, as a share of the fixed one's length.
        rotation: degrees, counter-clockwise, after the reflection.
        scale: factor.
        reflected: whether the mirror image fits better.
        residual: root mean square distance of the two curves at equal shares of their lengths, in their size.
        other: the same of the best match that is a different one: another first point.
        mirror: the same of the best match that is reflected if this one is not, and not if it is.
    """

    matrix: np.ndarray
    start: float
    rotation: float
    scale: float
    reflected: bool
    residual: float
    other: float
    mirror: float


def match(fixed: Descriptors, moving: Descriptors, reflect: bool = True) -> Match:
    """The similarity that lays one closed curve on another, by least squares over every first point.

    Args:
        fixed: fixed-world mm.
        moving: moving-world mm.
        reflect: whether a reflection may be taken; without, what it would gain is told all the same.
    """
    straight, other = _turned(fixed, moving)
    mirrored, other_mirrored = _turned(fixed.mirrored(), moving)
    reflected = reflect and mirrored.residual < straight.residual
    best, rival, mirror = (mirrored, other_mirrored, straight) if reflected else (straight, other, mirrored)
    linear = best.factor * np.exp(1j * best.angle)
    matrix = np.eye(3)
    matrix[:2, :2] = [[linear.real, -linear.imag], [linear.imag, linear.real]]
    if reflected:
        matrix[:2, 1] *= -1
    matrix[:2, 2] = moving.centre - matrix[:2, :2] @ fixed.centre
    # a mirrored curve is run through the other way round
    start = -best.start % 1 if reflected else best.start
    angle = float(np.rad2deg(best.angle))
    return Match(matrix, start, angle, best.factor, reflected, best.residual, rival, mirror.residual)


@dataclass(frozen=True)
class _Turn:
    start: float
    angle: float
    factor: float
    residual: float


def _turned(fixed: Descriptors, moving: Descriptors) -> tuple[_Turn, float]:
    """The best similarity without a reflection, and the residual of the best other one."""
    shared = np.intersect1d(fixed.orders, moving.orders)
    f, m = (d.coefficients[np.isin(d.orders, shared)] for d in (fixed, moving))
    products, size = f.conj() * m, float(np.sqrt((np.abs(f) ** 2).sum() * (np.abs(m) ** 2).sum()))

    def overlap(start):
        return np.einsum("k,k...->...", products, np.exp(-2j * np.pi * np.multiply.outer(shared, start)))

    places = np.arange(_STARTS) / _STARTS
    values = np.abs(overlap(places))
    first = _refined(overlap, places[int(np.argmax(values))])
    away = np.abs((places - first + 0.5) % 1 - 0.5) > _APART
    peaks = away & (values >= np.roll(values, 1)) & (values >= np.roll(values, -1))
    other = float(values[peaks].max()) if peaks.any() else 0.0
    best = overlap(np.array(first))
    # the ratio of the sizes, as least squares shrink a noisy curve
    factor = float(np.sqrt((np.abs(m) ** 2).sum() / (np.abs(f) ** 2).sum()))
    turn = _Turn(float(first % 1), float(np.angle(best)), factor, _residual(abs(best) / size))
    return turn, _residual(other / size)


def _refined(overlap, start: float) -> float:
    """The place where the overlap is largest near `start`, by parabolas through three ever nearer places."""
    step = 1 / _STARTS
    for _ in range(6):
        low, here, high = np.abs(overlap(start + np.array([-step, 0, step])))
        bend = low - 2 * here + high
        start += float(np.clip(0.5 * step * (low - high) / bend, -step, step)) if bend < 0 else 0.0
        step /= 4
    return start


def _residual(cosine: float) -> float:
    """Distance of two vectors of length one, by the cosine between them, when both are as long as each other."""
    return float(np.sqrt(max(2 - 2 * cosine, 0.0)))
