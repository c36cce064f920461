"""Noise taken away with whatever is as fine as it: means and medians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.image import Image
from coincide.ops.smooth import gaussian
from coincide.options import Positive
from coincide.preprocess.step import Seen, ValueStep


@dataclass(frozen=True)
class Gaussian(ValueStep):
    """Smooths by a Gaussian.

    Args:
        sigma: its standard deviation, mm.
    """

    name: ClassVar[str] = "gaussian"
    sigma: Positive = 1.0

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        return gaussian(torch.from_numpy(seen.values)[None], self.sigma / seen.spacing, truncate=4.0)[
            0
        ].numpy()


@dataclass(frozen=True)
class Mean(ValueStep):
    """Each voxel becomes the mean of a ball round it.

    Args:
        radius: of the ball, mm.
    """

    name: ClassVar[str] = "mean"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)
    radius: Positive = 1.5

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        from scipy.ndimage import correlate

        weights = ball(self.radius, seen.spacing).astype(np.float32)
        return correlate(seen.values, weights / weights.sum(), mode="nearest")


@dataclass(frozen=True)
class Median(ValueStep):
    """Each voxel becomes the median of a ball round it: takes away specks, keeps edges.

    Args:
        radius: of the ball, mm.
    """

    name: ClassVar[str] = "median"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)
    radius: Positive = 1.5

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        from scipy.ndimage import median_filter

        return median_filter(seen.values, footprint=ball(self.radius, seen.spacing), mode="nearest")


def ball(radius: float, spacing: np.ndarray) -> np.ndarray:
    """The voxels within `radius` (mm) of the middle one, as bool of odd sizes.

    Raises:
        OptionError: there is none but the middle one.
    """
    reach = [int(radius / s + 1e-6) for s in spacing]
    if not any(reach):
        raise OptionError(
            f"a radius of {radius:g} mm reaches no neighbour of a voxel; expected {spacing.min():.4g} or more here."
        )
    index = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
    return np.linalg.norm(index * spacing, axis=-1) <= radius * (1 + 1e-6)
