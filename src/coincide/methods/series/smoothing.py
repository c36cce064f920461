"""Motion made smooth in time, by as much as the series itself asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEAST = 8
"""Frames from which a series can tell motion from error."""
_SUSPECTED, _FAR = 5.0, 6.0
"""Times the usual distance from what its neighbours say from which a frame is looked at again, and times the spread of
what all the others foretell from which it is taken for lost, and left out."""
_BEYOND = 2.0
"""Frames beyond the first and the last one that is known for which the motion goes on."""
_AS_LIKELY = 3.0
"""How much less the logarithm of the evidence may be for what explains a course as well: short motions and errors look
alike, and motion must not be smoothed away."""
_WINDOW, _SHARED = 120, 40
"""Frames that are looked at together, and how many of them the next window shares."""
_REACHES = np.geomspace(1.0, 60.0, 14)
"""Frames over which motion hangs together, that are tried."""
_NOISES = np.geomspace(1e-8, 10.0, 28)
"""Variances of the error, as shares of that of the motion, that are tried."""

KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jerky": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "steady": lambda r: (1 + np.sqrt(5) * r + 5 / 3 * r * r) * np.exp(-np.sqrt(5) * r),
    "smooth": lambda r: np.exp(-0.5 * r * r),
}
"""How what happens at two times hangs together, by their distance: Matérn's kernels of 3/2 and 5/2, and Gauss's."""


def smoothed(
    times: np.ndarray, values: np.ndarray, wanted: np.ndarray, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """What courses most likely were, given values with errors; by their own likeliest smoothness.

    A Gaussian process for each: its kernel, how far it reaches, and how large the errors are, are those under which the
    values are the most probable. So motion that is quick, or seen clearly, is hardly touched. Frames far from
    what their neighbours say are left out. Source: Rasmussen and Williams, "Gaussian processes for machine learning"
    (2006), chapters 2 and 5.

    Args:
        times: `(frame,)`, ascending, in frames.
        values: `(frame, number)`, all in one unit.
        wanted: times that the courses are wanted at.
        most: error from which what a value's neighbours foretell is of no use to it, in the unit of `values`: a course
            that is quicker than that is left as it is.

    Returns:
        `(wanted, number)`, and `(frame,)` bool, the frames that were left out.
    """
    if len(times) < LEAST:
        found = np.stack([np.interp(wanted, times, course) for course in values.T], -1)
        return found, np.zeros(len(times), bool)
    lost = _lost(times, values, most)
    times, values = times[~lost], values[~lost]
    inside = np.clip(wanted, times[0] - _BEYOND, times[-1] + _BEYOND)
    total, weight = np.zeros((len(wanted), values.shape[1])), np.zeros((len(wanted), 1))
    for start in range(0, max(len(times) - _SHARED, 1), _WINDOW - _SHARED):
        some = slice(start, start + _WINDOW)
        share = _hat(inside, times[some], start == 0, start + _WINDOW >= len(times))[:, None]
        total += share * np.stack([p.mean(inside) for p in _likeliest(times[some], values[some], most)], -1)
        weight += share
    return total / weight, lost


def _lost(times: np.ndarray, values: np.ndarray, most: float) -> np.ndarray:
    """Frames that lie where nothing that the others say would lead, `(frame,)` bool."""
    off = _left(times, values)
    suspected = off > _SUSPECTED * (np.median(off) / 0.6745 + 1e-9)
    lost = np.zeros(len(times), bool)
    if not suspected.any() or len(times) - suspected.sum() < LEAST:
        return lost
    # motion that is quick leaves the neighbours' line too: it is foretold with a large spread
    for course, process in zip(values.T, _likeliest(times[~suspected], values[~suspected], most)):
        apart = np.abs(course[suspected] - process.mean(times[suspected]))
        lost[suspected] |= apart > _FAR * process.spread(times[suspected])
    return lost


@dataclass(frozen=True, eq=False)
class _Process:
    """A Gaussian process through a course.

    Args:
        kernel: one of `KERNELS`.
        reach: frames.
        times: of the values.
        values: `(frame,)`.
        noise: variance of the errors, in units of the motion's.
        size: variance of the motion.
    """

    kernel: Callable[[np.ndarray], np.ndarray]
    reach: float
    times: np.ndarray
    values: np.ndarray
    noise: float
    size: float

    @cached_property
    def inverse(self) -> np.ndarray:
        """Of the covariance of the values, in units of the motion's variance."""
        return np.linalg.inv(self._near(self.times) + self.noise * np.eye(len(self.times)))

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each value counts."""
        return self.inverse @ (self.values - self.values.mean())

    @property
    def foretold(self) -> float:
        """How far a value is, in the median, from what all the others foretell."""
        return float(np.median(np.abs(self.weights / np.diag(self.inverse))))

    def mean(self, wanted: np.ndarray) -> np.ndarray:
        """What the course most likely was at the times `wanted`."""
        return self.values.mean() + self._near(wanted) @ self.weights

    def spread(self, wanted: np.ndarray) -> np.ndarray:
        """Standard deviation of a value that would be seen there."""
        near = self._near(wanted)
        left = 1 + self.noise - np.einsum("wi,ij,wj->w", near, self.inverse, near)
        return np.sqrt(self.size * np.maximum(left, self.noise))

    def _near(self, wanted: np.ndarray) -> np.ndarray:
        return self.kernel(np.abs(wanted[:, None] - self.times) / self.reach)


def _likeliest(times: np.ndarray, values: np.ndarray, most: float) -> list[_Process]:
    """The likeliest process of each course; one that cannot foretell its values to `most` is without errors."""
    centred, apart = (values - values.mean(0)).T, np.abs(times[:, None] - times)
    plans = [(kernel, reach) for kernel in KERNELS.values() for reach in _REACHES]
    tried = [_evidence(kernel(apart / reach), centred) for kernel, reach in plans]
    told, size = (np.stack(part, 1) for part in zip(*tried))
    found = []
    for course, (own, variance) in enumerate(zip(told, size)):
        # of what is about as likely the least errors
        errors = np.where(own <= own.min() + _AS_LIKELY, variance * _NOISES, np.inf)
        for chosen in (errors, np.where(_NOISES[0] == _NOISES, own, np.inf)):
            plan, noise = np.unravel_index(int(chosen.argmin()), chosen.shape)
            kernel, reach = plans[plan]
            process = _Process(kernel, reach, times, values[:, course], _NOISES[noise], variance[plan, noise])
            if process.foretold <= most:
                break
        found.append(process)
    return found


def _evidence(covariance: np.ndarray, centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minus the logarithm of the evidence, and the variance of the motion, `(course, noise)` each.

    Args:
        covariance: of the motion, for a variance of 1.
        centred: `(course, frame)`.
    """
    lengths, axes = np.linalg.eigh(covariance)
    along = centred @ axes
    spread = np.maximum(lengths, 0)[:, None] + _NOISES
    # the variance of the motion is known in closed form
    size = (along[:, :, None] ** 2 / spread).mean(1) + 1e-12
    return 0.5 * (centred.shape[1] * np.log(size) + np.log(spread).sum(0)), size


def _hat(wanted: np.ndarray, times: np.ndarray, begins: bool, ends: bool) -> np.ndarray:
    """How much a window counts at the times `wanted`: less towards an end that another window goes on from."""
    left = np.ones(len(wanted)) if begins else np.clip((wanted - times[0]) / _SHARED, 0, 1)
    right = np.ones(len(wanted)) if ends else np.clip((times[-1] - wanted) / _SHARED, 0, 1)
    return np.minimum(left, right) + 1e-9


def _left(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How far each value is from what its four neighbours say, `(frame,)`."""
    found = np.zeros(len(times))
    for n in range(len(times)):
        near = np.argsort(np.abs(times - times[n]), kind="stable")[1:5]
        # through each pair of neighbours a line: one neighbour that is lost itself spoils few of them
        told = [
            values[a] + (values[b] - values[a]) * (times[n] - times[a]) / (times[b] - times[a])
            for i, a in enumerate(near)
            for b in near[i + 1 :]
        ]
        found[n] = np.linalg.norm(values[n] - np.median(told, 0))
    return found
