"""A head: skin, skull and face around a folded brain with its ventricles and nuclei."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis.canvas import SIDES, Canvas, Capsule, Ellipsoid, tube
from coincide.data.synthesis.cortex import Folded, fold

EXTENT = np.array([[-88.0, -122.0, -165.0], [88.0, 108.0, 98.0]])
"""Corners of a head in mm, RAS+; the origin lies between the hemispheres, about where the commissures are."""
BRAIN = np.array([[-78.0, -114.0, -76.0], [78.0, 84.0, 88.0]])
"""Corners of a brain."""
_CORTEX = Folded(
    "cerebrospinal fluid",
    "cerebral cortex",
    "cerebral white matter",
    (10, 10, 10),
    21,
    0.8,
    2.9,
    0.85,
    0.8,
    14,
)
_FOLIA = Folded(
    "cerebrospinal fluid", "cerebellar cortex", "cerebellar white matter", (16, 14, 5), 9, 0.2, 2.2, 0.3
)
_WHITE = tuple(f"{side} cerebral white matter" for side, _ in SIDES)


def paint_head(canvas: Canvas, whole: bool) -> None:
    """Paint a brain, and the `whole` head around it."""
    cerebrum = canvas.depth(_cerebrum(canvas), 14)
    cerebellum = canvas.depth(_cerebellum(canvas), 6)
    brain = np.maximum(cerebrum, cerebellum)
    if whole:
        _paint_outside(canvas, brain)
    canvas.shell("cerebrospinal fluid", brain, -2.5, np.inf)
    fold(canvas, cerebellum, _FOLIA, [])
    fold(canvas, cerebrum, _CORTEX, _sylvian(canvas))
    _paint_deep(canvas)
    if canvas.rng.random() < 0.15:
        _paint_lesions(canvas)


def _cerebrum(canvas: Canvas) -> list[Ellipsoid]:
    parts = [((0, -17, 24), (66, 86, 54)), ((0, 28, 8), (50, 42, 36)), ((0, -70, 10), (48, 32, 34))]
    parts += [((x * 43, -14, -20), (22, 40, 21)) for _, x in SIDES]
    return [Ellipsoid("soft tissue", *canvas.varied(*part)) for part in parts]


def _cerebellum(canvas: Canvas) -> list[Ellipsoid]:
    parts = [((x * 24, -66, -38), (27, 24, 19)) for _, x in SIDES] + [((0, -66, -34), (11, 23, 20))]
    return [Ellipsoid("soft tissue", *canvas.varied(*part)) for part in parts]


def _sylvian(canvas: Canvas) -> list[Capsule]:
    clefts = []
    for _, x in SIDES:
        path = np.array([(40, 12, -8), (52, -8, 2), (58, -34, 16)]) * (x, 1, 1)
        path = path + canvas.rng.normal(0, 2.5, path.shape)
        clefts += tube("fluid", path, (2.0, 2.0, 1.0))
        clefts.append(Capsule("fluid", path[1], path[1] * (1.4, 1, 1), (1.5, 1.5)))
    return clefts


def _paint_deep(canvas: Canvas) -> None:
    ventricles = np.exp(canvas.rng.normal(0, 0.3))
    arch = np.array(
        [(24, 0), (30, 4), (29, 13), (22, 20), (8, 24), (-8, 26), (-24, 25), (-36, 19), (-41, 11), (-37, 6)]
    )
    places = np.stack([np.interp(np.linspace(0, 9, 37), np.arange(10), axis) for axis in arch.T], -1)
    canvas.paint([Capsule("corpus callosum", (-13, y, z), (13, y, z), (3.4, 3.4)) for y, z in places])
    for side, x in SIDES:
        _paint_nuclei(canvas, side, x)
        _paint_ventricle(canvas, side, x, ventricles)
    middle = [
        Ellipsoid("third ventricle", (0, -9, -1), (1.2 + 1.5 * ventricles, 13, 9)),
        Capsule("brain stem", (0, -22, -6), (0, -25, -28), (13, 15)),
        Capsule("brain stem", (0, -26, -28), (0, -36, -58), (14, 8)),
        Capsule("spinal cord", (0, -38, -60), (0, -48, -165), (6, 5.5)),
        Ellipsoid("fourth ventricle", (0, -43, -33), (7, 6 * ventricles, 8)),
        Capsule("fourth ventricle", (0, -30, -8), (0, -40, -28), (1.2, 1.6)),
    ]
    for shape in middle:
        canvas.paint([shape])


def _paint_lesions(canvas: Canvas) -> None:
    for _ in range(int(canvas.rng.integers(1, 4))):
        place = canvas.rng.uniform((-48, -70, 0), (48, 40, 50))
        size = canvas.rng.uniform(4, 16, 3)
        canvas.paint([Ellipsoid("lesion", place, size, rough=2.0)], _WHITE, False)
        canvas.paint([Ellipsoid("core of the lesion", place, size * 0.5, rough=2.0)], ["lesion"], False)


def _paint_nuclei(canvas: Canvas, side: str, x: float) -> None:
    def one(name: str, centre, radii, tilt=(0, 0, 0)) -> Ellipsoid:
        place, size = canvas.varied(centre, radii)
        return Ellipsoid(f"{side} {name}", place * (x, 1, 1), size, np.asarray(tilt) * (1, x, x))

    nuclei = [
        one("thalamus", (11, -18, 7), (8, 14, 8.5), (0, 0, 25)),
        one("putamen", (26, 3, 0), (6, 16, 11), (0, 10, 12)),
        one("pallidum", (19, -3, -2), (4, 8.5, 6), (0, 0, 15)),
        one("caudate", (14, 17, 6), (6, 9, 9)),
        one("amygdala", (23, -4, -20), (7, 6.5, 6.5)),
    ]
    caudate = np.array([(15, 10, 12), (17, -4, 19), (20, -20, 20), (27, -34, 12)]) * (x, 1, 1)
    hippocampus = np.array([(24, -12, -20), (29, -24, -15), (27, -34, -6), (21, -39, 2)]) * (x, 1, 1)
    canvas.paint(nuclei)
    canvas.paint(tube(f"{side} caudate", caudate, (6, 4.2, 3, 2)))
    canvas.paint(tube(f"{side} hippocampus", hippocampus, (6, 5, 4.5, 3)))


def _paint_ventricle(canvas: Canvas, side: str, x: float, size: float) -> None:
    name, own = f"{side} lateral ventricle", size * np.exp(canvas.rng.normal(0, 0.12))
    body = np.array([(7, 33, 3), (7, 16, 13), (9, -4, 19), (11, -22, 19), (20, -40, 11), (26, -46, 4)]) * (
        x,
        1,
        1,
    )
    temporal = np.array([(26, -46, 4), (32, -32, -9), (33, -18, -15), (31, -8, -17)]) * (x, 1, 1)
    occipital = np.array([(24, -48, 6), (23, -66, 6), (21, -76, 5)]) * (x, 1, 1)
    canvas.paint(tube(name, body, np.array([3, 4.5, 4, 4.5, 6, 5]) * own))
    canvas.paint(tube(name, temporal, np.array([4, 2.4, 2, 1.2]) * own))
    canvas.paint(tube(name, occipital, np.array([4.5, 3, 1]) * own))
    canvas.paint(tube(f"{side} choroid plexus", body[3:5], 1.8 * own), onto=[name], bare=False)


def _paint_outside(canvas: Canvas, brain: np.ndarray) -> None:
    face = [((0, 52, -55), (48, 40, 52)), ((0, -8, -70), (58, 62, 62)), ((0, -38, -130), (54, 56, 90))]
    face += [((0, -58, -62), (50, 42, 40)), ((0, 88, -50), (13, 18, 17))]
    outline = canvas.depth([Ellipsoid("skin", *canvas.varied(*part)) for part in face], 20)
    scalp, skull = canvas.rng.uniform(4, 9), canvas.rng.uniform(5, 9)
    outline = np.maximum(outline, brain + 2.5 + skull + scalp)
    canvas.shell("skin", outline, 0, np.inf)
    canvas.shell("fat", outline, 2.2, np.inf)
    canvas.shell("muscle", outline, 2.2 + 0.6 * scalp, np.inf)
    _paint_face(canvas)
    canvas.shell("bone", brain, -2.5 - skull, np.inf)
    canvas.shell("marrow", brain, -2.5 - 0.7 * skull, -2.5 - 0.3 * skull, onto=["bone"])
    _paint_openings(canvas)


def _paint_face(canvas: Canvas) -> None:
    from coincide.data.synthesis.face import paint_face, paint_neck

    paint_neck(canvas)
    paint_face(canvas)


def _paint_openings(canvas: Canvas) -> None:
    sinuses = [Ellipsoid("air", (0, 74, -10), (13, 5, 8)), Ellipsoid("air", (0, 22, -40), (12, 10, 7))]
    canvas.paint(sinuses, ["bone", "marrow"])
