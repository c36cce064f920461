"""The organs of the abdomen."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis.canvas import SIDES, Canvas, Capsule, Ellipsoid, tube
from coincide.data.synthesis.vessels import branches


def paint_organs(canvas: Canvas) -> None:
    """Paint bowel, stomach, spleen, pancreas, kidneys, and the liver with its vessels."""
    _paint_bowel(canvas)
    _paint_stomach(canvas)
    _paint_kidneys(canvas)
    _paint_liver(canvas)


def _paint_bowel(canvas: Canvas) -> None:
    frame = np.array(
        [
            (95, 10, -190),
            (92, 25, -110),
            (40, 62, -105),
            (-40, 66, -100),
            (-96, 15, -75),
            (-98, 5, -180),
            (-40, 10, -230),
        ]
    )
    colon = frame + canvas.rng.normal(0, 8, frame.shape)
    loops = canvas.rng.uniform((-70, -5, -235), (70, 80, -120), (22, 3))
    # a loop goes on to whichever place is nearest: a bowel hardly crosses itself
    order = [0]
    while len(order) < len(loops):
        apart = np.linalg.norm(loops - loops[order[-1]], axis=1)
        apart[order] = np.inf
        order.append(int(apart.argmin()))
    for path, wide in ((loops[order], 12.0), (colon, 19.0)):
        radii = wide * np.exp(canvas.rng.normal(0, 0.15, len(path)))
        content = ("air", "content of the bowel")[int(canvas.rng.integers(2))]
        for n, (outer, inner) in enumerate(
            zip(tube("bowel", path, radii, 1.5), tube(content, path, radii - 4, 2.0))
        ):
            canvas.paint([outer])
            if n % 3:
                canvas.paint([inner])
    canvas.paint([Ellipsoid("bladder", *canvas.varied((0, 45, -268), (34, 30, 28)))])


def _paint_stomach(canvas: Canvas) -> None:
    path = np.array([(-62, -12, 2), (-66, 16, -28), (-44, 48, -66), (-2, 52, -80)]) + canvas.rng.normal(
        0, 5, (4, 3)
    )
    canvas.paint(tube("stomach", path, (36, 40, 30, 17), 2.0))
    canvas.paint(tube("content of the bowel", path, (31, 35, 25, 12), 3.0))
    canvas.paint(tube("air", path[:2] + np.array((0, 18, 6)), (13, 13), 3.0), ["content of the bowel"])
    canvas.paint([Ellipsoid("spleen", *canvas.varied((-108, -42, -18), (27, 42, 48)), (0, 20, 0), 1.5)])
    pancreas = np.array([(28, 18, -98), (0, 22, -80), (-36, 2, -72), (-76, -26, -54)])
    canvas.paint(tube("pancreas", pancreas, (15, 11, 10, 8), 2.0))


def _paint_kidneys(canvas: Canvas) -> None:
    for side, x in SIDES:
        height = -112 if side == "right" else -96
        place, size = canvas.varied((x * 62, -44, height), (29, 26, 56))
        canvas.paint(
            [Ellipsoid("fat", place, size + 7), Ellipsoid(f"{side} kidney", place, size, (0, -x * 12, 0))]
        )
        for level in np.linspace(-0.62, 0.62, 6):
            for turn in (-1, 1):
                pyramid = place + size * (0.25 * x, 0.45 * turn, level)
                canvas.paint(
                    [Ellipsoid(f"{side} renal medulla", pyramid, (8, 7, 7))], [f"{side} kidney"], False
                )
        hilum = place - np.array((x * 14, 0, 0))
        canvas.paint([Ellipsoid(f"{side} renal pelvis", hilum, (11, 7, 19), rough=2.0)])
        canvas.paint(
            [Ellipsoid(f"{side} adrenal gland", place + np.array((-x * 12, 6, 62)), (9, 5, 12), rough=2.0)]
        )


def _paint_liver(canvas: Canvas) -> None:
    right, left = canvas.varied((72, 2, -38), (76, 78, 78)), canvas.varied((2, 38, -22), (84, 46, 40))
    canvas.paint([Ellipsoid("liver", *right, (0, 0, 12), 2.5), Ellipsoid("liver", *left, (0, 14, -8), 2.5)])
    canvas.paint([Ellipsoid("fat", (62, -26, -128), (40, 40, 42), rough=3.0)], ["liver"], False)
    for start, way in (
        ((22, 0, -58), (1, 0.2, 0.1)),
        ((22, -10, 10), (0.8, 0.4, -0.6)),
        ((12, 10, -40), (-1, 0.5, 0.2)),
    ):
        tree = branches(canvas.rng, start, way, 42, 6.0, 4)
        canvas.paint([Capsule("liver vessels", *branch) for branch in tree], ["liver"], False)
    canvas.paint([Ellipsoid("gall bladder", *canvas.varied((48, 46, -84), (14, 26, 15)))])
    if canvas.rng.random() < 0.4:
        for _ in range(int(canvas.rng.integers(1, 4))):
            place = canvas.rng.uniform((30, -50, -90), (120, 50, 10))
            canvas.paint(
                [Ellipsoid("lesion", place, canvas.rng.uniform(5, 16, 3), rough=1.5)], ["liver"], False
            )
