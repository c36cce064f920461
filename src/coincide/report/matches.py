"""The pairs of points that a method matched, on both images."""

from __future__ import annotations

import numpy as np

from coincide.features.matches import Matches
from coincide.image import Image
from coincide.report import paint
from coincide.report.planes import GAP, Cut, Plane, planes
from coincide.report.scene import Scene

REJECTED = np.array([0.95, 0.30, 0.38], np.float32)
"""Red: pairs that do not bear the result."""
_FINE = 2
_MOST, _MOST_REJECTED = 160, 120
"""Pairs that are drawn at most: more hide each other."""


def draw_matches(scene: Scene, matches: Matches) -> tuple[np.ndarray, ...]:
    """For each plane the fixed image, the moving one beside it (in 3-D below it), and lines between partners.

    Args:
        scene: the registration.
        matches: of its method.

    Returns:
        Pictures `(rows, columns, 3)`, 0 to 1.
    """
    pair = scene.registration.pair
    return tuple(
        _one(view.plane, paint.dimmed(view.fixed, 0.8), plane, _seen(pair.moving, plane), matches)
        for view, plane in zip(scene.views, planes(pair.moving))
    )


def _seen(image: Image, plane: Plane) -> np.ndarray:
    """An image on a plane of its own, as grey."""
    values = Cut(image.grid, plane.points).linear(image.data[0])
    low, high = np.percentile(values, (0.5, 99.5))
    return paint.dimmed(np.clip((values - low) / max(float(high - low), 1e-12), 0, 1).astype(np.float32), 0.8)


def _one(here: Plane, fixed: np.ndarray, there: Plane, moving: np.ndarray, matches: Matches) -> np.ndarray:
    """The two pictures side by side (2-D) or one above the other (3-D), and the pairs."""
    from PIL import Image as Canvas
    from PIL import ImageDraw

    along = 1 if here.normal is None else 0
    corner = np.array([0.0, 0.0])
    corner[1 - along] = fixed.shape[along] + GAP
    size = np.maximum(fixed.shape[:2], moving.shape[:2])
    size[along] = fixed.shape[along] + GAP + moving.shape[along]
    picture = np.empty((*size, 3), np.float32)
    picture[:] = paint.GROUND
    picture[: fixed.shape[0], : fixed.shape[1]] = fixed
    left, top = corner.astype(int)
    picture[top : top + moving.shape[0], left : left + moving.shape[1]] = moving
    canvas = Canvas.new("RGBA", (size[1] * _FINE, size[0] * _FINE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas, "RGBA")
    starts, ends = here.pixels(matches.fixed), there.pixels(matches.moving) + corner
    opacity = np.minimum(_opacity(here, matches.fixed), _opacity(there, matches.moving))
    if matches.weight is not None:
        opacity = opacity * matches.weight
    for kind, colour, strength, most in (
        (~matches.inlier, REJECTED, 0.45, _MOST_REJECTED),
        (matches.inlier, paint.MOVING, 0.9, _MOST),
    ):
        ink = tuple(round(float(c) * 255) for c in colour)
        for i in _some(kind, opacity, most):
            alpha = round(255 * strength * float(opacity[i]))
            start, end = ((p[i] + 0.5) * _FINE for p in (starts, ends))
            pen.line([*start, *end], fill=(*ink, alpha), width=_FINE + 1)
            for x, y in (start, end):
                pen.ellipse([x - 6, y - 6, x + 6, y + 6], outline=(*ink, min(255, 2 * alpha)), width=_FINE)
    overlay = np.asarray(canvas.resize((size[1], size[0]), Canvas.Resampling.BOX), np.float32) / 255
    return paint.over(picture, overlay[..., :3], overlay[..., 3])


def _some(kind: np.ndarray, opacity: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the pairs of a `kind`, the nearest to the plane; where all are alike, evenly strided ones."""
    found = np.flatnonzero(kind)
    found = found[np.argsort(-opacity[found], kind="stable")]
    if len(found) > most and opacity[found[0]] == opacity[found[-1]]:
        return found[np.linspace(0, len(found) - 1, most).astype(int)]
    return found[:most]


def _opacity(plane: Plane, world: np.ndarray) -> np.ndarray:
    """How plainly points are drawn: the paler, the further from the plane they lie."""
    if plane.normal is None:
        return np.ones(len(world))
    depth = np.abs((world - plane.points[0, 0]) @ plane.normal)
    reach = 0.08 * max(plane.shape) * plane.pixel
    return np.exp(-0.5 * (depth / reach) ** 2)
