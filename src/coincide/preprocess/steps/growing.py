"""Masks grown from a seed, and drawn to the edges of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from coincide.errors import OptionError, PointsError
from coincide.image import Image
from coincide.ops.smooth import gaussian
from coincide.options import Positive
from coincide.preprocess.step import MaskStep, look
from coincide.preprocess.steps.masks import grown, mask_of


@dataclass(frozen=True)
class Grow(MaskStep):
    """What hangs together with seeds and is about as bright: region growing.

    Brightness is that of a slightly smoothed image, so that noise neither stops the region nor lets it leak.

    Args:
        seeds: world mm, one place after the other: `-60x10x20x55x12x20` are two in 3-D.
        tolerance: how far values may lie from the seed's, as a share of the image's range (percentiles 1 to 99).
        smooth: standard deviation of the Gaussian, mm.
    """

    name: ClassVar[str] = "grow"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    seeds: tuple[float, ...] = ()
    tolerance: Positive = 0.2
    smooth: Positive = 1.0

    def mark(self, image: Image) -> np.ndarray:
        from skimage.segmentation import flood

        seen, box = look(image, 0)
        bottom, top = seen.range(1, 99)
        values = gaussian(torch.from_numpy(seen.values)[None], self.smooth / seen.spacing)[0].numpy()
        found = np.zeros(seen.known.shape, bool)
        for seed in self._places(image):
            index = tuple(np.floor(seen.grid.index(seed) + 0.5).astype(int))
            if not seen.grid.inside(seed) or not seen.known[index]:
                raise PointsError(
                    f"{image.name}: the seed at {np.round(seed, 1).tolist()} mm lies outside the image or its mask. "
                    "Name another place."
                )
            reachable = np.where(seen.known, values, values[index] + 2 * self.tolerance * (top - bottom) + 1)
            found |= np.asarray(flood(reachable, index, tolerance=self.tolerance * (top - bottom)))
        mask = np.zeros(image.grid.shape, bool)
        mask[box] = found
        return mask

    def _places(self, image: Image) -> np.ndarray:
        if not self.seeds or len(self.seeds) % image.dim:
            raise OptionError(
                f"grow: seeds hold {len(self.seeds)} numbers; expected {image.dim} for each place, world mm."
            )
        return np.reshape(self.seeds, (-1, image.dim))


@dataclass(frozen=True)
class Snap(MaskStep):
    """The border of the mask moved to the strongest edges near it, by a watershed on the steepness of the image.

    Args:
        reach: how far it may move, inwards or outwards, mm.
        sigma: of the Gaussian that the steepness is measured with, mm.
        inner: whether voxels that the edge itself runs through are left out, as those who outline what lies inside
            leave them out; where voxels are large it matters.
    """

    name: ClassVar[str] = "snap"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    reach: Positive = 5.0
    sigma: Positive = 2.0
    inner: bool = False

    def mark(self, image: Image) -> np.ndarray:
        from skimage.segmentation import watershed

        mask, spacing = mask_of(image, self.name), image.grid.spacing
        seen, box = look(image.with_mask(None), 0)
        smooth = gaussian(torch.from_numpy(seen.values)[None], self.sigma / spacing)[0].numpy()
        slopes = [
            np.gradient(smooth, s, axis=axis) for axis, s in enumerate(spacing) if smooth.shape[axis] > 1
        ]
        inner, outer = grown(mask, self.reach, spacing, -1)[box], grown(mask, self.reach, spacing, 1)[box]
        markers = np.where(inner, 1, np.where(outer, 0, 2))
        steep = np.sqrt(sum(s * s for s in slopes))
        found = np.zeros_like(mask)
        found[box] = np.asarray(watershed(steep, markers, watershed_line=self.inner)) == 1
        return found
