"""Pictures of a registration as image files, for reports, pages and papers."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from coincide.registration import Registration
from coincide.report import paint
from coincide.report.layers import Layer, closer, comparison
from coincide.report.planes import GAP, Plane
from coincide.report.scene import look

STRIP = 34
"""Pixels below the planes, for what they are called."""


def overview_figure(registration: Registration) -> bytes:
    """A PNG of the fixed image's edges on the moving image, before and after."""
    scene = look(registration)
    sheets = [sheet(layer, scene.planes, heading=True) for layer in comparison(scene)]
    if registration.pair.dim == 2:
        return encode(np.concatenate(sheets, axis=1), "png")
    gap = np.broadcast_to(_bytes(paint.GROUND), (GAP, sheets[0].shape[1], 3))
    return encode(np.concatenate([sheets[0], gap, sheets[1]], axis=0), "png")


def figure(registration: Registration, name: str) -> bytes:
    """A PNG of one picture of the report, by name; `names` lists them.

    Raises:
        OptionError: there is no such picture of this registration.
    """
    from coincide.errors import unknown

    scene = look(registration)
    layers = {layer.name: layer for layer in (*comparison(scene), *closer(scene))}
    if name not in layers:
        raise unknown("picture", name, layers)
    return encode(sheet(layers[name], scene.planes), "png")


def sheet(layer: Layer, planes: tuple[Plane, ...], heading: bool = False) -> np.ndarray:
    """A layer's planes side by side on one canvas, lettered, `(rows, columns, 3)` bytes."""
    top = STRIP if heading else 0
    height = max(p.shape[0] for p in layer.pictures)
    width = sum(p.shape[1] for p in layer.pictures) + GAP * (len(layer.pictures) - 1)
    canvas = np.empty((top + height + STRIP, width, 3), np.uint8)
    canvas[:] = _bytes(paint.GROUND)
    left, places = 0, []
    for picture in layer.pictures:
        row = top + (height - picture.shape[0]) // 2
        canvas[row : row + picture.shape[0], left : left + picture.shape[1]] = _bytes(picture)
        places.append((left, row))
        left += picture.shape[1] + GAP
    return _lettered(canvas, layer, planes, places, layer.title if heading else "")


def _lettered(
    canvas: np.ndarray, layer: Layer, planes: tuple[Plane, ...], places, heading: str
) -> np.ndarray:
    from PIL import Image as Canvas
    from PIL import ImageDraw

    picture = Canvas.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    letter, small, bold = _font(20, True), _font(15), _font(19, True)
    for plane, shown, (left, top) in zip(planes, layer.pictures, places):
        rows, columns = shown.shape[:2]
        spots = ((9, rows / 2, "lm"), (columns - 9, rows / 2, "rm"), (columns / 2, 7, "ma"))
        spots = (*spots, (columns / 2, rows - 7, "md"))
        for text, (x, y, anchor) in zip(plane.letters, spots):
            pen.text(
                (left + x, top + y),
                text,
                (235, 238, 242),
                letter,
                anchor,
                stroke_width=2,
                stroke_fill=(8, 10, 12),
            )
        middle = (left + columns / 2, canvas.shape[0] - STRIP / 2)
        pen.text(middle, plane.where, (160, 168, 178), small, "mm")
    if heading:
        pen.text((10, STRIP / 2), heading, (235, 238, 242), bold, "lm")
    return np.asarray(picture)


def _bytes(colours: np.ndarray) -> np.ndarray:
    """Colours, 0 to 1, as bytes."""
    return (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)


@cache
def _font(size: int, bold: bool = False):
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    # found without importing it: that takes a quarter of a second
    fonts = next(iter(find_spec("matplotlib").submodule_search_locations))  # type: ignore[union-attr, arg-type]
    return ImageFont.truetype(Path(fonts, "mpl-data", "fonts", "ttf", name), size)


def encode(canvas: np.ndarray, kind: str) -> bytes:
    """`(rows, columns, 3)` bytes as a `"png"` or a `"jpeg"`."""
    from PIL import Image as Canvas

    stream = io.BytesIO()
    options = {"quality": 84, "subsampling": 0} if kind == "jpeg" else {}
    Canvas.fromarray(canvas).save(stream, kind.upper(), **options)
    return stream.getvalue()
