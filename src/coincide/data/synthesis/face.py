"""What a head has below and in front of the brain: jaws, sinuses, eyes, airway, spine."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis.canvas import SIDES, Canvas, Capsule, Ellipsoid, tube


def paint_neck(canvas: Canvas) -> None:
    """Paint the vertebrae with their discs, the canal, the airway and the great vessels of the neck."""
    shapes: list[Ellipsoid | Capsule] = []
    for level in range(6):
        z = -72 - 18 * level
        y = -36 - 3 * np.cos(level / 2)
        shapes += [
            Ellipsoid("bone", (0, y, z), (13, 11, 7.5)),
            Ellipsoid("marrow", (0, y, z), (10, 8, 5.5)),
            Ellipsoid("cartilage", (0, y, z - 9), (11, 9, 2.4)),
        ]
        shapes += [Capsule("bone", (0, y - 22, z), (0, y - 40, z - 8), (4, 5))] + [
            Capsule("bone", (x * 14, y - 8, z), (x * 4, y - 24, z - 2), (4, 3.5)) for _, x in SIDES
        ]
    shapes += [Capsule("fluid", (0, -38, -58), (0, -50, -170), (9, 9))]
    shapes += tube("air", np.array([(0, 2, -48), (0, -6, -85), (0, 0, -110), (0, -4, -170)]), (8, 7, 8, 9))
    for _, x in SIDES:
        shapes += tube(
            "blood", np.array([(x * 26, -18, -170), (x * 30, -10, -90), (x * 22, 0, -50)]), (4, 3.5, 2.5)
        )
        shapes += tube("blood", np.array([(x * 36, -24, -170), (x * 38, -16, -80)]), (5, 4))
    for shape in shapes:
        canvas.paint([shape])


def paint_face(canvas: Canvas) -> None:
    """Paint jaws, nose, sinuses, tongue and eyes."""
    for _, x in SIDES:
        jaw = np.array([(x * 47, -4, -48), (x * 46, 4, -82), (x * 32, 42, -96), (0, 62, -98)])
        cheek = np.array([(x * 52, 12, -42), (x * 46, 48, -44), (x * 24, 62, -38)])
        teeth = np.array([(x * 27, 32, -78), (x * 20, 54, -78), (0, 62, -78)])
        canvas.paint(tube("bone", jaw, (5, 7, 7, 7)))
        canvas.paint(tube("marrow", jaw, (2, 4, 4, 4)), ["bone"])
        canvas.paint(tube("bone", cheek, (4, 5, 4)))
        canvas.paint(tube("bone", teeth, (7, 7, 7)))
        canvas.paint([Ellipsoid("bone", *canvas.varied((x * 24, 46, -54), (17, 17, 18)))])
        canvas.paint([Ellipsoid("air", *canvas.varied((x * 24, 46, -54), (13, 14, 15)))])
        canvas.paint([Ellipsoid("fat", (x * 31, 48, -27), (17, 20, 15))])
        canvas.paint([Capsule("muscle", (x * 30, 44, -27), (x * 14, 16, -24), (2.5, 2.5))])
    canvas.paint([Ellipsoid("muscle", (0, 30, -88), (20, 26, 14), rough=1.5)])
    canvas.paint(
        [
            Ellipsoid("bone", (0, 52, -52), (12, 24, 22)),
            Ellipsoid("air", (0, 52, -52), (9, 26, 20), rough=2.5),
        ]
    )
    canvas.paint([Capsule("cartilage", (0, 34, -46), (0, 74, -50), (1.5, 1.5))])
    for side, x in SIDES:
        place = canvas.varied((x * 32, 55, -27), (12, 12, 12))[0]
        canvas.paint([Ellipsoid(f"{side} eye", place, (12, 12, 12), rough=0)])
        canvas.paint([Ellipsoid(f"{side} lens", place + np.array((0, 8.5, 0)), (4.5, 2.2, 4.5), rough=0)])
