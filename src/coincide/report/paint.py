"""Brushes: smooth lines, outlines and colours on arrays of pixels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FIXED = np.array([1.0, 0.72, 0.18], np.float32)
"""Amber: whatever belongs to the fixed image."""
MOVING = np.array([0.22, 0.84, 0.90], np.float32)
"""Cyan: whatever belongs to the moving image, carried over."""
FOLD = np.array([1.0, 0.16, 0.55], np.float32)
"""Magenta: folds."""
LESS = np.array([0.30, 0.62, 1.0], np.float32)
"""Blue: less, darker, smaller."""
MORE = np.array([1.0, 0.55, 0.16], np.float32)
"""Orange: more, brighter, larger."""
GROUND = np.array([0.055, 0.066, 0.082], np.float32)
"""What lies behind the pictures, on light pages and dark ones."""


def grey(values: np.ndarray) -> np.ndarray:
    """Values 0 … 1 as grey, `(rows, columns, 3)`, black lifted to the ground's."""
    return GROUND + (1 - GROUND) * values[..., None].astype(np.float32)


def dimmed(values: np.ndarray, brightness: float) -> np.ndarray:
    """Values 0 … 1 as grey that leaves room for colours laid over it."""
    return GROUND + brightness * (grey(values) - GROUND)


def over(picture: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`colour` (one, or one a pixel) laid on `picture`, `(rows, columns, 3)`, with opacity `alpha`, 0 … 1."""
    alpha = np.clip(alpha, 0, 1)[..., None].astype(np.float32)
    return picture * (1 - alpha) + colour * alpha


def level_lines(values: np.ndarray, step: float, width: float) -> np.ndarray:
    """Opacity of smooth lines, `width` pixels wide, where `values` is a multiple of `step`."""
    phase = values / step
    slope = np.hypot(*np.gradient(phase))
    distance = np.abs(phase - np.round(phase)) / np.maximum(slope, 1e-6)
    # where lines come closer than their width they would flood the plane
    return _line(distance, width) * np.clip(1.5 - slope * width, 0, 1)


def edges(values: np.ndarray, scale: float, width: float = 1.6) -> np.ndarray:
    """Opacity of lines along the edges of a picture: where its second derivative crosses zero on a slope.

    Args:
        values: `(rows, columns)`, 0 … 1.
        scale: how far the picture is smoothed first, pixels.
        width: of the lines, pixels.
    """
    smooth = ndimage.gaussian_filter(values, scale, mode="nearest")
    gy, gx = np.gradient(smooth)
    steep = np.hypot(gy, gx)
    gyy, gyx = np.gradient(gy)
    _, gxx = np.gradient(gx)
    # second derivative along the gradient: crosses zero where the picture is steepest
    along = (gx * gx * gxx + 2 * gx * gy * gyx + gy * gy * gyy) / np.maximum(steep * steep, 1e-12)
    distance = np.abs(along) / np.maximum(np.hypot(*np.gradient(along)), 1e-9)
    # what is steep for this picture: one bright rim must not hide the edges within
    uneven = steep[steep > 0.06 * np.percentile(steep, 98)]
    threshold = float(np.percentile(uneven, 45)) if uneven.size else np.inf
    return _line(distance, width) * np.clip(4 * (steep / threshold - 0.75), 0, 1)


def outlines(labels: np.ndarray, width: float = 1.4) -> np.ndarray:
    """Opacity of lines between the regions of a label picture."""
    border = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        border |= np.pad(differs, [(0, int(a == axis)) for a in (0, 1)])
    return np.clip(ndimage.gaussian_filter(border.astype(np.float32), 0.45 * width) * 1.7 * width, 0, 1)


def checkerboard(shape: tuple[int, int], square: int) -> np.ndarray:
    """True on every other square of a board, the middle of the picture in the middle of a square."""
    rows, columns = (np.arange(n) - n // 2 + square // 2 for n in shape)
    return (rows[:, None] // square + columns[None, :] // square) % 2 == 0


def two_sided(values: np.ndarray) -> np.ndarray:
    """Values −1 … 1 as colours: blue below, dark at zero, orange above."""
    values = np.clip(values, -1, 1)[..., None].astype(np.float32)
    return GROUND + np.maximum(values, 0) * (MORE - GROUND) + np.maximum(-values, 0) * (LESS - GROUND)


def heat(values: np.ndarray) -> np.ndarray:
    """Values 0 … 1 as colours from dark violet to yellow, ever brighter, `(rows, columns, 3)`."""
    return _GLOW[np.asarray(np.clip(values, 0, 1) * 255 + 0.5, np.uint8)]


def _ramp(*colours: tuple[float, float, float]) -> np.ndarray:
    """256 colours, linear between the given ones."""
    at, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(colours))
    return np.stack([np.interp(at, stops, channel) for channel in zip(*colours)], axis=1).astype(np.float32)


_GLOW = _ramp(
    (0.11, 0.05, 0.27),
    (0.36, 0.09, 0.43),
    (0.65, 0.16, 0.38),
    (0.88, 0.33, 0.23),
    (0.98, 0.62, 0.10),
    (0.97, 0.93, 0.55),
)


def _line(distance: np.ndarray, width: float) -> np.ndarray:
    return np.clip(width / 2 + 0.5 - distance, 0, 1)
