"""Landmarks and their residuals on a plane."""

from __future__ import annotations

import numpy as np

from coincide.report import paint
from coincide.report.scene import View

_FINE = 3


def draw_landmarks(view: View, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The fixed image with every landmark, its carried partner and the residual, `(rows, columns, 3)`.

    Args:
        view: the plane to draw on.
        here: fixed landmarks, world mm, `(number, dim)`.
        there: the moving landmarks carried into the fixed world, mm, `(number, dim)`.
    """
    from PIL import Image as Canvas
    from PIL import ImageDraw

    rows, columns = view.plane.shape
    # drawn large and made small, for smooth rims
    canvas = Canvas.new("RGBA", (columns * _FINE, rows * _FINE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas)
    opacity = _opacity(view, here)
    for i in np.argsort(opacity):
        ring, dot = (view.plane.pixels(p[i]) * _FINE + _FINE / 2 for p in (here, there))
        alpha = round(255 * float(opacity[i]))
        pen.line([*ring, *dot], fill=(255, 255, 255, alpha), width=2 * _FINE)
        pen.ellipse(_round(dot, 3.0), fill=(*_bytes(paint.MOVING), alpha))
        pen.ellipse(_round(ring, 5.5), outline=(*_bytes(paint.FIXED), alpha), width=2 * _FINE)
    overlay = np.asarray(canvas.resize((columns, rows), Canvas.Resampling.BOX), np.float32) / 255
    ink = np.clip(overlay[..., :3], 0, 1)
    return paint.over(paint.dimmed(view.fixed, 0.75), ink, overlay[..., 3])


def _opacity(view: View, world: np.ndarray) -> np.ndarray:
    if view.plane.normal is None:
        return np.ones(len(world))
    depth = np.abs((world - view.plane.points[0, 0]) @ view.plane.normal)
    reach = 0.12 * max(view.plane.shape) * view.plane.pixel
    return np.clip(np.exp(-0.5 * (depth / reach) ** 2), 0.12, 1)


def _round(centre: np.ndarray, radius: float) -> list[float]:
    r = radius * _FINE
    return [centre[0] - r, centre[1] - r, centre[0] + r, centre[1] + r]


def _bytes(colour: np.ndarray) -> tuple[int, int, int]:
    r, g, b = (round(float(c) * 255) for c in colour)
    return r, g, b
