"""A trunk: skin, fat and muscle, spine and ribs, lungs and heart, and the organs of the abdomen."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis.canvas import SIDES, Canvas, Capsule, Ellipsoid, tube
from coincide.data.synthesis.organs import paint_organs
from coincide.data.synthesis.vessels import branches

TRUNK = np.array([[-185.0, -125.0, -270.0], [185.0, 135.0, 240.0]])
"""Corners of a trunk in mm, RAS+; z is 0 near the dome of the diaphragm."""
_CHEST = ((0, 4, 110), (150, 100, 190))
_WALL = (_CHEST, ((0, 8, -90), (148, 105, 200)), ((0, 2, -250), (160, 105, 140)))


def paint_body(canvas: Canvas) -> None:
    """Paint a trunk."""
    fat, muscle = canvas.rng.uniform(4, 28), canvas.rng.uniform(6, 14)
    wall = canvas.depth([Ellipsoid("muscle", *canvas.varied(*part)) for part in _WALL], 50)
    canvas.shell("skin", wall, -fat - 2, np.inf)
    canvas.shell("fat", wall, -fat, np.inf)
    canvas.shell("muscle", wall, 0, np.inf)
    canvas.shell("fat", wall, muscle + 8, np.inf)
    _paint_lungs(canvas)
    _paint_heart(canvas)
    paint_organs(canvas)
    _paint_great_vessels(canvas)
    _paint_spine(canvas)
    _paint_ribs(canvas)
    _paint_pelvis(canvas)


def _paint_lungs(canvas: Canvas) -> None:
    for side, x in SIDES:
        lung = canvas.varied((x * 70, -6, 70), (50, 72, 140))
        canvas.paint([Ellipsoid(f"{side} lung", *lung, (0, x * 4, 0))], onto=["fat", "muscle"])
        tree = branches(canvas.rng, (x * 26, -8, 95), (x, 0, -0.2), 45, 5.5, 4)
        canvas.paint([Capsule(f"{side} lung vessels", *branch) for branch in tree], [f"{side} lung"], False)
    windpipe = np.array([(0, -22, 240), (0, -20, 130), (0, -18, 108)])
    canvas.paint(
        [
            *tube("trachea", windpipe, 9),
            *(Capsule("trachea", (0, -18, 108), (x * 34, -14, 80), (7, 5)) for _, x in SIDES),
        ]
    )


def _paint_heart(canvas: Canvas) -> None:
    middle, size = canvas.varied((-20, 26, 48), (46, 40, 50))
    canvas.paint([Ellipsoid("fat", middle, size + 4), Ellipsoid("heart", middle, size, (0, 30, 0))])
    chambers = [
        ((-24, 6, -8), (18, 16, 26)),
        ((14, 12, -6), (14, 12, 24)),
        ((12, -16, 22), (16, 14, 16)),
        ((-14, -20, 20), (17, 13, 15)),
    ]
    chambers = [canvas.varied(np.add(middle, place), radii) for place, radii in chambers]
    canvas.paint([Ellipsoid("heart chambers", *chamber) for chamber in chambers], ["heart"])


def _paint_great_vessels(canvas: Canvas) -> None:
    arch = np.array(
        [
            (-2, 18, 80),
            (2, 12, 120),
            (-10, -10, 138),
            (-16, -36, 120),
            (-14, -44, 40),
            (-12, -40, -60),
            (-8, -36, -150),
        ]
    )
    cava = np.array([(22, -2, 60), (22, -20, 10), (18, -30, -60), (16, -32, -155)])
    canvas.paint(tube("vena cava", np.array([(20, 4, 150), (22, 2, 70)]), 9))
    canvas.paint(tube("vena cava", cava, (11, 11, 10, 9)))
    canvas.paint(tube("aorta", arch, (15, 14, 13, 12, 11, 10, 8)))
    for _, x in SIDES:
        canvas.paint([Capsule("aorta", (-8, -36, -150), (x * 50, 0, -235), (7, 5))])
        canvas.paint([Capsule("vena cava", (16, -32, -155), (x * 54, -10, -240), (8, 6))])


def _paint_spine(canvas: Canvas) -> None:
    pitch = canvas.rng.uniform(24, 29)
    bend, sway = canvas.rng.uniform(4, 12), canvas.rng.normal(0, 4)
    for z in np.arange(-255.0, 245.0, pitch):
        x, y = sway * np.sin(z / 130), -66 + bend * np.sin((z + 60) / 90)
        shapes = [
            *(Capsule("vertebrae", (x, y - 20, z), (x + s * 36, y - 28, z + 2), (5, 4)) for _, s in SIDES),
            Capsule("vertebrae", (x, y - 26, z - 2), (x, y - 46, z - 14), (5, 5)),
            Capsule("vertebrae", (x, y - 20, z - pitch / 3), (x, y - 20, z + pitch / 3), (13, 13)),
        ]
        disc = Ellipsoid("discs", (x, y, z + pitch / 2), (22, 17, pitch * 0.2))
        block = [
            Ellipsoid(name, (x, y, z), (22 - t, 17 - t, pitch * 0.52 - t))
            for name, t in (("vertebrae", 0), ("marrow", 3))
        ]
        canvas.paint(shapes)
        canvas.paint([disc, block[0]])
        canvas.paint([block[1]], ["vertebrae"])
    canvas.paint([Capsule("fluid", (0, -86, -200), (0, -86, 245), (8, 8))])
    canvas.paint([Capsule("spinal cord", (0, -86, -60), (0, -86, 245), (4.5, 4.5))])


def _paint_ribs(canvas: Canvas) -> None:
    angles = np.deg2rad(np.linspace(14, 152, 9))
    for side, x in SIDES:
        for rib in range(11):
            back = 205 - 23.5 * rib
            middle = back - 25
            width = 0.95 * np.sqrt(max(0.1, 1 - ((middle - _CHEST[0][2]) / _CHEST[1][2]) ** 2))
            turns = angles if rib < 8 else angles[: 15 - rib]
            path = np.stack(
                [
                    x * _CHEST[1][0] * width * np.sin(turns),
                    -84 * width * np.cos(turns) + 2,
                    back - 62 * (turns / np.pi) + canvas.rng.normal(0, 1),
                ],
                -1,
            )
            canvas.paint(tube(f"{side} ribs", path, 5.5))
            canvas.paint(tube("marrow", path, 2.8), [f"{side} ribs"], False)
            if rib < 8:
                canvas.paint(tube("cartilage", np.array([path[-1], (x * 12, 98, back - 40 + 6 * rib)]), 5))
    canvas.paint(tube("sternum", np.array([(0, 78, 165), (0, 98, 90), (0, 102, 20)]), (12, 11, 7)))


def _paint_pelvis(canvas: Canvas) -> None:
    for side, x in SIDES:
        name = f"{side} hip bone"
        wing = np.array(
            [
                (x * 38, -60, -190),
                (x * 90, -20, -175),
                (x * 112, 30, -190),
                (x * 92, 38, -225),
                (x * 86, 5, -262),
            ]
        )
        canvas.paint(tube(name, wing, (16, 12, 10, 12, 22)))
        canvas.paint(tube("marrow", wing, (11, 8, 6, 8, 16)), [name], False)
