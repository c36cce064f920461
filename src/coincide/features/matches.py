"""The pairs of points a feature method worked with, for those who want to see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Matches:
    """Points of two images that were taken for the same, and which of them bear the result.

    Args:
        fixed: `(number, dim)` world mm of the fixed image.
        moving: `(number, dim)` their partners, world mm of the moving image.
        inlier: `(number,)` whether the pair agrees with the result.
        weight: `(number,)` how much each pair counts, the one that counts most 1; all alike where left out.
    """

    fixed: np.ndarray
    moving: np.ndarray
    inlier: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.fixed)
