"""The joints of the fingers among the 37 landmarks of the hand radiographs, and known motion that bends them.

Landmarks, counted from 0: 13 to 17 are the bases of the metacarpals from the little finger to the thumb, 18 to 20 the
thumb's joints and tip, 21 to 24 the index finger's, and four each for the others. The angle of a joint is that between
the bone that leads to it and the one that leads on, both from landmark to landmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

CHAINS = {
    "thumb": (17, 18, 19, 20),
    "index": (16, 21, 22, 23, 24),
    "middle": (15, 25, 26, 27, 28),
    "ring": (14, 29, 30, 31, 32),
    "little": (13, 33, 34, 35, 36),
}
"""Landmarks along each finger: base of its metacarpal, joints, tip."""
JOINTS = tuple(triple for chain in CHAINS.values() for triple in zip(chain, chain[1:], chain[2:]))
"""The landmarks before, at and after each of 14 joints."""
_WRIST = ((0, 1), (2, 3), (4, 5), (6, 9), (7, 10), (8, 12))
"""Ends of what keeps still besides the metacarpals."""
_NEAR = 4.0
"""Millimetres from a bone within which all moves with it, about."""
_STEPS = 4


def joint_angles(places: np.ndarray) -> np.ndarray:
    """Angles of the joints, degrees within ±180, `(…, 14)`, of landmarks `(…, 37, 2)` mm."""
    before, at, after = (places[..., list(part), :] for part in zip(*JOINTS))
    own, on = at - before, after - at
    cross = own[..., 0] * on[..., 1] - own[..., 1] * on[..., 0]
    return np.degrees(np.arctan2(cross, (own * on).sum(-1)))


def angle_error(found: np.ndarray, true: np.ndarray) -> float:
    """Mean over the joints of how far the angles of landmarks `found` are from those of `true`, degrees."""
    off = joint_angles(found) - joint_angles(true)
    return float(np.abs((off + 180) % 360 - 180).mean())


@dataclass(frozen=True, eq=False)
class Bent:
    """A hand whose fingers are bent in their joints: rigid motions of the bones, blended so that nothing folds.

    Every bone asks for the logarithm of its own rigid motion as a velocity; a place follows all of them, the nearer the
    more, for a time of 1 (a polyrigid transform, Arsigny et al. 2009, doi:10.1007/s10851-008-0135-9). To follow it
    backwards undoes it.

    Args:
        bones: `(bone, 2, 2)` mm, where each begins and ends at rest.
        rates: `(bone, 3)`, the logarithm of its motion: radians, and mm along x and y.
    """

    bones: np.ndarray
    rates: np.ndarray

    @classmethod
    def of(cls, landmarks: np.ndarray, degrees: np.ndarray) -> Bent:
        """The hand with `landmarks` `(37, 2)` mm at rest, its `JOINTS` turned by `degrees`."""
        still = [landmarks[[a, b]] for a, b in _WRIST]
        bones, rates, turns = still, [np.zeros(3) for _ in still], iter(np.deg2rad(degrees))
        for chain in CHAINS.values():
            moved = np.eye(3)
            for joint, (start, end) in enumerate(pairwise(chain)):
                if joint:
                    moved = moved @ _turned(next(turns), landmarks[start])
                bones.append(landmarks[[start, end]])
                rates.append(_logarithm(moved))
        return cls(np.stack(bones), np.stack(rates))

    def __call__(self, places: np.ndarray, backwards: bool = False) -> np.ndarray:
        """Where `places` `(…, 2)` mm go, or came from."""
        step = (-1 if backwards else 1) / _STEPS
        for _ in range(_STEPS):
            a = self._velocity(places)
            b = self._velocity(places + step / 2 * a)
            c = self._velocity(places + step / 2 * b)
            d = self._velocity(places + step * c)
            places = places + step / 6 * (a + 2 * b + 2 * c + d)
        return places

    def _velocity(self, places: np.ndarray) -> np.ndarray:
        total, rate = np.zeros(places.shape[:-1]), np.zeros((*places.shape[:-1], 3))
        for (start, end), own in zip(self.bones, self.rates):
            along = end - start
            share = np.clip((places - start) @ along / (along @ along), 0, 1)
            off = places - start - share[..., None] * along
            weight = ((off * off).sum(-1) + _NEAR**2) ** -2.0
            total += weight
            rate += weight[..., None] * own
        turn, x, y = np.moveaxis(rate / total[..., None], -1, 0)
        return np.stack([x - turn * places[..., 1], y + turn * places[..., 0]], -1)


def _turned(angle: float, centre: np.ndarray) -> np.ndarray:
    """A rotation about `centre`, `(3, 3)`."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    matrix[:2, 2] = centre - matrix[:2, :2] @ centre
    return matrix


def _logarithm(matrix: np.ndarray) -> np.ndarray:
    """Radians, and mm along x and y, of the steady motion that leads to a rigid matrix in a time of 1."""
    angle = np.arctan2(matrix[1, 0], matrix[0, 0])
    if abs(angle) < 1e-9:
        return np.array([0.0, *matrix[:2, 2]])
    a, b = np.sin(angle) / angle, (1 - np.cos(angle)) / angle
    return np.array([angle, *np.linalg.solve([[a, -b], [b, a]], matrix[:2, 2])])
