"""Hands and knees as radiographs show them: bones and flesh as round cones, seen through."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis import _paint_kernels as kernels
from coincide.data.synthesis.anatomy import Anatomy, detail
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.structures import STRUCTURES
from coincide.grid import Grid

Rod = tuple[str, np.ndarray, np.ndarray, float, float]
"""Structure, start and end (mm), radius at either."""

METACARPALS = (((20, -36), 44), ((13, -22), 65), ((3, -20), 63), ((-7, -22), 57), ((-16, -26), 53))
WAYS = (46.0, 11.0, 1.0, -9.0, -20.0)
PHALANGES = (
    ("proximal", (31, 41, 45, 42, 33), 4.0),
    ("middle", (0, 24, 28, 27, 19), 3.3),
    ("distal", (22, 16, 17, 17, 16), 2.6),
)
CARPALS = (
    (15, -52, 8),
    (3, -53, 8),
    (-9, -52, 7),
    (-14, -49, 5),
    (19, -41, 7),
    (11, -38, 6),
    (2, -38, 9),
    (-10, -39, 7),
)


def hand(rng: np.random.Generator, grid: Grid, spread: float | None = None) -> Anatomy:
    """A hand with its wrist, left or right, of a child or a grown-up, fingers apart or together.

    Args:
        rng: for everything that is drawn.
        grid: of the pictures.
        spread: how far the fingers are apart, 0.4 to 1.7; drawn where left out, and the rest of the hand is the same.
    """
    bones, flesh = _forearm(rng), []
    flesh += [("", b[1], b[2], 17.0, 21.0) for b in bones]
    flesh.append(("", np.array([4.0, -40.0]), np.array([-1.0, 22.0]), 27.0, 27.0))
    bones += [(f"carpal {n + 1}", *_place(rng, x, y), r, r) for n, (x, y, r) in enumerate(CARPALS)]
    drawn = rng.uniform(0.4, 1.7)
    spread = drawn if spread is None else spread
    for finger in range(5):
        more, around = _finger(rng, finger, spread)
        bones += more
        flesh += around
    return _developed(rng, grid, bones, flesh, rng.uniform(0.62, 1.05), (230.0, 330.0))


def knee(rng: np.random.Generator, grid: Grid) -> Anatomy:
    """A knee from the front, left or right."""
    lean = rng.normal(0, 5)
    plan = [
        ("femur", (lean, 190), (lean / 3, 45), 15, 17),
        ("femur", (lean / 3, 45), (-17, 14), 17, 23),
        ("femur", (lean / 3, 45), (19, 15), 17, 22),
        ("tibia", (0, -190), (0, -55), 13, 17),
        ("tibia", (0, -55), (-19, -23), 17, 19),
        ("tibia", (0, -55), (20, -23), 17, 18),
        ("fibula", (38, -190), (36, -55), 6, 6),
        ("fibula", (36, -55), (37, -42), 6, 10),
        ("patella", (2, 34), (2, 22), 19, 16),
    ]
    bones = [_rod(rng, name, np.array(a, float), np.array(b, float), ra, rb) for name, a, b, ra, rb in plan]
    flesh = [
        ("", np.array([0.0, 210]), np.array([0.0, 60]), 72.0, 58.0),
        ("", np.array([0.0, 60]), np.array([3.0, -40]), 58.0, 52.0),
    ]
    flesh.append(("", np.array([3.0, -40]), np.array([6.0, -210]), 52.0, 48.0))
    return _developed(rng, grid, bones, flesh, rng.uniform(0.8, 1.1), (170.0, 380.0))


def _forearm(rng: np.random.Generator) -> list[Rod]:
    radius = [("radius", (7, -68), (10, -82), 13, 9), ("radius", (10, -82), (9, -190), 9, 7)]
    ulna = [("ulna", (-15, -68), (-13, -80), 8, 6), ("ulna", (-13, -80), (-10, -190), 6, 7)]
    return [
        _rod(rng, name, np.array(a, float), np.array(b, float), ra, rb)
        for name, a, b, ra, rb in radius + ulna
    ]


def _place(rng: np.random.Generator, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    place, half = np.array([x, y]) + rng.normal(0, 1, 2), rng.normal(0, 2, 2)
    return place - half, place + half


def _rod(rng: np.random.Generator, name: str, start: np.ndarray, end: np.ndarray, *radii: float) -> Rod:
    first, last = np.asarray(radii) * np.exp(rng.normal(0, 0.06, 2))
    return (name, start + rng.normal(0, 0.8, 2), end + rng.normal(0, 0.8, 2), first, last)


def _finger(rng: np.random.Generator, finger: int, spread: float) -> tuple[list[Rod], list[Rod]]:
    (x, y), length = METACARPALS[finger]
    way = WAYS[finger] * (spread if finger else 0.5 + 0.5 * spread)
    start, bones, flesh = np.array([x, y], float), [], []
    parts = [
        ("metacarpal", length, 4.6),
        *((f"{n} phalanx", lengths[finger], r) for n, lengths, r in PHALANGES),
    ]
    for part, usual, thin in parts:
        if usual == 0:
            continue
        reach = usual * np.exp(rng.normal(0, 0.04))
        angle = np.deg2rad((0.55 * way if part == "metacarpal" and finger else way) + rng.normal(0, 3))
        ahead = np.array([np.sin(angle), np.cos(angle)])
        bones += _bone(f"{part} {finger + 1}", start, ahead, reach, thin, part.startswith("distal"))
        thick = 15.0 if part == "metacarpal" else 6.5 + 0.9 * thin
        end = start + ahead * (reach + 3.0)
        flesh.append(("", start, end - ahead * 2, thick, thick * (0.7 if part == "metacarpal" else 0.93)))
        start = end
    return bones, flesh


def _bone(
    name: str, start: np.ndarray, ahead: np.ndarray, length: float, thin: float, last: bool
) -> list[Rod]:
    """A shaft that widens towards both joints."""
    wide, tip = 1.55 * thin, (1.0 if last else 1.4) * thin
    knots = [start + ahead * length * share for share in (0.1, 0.35, 0.7, 0.95)]
    radii = (wide, thin, thin * (0.7 if last else 0.95), tip)
    return [(name, knots[n], knots[n + 1], radii[n], radii[n + 1]) for n in range(3)]


def _developed(
    rng: np.random.Generator,
    grid: Grid,
    bones: list[Rod],
    flesh: list[Rod],
    size: float,
    extent: tuple[float, float],
) -> Anatomy:
    """Flesh and bones, `size` times as large as planned, in half of the draws mirrored, as layers of matter."""
    step = float(grid.spacing.min())
    shape = tuple(int(np.ceil(1.15 * e / step)) for e in extent)
    lattice = Grid.from_spacing(shape, step, -(np.asarray(shape) - 1) / 2 * step)
    wavy, rough = (smooth_noise(rng, shape, width / step)[0] for width in (30.0, 6.0))
    labels, layers = np.zeros(shape, np.int16), np.zeros((4, *shape), np.float32)
    mirror = np.array([rng.choice((-1.0, 1.0)) * size, size])
    for rods, outer, inner, noise, wall in (
        (flesh, 0, 1, wavy, 0.0),
        (bones, 2, 3, rough, rng.uniform(0.12, 0.35)),
    ):
        rows = np.array([[*(a * mirror), *(b * mirror), ra * size, rb * size] for _, a, b, ra, rb in rods])
        names = np.array([STRUCTURES[name or "soft tissue"].label for name, *_ in rods], np.int16)
        frame = lattice.origin, lattice.spacing, noise
        kernels.paint_rods(labels, layers[outer], layers[inner], *frame, rows, names, wall)
    whole, _, bone, marrow = layers
    matters = np.stack(
        [
            np.maximum(bone - marrow, 0),
            marrow,
            np.maximum(np.minimum(whole, rng.uniform(0.3, 0.6) * whole.max()) - bone, 0),
        ]
    )
    return Anatomy(labels, lattice, detail(rng, lattice), matters, ("bone", "marrow", "soft"))
