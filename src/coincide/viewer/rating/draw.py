"""An image as a rater sees it: its middle planes in grey, nothing that names it."""

from __future__ import annotations

import numpy as np

from coincide.image import Image
from coincide.report import paint
from coincide.report.pictures import encode
from coincide.report.planes import GAP, Cut, planes


def drawn(image: Image) -> bytes:
    """A PNG of the planes through the middle of an image, side by side, from its 1st to its 99.5th percentile."""
    values = image.data[0].float()
    low, high = np.percentile(values[values.isfinite()].numpy(), (1, 99.5))
    cuts = [Cut(image.grid, plane.points).linear(values) for plane in planes(image)]
    grey = [np.clip((cut - low) / max(high - low, 1e-12), 0, 1) for cut in cuts]
    height = max(g.shape[0] for g in grey)
    canvas = np.zeros((height, sum(g.shape[1] for g in grey) + GAP * (len(grey) - 1), 3), np.uint8)
    left = 0
    for picture in grey:
        top = (height - picture.shape[0]) // 2
        shown = (paint.grey(picture) * 255 + 0.5).astype(np.uint8)
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = shown
        left += picture.shape[1] + GAP
    return encode(canvas, "png")
