"""Places that can be found again, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Places in a picture or volume, each with a description of its surroundings.

    Args:
        index: `(number, dim)` positions in voxels, centres at integers, axis order `(I, J[, K])`.
        size: `(number,)` diameter of what was described, voxels.
        descriptors: `(number, length)`; float32 compared by their direction, or uint8 compared bit by bit.
    """

    index: np.ndarray
    size: np.ndarray
    descriptors: np.ndarray

    def __post_init__(self) -> None:
        number = len(self.index)
        if len(self.size) != number or len(self.descriptors) != number:
            raise ValueError(
                f"{number} positions, but {len(self.size)} sizes and {len(self.descriptors)} descriptors."
            )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def binary(self) -> bool:
        """Whether the descriptors are bits."""
        return self.descriptors.dtype == np.uint8

    def chosen(self, which) -> Keypoints:
        """Those that `which` (indices, or a bool each) names."""
        return Keypoints(self.index[which], self.size[which], self.descriptors[which])


def inside(index: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether positions `(number, dim)`, voxels, lie on voxels of `mask` that count."""
    nearest = np.floor(index + 0.5).astype(int)
    known = np.logical_and.reduce((nearest >= 0) & (nearest < mask.shape), axis=1)
    known[known] = mask[tuple(nearest[known].T)]
    return known
