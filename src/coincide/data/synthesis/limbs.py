"""Hands and knees in three dimensions, bent in their joints, as layers of matter along parallel rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.data.synthesis import _ray_kernels as kernels
from coincide.data.synthesis.anatomy import Anatomy, detail
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.skeleton import CARPALS, METACARPALS, PHALANGES, WAYS
from coincide.data.synthesis.structures import STRUCTURES
from coincide.grid import Grid
from coincide.transforms.linear import rotation_matrix

Rod = tuple[str, np.ndarray, np.ndarray, float, float]
"""Structure (empty: flesh), start and end (mm), radius at either."""

STILL = {
    "hand": ("radius", "ulna", *(f"carpal {n}" for n in range(1, 9))),
    "knee": ("femur", "patella"),
}
"""What of a limb keeps still while its joints bend."""
_STRETCHES = 8
"""Stretches of matter that a ray may go through, one after the other."""
_TOWARDS = np.array([0.0, 0, 1])
"""Where fingers bend to: away from the viewer."""


@dataclass(frozen=True)
class Bearing:
    """How a limb is held.

    Args:
        bent: how far its joints are bent, 0 to 1: straight to a loose fist, or a knee by 90°.
        spread: how far the fingers are apart, 0.4 to 1.7.
    """

    bent: float
    spread: float = 1.0


def limb(rng: np.random.Generator, grid: Grid, name: str, bearing: Bearing, metal: bool) -> Anatomy:
    """A `"hand"` or a `"knee"`, held in a certain way; the same `rng` makes the same limb in any bearing.

    Args:
        rng: for everything else that is drawn, the direction it is seen from included.
        grid: of the pictures.
        name: which.
        bearing: how it is held.
        metal: whether there are implants in it, or a ring on it.
    """
    bones, flesh, implants = (_hand if name == "hand" else _knee)(rng, bearing)
    size = rng.uniform(0.62, 1.05) if name == "hand" else rng.uniform(0.8, 1.1)
    turn = _view(rng, name)
    mirror = np.array([rng.choice((-1.0, 1.0)), 1.0, 1.0])
    extent = (230.0, 330.0) if name == "hand" else (300.0, 380.0)
    rods = [
        [
            (n, size * mirror * (turn @ a), size * mirror * (turn @ b), size * r0, size * r1)
            for n, a, b, r0, r1 in part
        ]
        for part in (bones, flesh, implants if metal else [])
    ]
    return _projected(rng, grid, rods, extent)


def _view(rng: np.random.Generator, name: str) -> np.ndarray:
    """The rotation of the limb about its length: hands lie flat, about; knees are seen from the front or the side."""
    angle = rng.normal(0, 15) if name == "hand" else rng.choice((0.0, 90.0)) + rng.normal(0, 8)
    return rotation_matrix((0.0, angle, 0.0))


def _hand(rng: np.random.Generator, bearing: Bearing) -> tuple[list[Rod], list[Rod], list[Rod]]:
    """Bones, flesh and implants of a hand, palm away from the viewer."""
    bones = [
        ("radius", _at(rng, 7, -68), _at(rng, 10, -82), 12.0, 9.0),
        ("radius", _at(rng, 10, -82), _at(rng, 9, -190), 9.0, 7.0),
        ("ulna", _at(rng, -15, -68), _at(rng, -13, -80), 8.0, 6.0),
        ("ulna", _at(rng, -13, -80), _at(rng, -10, -190), 6.0, 7.0),
    ]
    flesh = [("", np.array([x, -70.0, 0]), np.array([x, -200.0, 0]), 16.0, 20.0) for x in (-14.0, 10.0)]
    for n, (x, y, r) in enumerate(CARPALS):
        place = _at(rng, x, y, _arch(x))
        half = rng.normal(0, 2, 3)
        bones.append((f"carpal {n + 1}", place - half, place + half, 0.9 * r, 0.9 * r))
    flesh += [
        ("", np.array([x, -68.0, 0]), np.array([1.3 * x, -25.0, 0]), 15.0, 14.0) for x in (-12.0, 0, 12)
    ]
    fingers = [_finger(rng, finger, bearing) for finger in range(5)]
    for more, around in fingers:
        bones += more
        flesh += around
    flesh += [("", np.array([x, -30.0, 2]), np.array([1.5 * x, 22.0, 3]), 13.0, 12.0) for x in (-8.0, 0, 9)]
    chosen = fingers[int(rng.integers(1, 5))][0]
    shafts = [rod for rod in chosen if rod[0].startswith(("metacarpal", "proximal"))]
    return bones, flesh, _ring(shafts[4]) if rng.random() < 0.5 else _fixed(rng, shafts[:3])


def _at(rng: np.random.Generator, x: float, y: float, z: float = 0.0) -> np.ndarray:
    return np.array([x, y, z]) + rng.normal(0, 0.8, 3)


def _arch(x: float) -> float:
    """How far the palm is hollow at `x` mm from its middle."""
    return 0.006 * x * x


def _finger(rng: np.random.Generator, finger: int, bearing: Bearing) -> tuple[list[Rod], list[Rod]]:
    """The bones of a finger, each bent against the one before, and the flesh around."""
    (x, y), length = METACARPALS[finger]
    way = WAYS[finger] * (bearing.spread if finger else 0.5 + 0.5 * bearing.spread)
    start, bones, flesh, down = np.array([x, y, _arch(x)], float), [], [], 0.0
    usual = (0.0, 15, 25, 20) if finger == 0 else (0.0, 55, 70, 45)
    parts = [("metacarpal", length, 4.6), *((f"{n} phalanx", own[finger], r) for n, own, r in PHALANGES)]
    for joint, (part, long, thin) in enumerate(parts):
        own = rng.uniform(0.6, 1.2)
        if long == 0:
            continue
        reach = long * np.exp(rng.normal(0, 0.04))
        angle = (0.55 * way if joint == 0 and finger else way) + rng.normal(0, 3)
        down += usual[joint] * own * bearing.bent
        flat = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle)), 0])
        ahead = np.cos(np.deg2rad(down)) * flat + np.sin(np.deg2rad(down)) * _TOWARDS
        bones += _shaft(f"{part} {finger + 1}", start, ahead, reach, thin, joint == len(parts) - 1)
        thick = 12.0 if joint == 0 else 6.0 + 0.8 * thin
        end = start + ahead * (reach + 3.0)
        flesh.append(("", start, end - ahead * 2, thick, thick * (0.8 if joint == 0 else 0.93)))
        start = end
    return bones, flesh


def _shaft(
    name: str, start: np.ndarray, ahead: np.ndarray, long: float, thin: float, last: bool
) -> list[Rod]:
    """A long bone that widens towards both joints."""
    radii = (1.5 * thin, thin, thin * (0.7 if last else 0.95), (1.0 if last else 1.35) * thin)
    knots = [start + ahead * long * share for share in (0.1, 0.35, 0.7, 0.95)]
    return [(name, knots[n], knots[n + 1], radii[n], radii[n + 1]) for n in range(3)]


def _knee(rng: np.random.Generator, bearing: Bearing) -> tuple[list[Rod], list[Rod], list[Rod]]:
    """Bones, flesh and implants of a knee, seen from the front; its shin swings back."""
    lean = rng.normal(0, 5)
    femur = [
        (_at(rng, lean, 190), _at(rng, lean / 3, 45), 15.0, 17.0),
        (_at(rng, lean / 3, 45), _at(rng, -17, 14, 6), 17.0, 21.0),
        (_at(rng, lean / 3, 45), _at(rng, 19, 15, 6), 17.0, 20.0),
    ]
    shin = [
        ("tibia", _at(rng, 0, -190), _at(rng, 0, -55), 13.0, 16.0),
        ("tibia", _at(rng, 0, -55), _at(rng, -19, -25), 16.0, 18.0),
        ("tibia", _at(rng, 0, -55), _at(rng, 20, -25), 16.0, 17.0),
        ("fibula", _at(rng, 38, -190, 12), _at(rng, 36, -55, 14), 6.0, 6.0),
        ("fibula", _at(rng, 36, -55, 14), _at(rng, 37, -42, 14), 6.0, 9.0),
        ("", np.array([3.0, -25, 6]), np.array([6.0, -210, 8]), 50.0, 42.0),
        ("", np.array([3.0, -60, 16]), np.array([3.0, -130, 14]), 44.0, 42.0),
    ]
    swing, pivot = rotation_matrix((-90.0 * bearing.bent, 0.0, 0.0)), np.array([0.0, 12, 4])
    shin = [(n, pivot + swing @ (a - pivot), pivot + swing @ (b - pivot), r0, r1) for n, a, b, r0, r1 in shin]
    bones = [("femur", *part) for part in femur] + [rod for rod in shin if rod[0]]
    bones.append(("patella", _at(rng, 2, 34, -30), _at(rng, 2, 20, -32), 13.0, 11.0))
    flesh = [
        ("", np.array([0.0, 210, 0]), np.array([0.0, 30, 2]), 68.0, 55.0),
        *(rod for rod in shin if not rod[0]),
    ]
    replaced = [rod for rod in bones if rod[0] == "tibia"][1:]
    metal = _replaced(femur[1:], replaced) if rng.random() < 0.5 else _fixed(rng, [bones[0], bones[3]])
    return bones, flesh, metal


def _fixed(rng: np.random.Generator, shafts: list[Rod]) -> list[Rod]:
    """A nail along a bone, or a plate beside it held by screws."""
    _, a, b, r0, r1 = shafts[int(rng.integers(len(shafts)))]
    along, thick = (b - a) / np.linalg.norm(b - a), 0.5 * (r0 + r1)
    if rng.random() < 0.5:
        return [("", a, b, 0.35 * thick, 0.35 * thick)]
    aside = np.cross(along, [0.3, 0.2, 1.0])
    aside *= 1.15 * thick / np.linalg.norm(aside)
    screws = [a + share * (b - a) for share in np.linspace(0.1, 0.9, 5)]
    return [
        ("", a + aside, b + aside, 0.22 * thick, 0.22 * thick),
        *(("", at + aside, at - 0.9 * aside, 0.14 * thick, 0.1 * thick) for at in screws),
    ]


def _ring(bone: Rod) -> list[Rod]:
    """A ring around a finger."""
    _, a, b, _, thick = bone
    along = (b - a) / np.linalg.norm(b - a)
    across = np.cross(along, _TOWARDS)
    across /= np.linalg.norm(across)
    turns = np.linspace(0, 2 * np.pi, 17)[:, None]
    path = a + (thick + 5.5) * (np.cos(turns) * across + np.sin(turns) * np.cross(along, across))
    return [("", path[n], path[n + 1], 1.2, 1.2) for n in range(16)]


def _replaced(femur: list[tuple], tibia: list[Rod]) -> list[Rod]:
    """A knee that is replaced: caps on the femur, a tray with a stem on the tibia."""
    caps = [("", b - 0.2 * (b - a), b, 0.5 * r1, 1.02 * r1) for a, b, _, r1 in femur]
    left, right, root = tibia[0][2], tibia[1][2], tibia[0][1]
    top = 0.5 * (left + right)
    up = (top - root) / np.linalg.norm(top - root)
    return [*caps, ("", left + 14 * up, right + 14 * up, 4.0, 4.0), ("", top + 12 * up, root, 5.0, 4.0)]


def _projected(
    rng: np.random.Generator, grid: Grid, rods: list[list[Rod]], extent: tuple[float, float]
) -> Anatomy:
    """Bones, flesh and implants as mm of each matter along rays across the picture."""
    step = float(grid.spacing.min())
    shape = tuple(int(np.ceil(1.15 * e / step)) for e in extent)
    lattice = Grid.from_spacing(shape, step, -(np.asarray(shape) - 1) / 2 * step)
    wavy, rough = (smooth_noise(rng, shape, width / step)[0] for width in (30.0, 6.0))
    wall, labels, near = rng.uniform(0.12, 0.35), np.zeros(shape, np.int16), np.full(shape, 1e9)

    def layer(part: list[Rod], noise: np.ndarray, share: float) -> np.ndarray:
        spans = np.zeros((*shape, _STRETCHES, 2), np.float32)
        if part:
            rows = np.array([[*a, *b, r0, r1] for _, a, b, r0, r1 in part])
            names = np.array([STRUCTURES[n].label if n and not share else 0 for n, *_ in part], np.int16)
            kernels.project(spans, labels, near, lattice.origin, lattice.spacing, noise, rows, names, share)
        return np.maximum(spans[..., 1] - spans[..., 0], 0).sum(-1)

    bones, flesh, metal = rods
    whole, bone, marrow, steel = (
        layer(flesh, wavy, 0.0),
        layer(bones, rough, 0.0),
        layer(bones, rough, wall),
        layer(metal, np.zeros(shape, np.float32), 0.0),
    )
    # what flesh takes away is much the same all over: films are exposed and shown for bones
    seen = rng.uniform(0.4, 0.9)
    labels[(labels == 0) & (whole > 0)] = STRUCTURES["soft tissue"].label
    matters = np.stack(
        [np.maximum(bone - marrow, 0), marrow, seen * np.maximum(whole - bone - steel, 0), steel]
    )
    return Anatomy(labels, lattice, detail(rng, lattice), matters, ("bone", "marrow", "soft", "metal"))
