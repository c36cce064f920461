"""An image as a rater sees it: its planes in grey, nothing that names it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from coincide.image import Image
from coincide.report import paint
from coincide.report.pictures import encode
from coincide.report.planes import Cut, content_box, planes


class Shown:
    """An image, ready to be drawn plane by plane.

    Args:
        image: its first channel is shown.

    Raises:
        IntensityError: it holds no number.
    """

    def __init__(self, image: Image) -> None:
        from coincide.errors import IntensityError

        self._grid, self._values = image.grid, image.data[0].float()
        known = self._values[self._values.isfinite()].numpy()
        if not known.size:
            raise IntensityError(f"{image.name}: holds no number to show.")
        self._values = self._values.nan_to_num(float(known.min()), float(known.max()), float(known.min()))
        self._low, self._high = (float(v) for v in np.percentile(known, (1, 99.5)))
        self._planes = planes(image)
        low, high = content_box(image)
        self._depths = [
            0.0 if plane.normal is None else float(np.abs(plane.normal) @ (high - low))
            for plane in self._planes
        ]
        self.png = lru_cache(maxsize=64)(self._png)

    @property
    def described(self) -> list[dict[str, Any]]:
        """Of each plane: its `name`, the `letters` of its edges, its `rows` and `columns`, its number of `slices`."""
        finest = float(self._grid.spacing.min())
        return [
            {
                "name": plane.name,
                "letters": plane.letters,
                "rows": plane.shape[0],
                "columns": plane.shape[1],
                "slices": max(1, round(depth / finest)),
            }
            for plane, depth in zip(self._planes, self._depths)
        ]

    def _png(self, number: int, at: float = 0.5, low: float = 0.0, high: float = 1.0) -> bytes:
        """One plane.

        Args:
            number: which, from 0.
            at: how far through what the image shows, 0 to 1 along the plane's normal.
            low: what is black, as a share of the way from the 1st to the 99.5th percentile.
            high: what is white, likewise.
        """
        plane = self._planes[number]
        points = plane.points
        if plane.normal is not None:
            # from the feet, the front or the left hand on, whichever way the plane is looked at
            points = points + (at - 0.5) * self._depths[number] * np.abs(plane.normal)
        cut = Cut(self._grid, points).linear(self._values)
        reach = max(self._high - self._low, 1e-12)
        share = ((cut - self._low) / reach - low) / max(high - low, 1e-3)
        return encode((paint.grey(np.clip(share, 0, 1)) * 255 + 0.5).astype(np.uint8), "png")
