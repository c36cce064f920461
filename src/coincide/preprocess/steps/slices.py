"""Thin slices from thick ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.options import Count, NotNegative, Range
from coincide.preprocess.step import GridStep, filled, intensities_on

_CORRECTIONS = 3
"""Splines laid one on the other; what is left after them is small."""


@dataclass(frozen=True)
class Thin(GridStep):
    """Each thick slice cut into thin ones whose mean it is: super-resolution after Manjón et al. 2010.

    A slice shows the mean over its thickness. What a B-spline puts between slices is corrected, again by a spline,
    until its means are the slices that were given; and between the corrections drawn to what has like surroundings
    elsewhere in the image. doi:10.1016/j.media.2010.05.010.

    Args:
        factor: thin slices for each thick one; as many as make voxels most nearly cubes where left out.
        rounds: of corrections.
        strength: how unlike surroundings may be at first, as a share of the range (percentiles 1 to 99); half in each
            further round. 0 leaves this out.
    """

    name: ClassVar[str] = "thin"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    factor: Annotated[int, Range(2)] | None = None
    rounds: Count = 4
    strength: NotNegative = 0.06

    def target(self, image: Image) -> Grid:
        axis, factor = self._cut(image)
        shape = list(image.grid.shape)
        shape[axis] *= factor
        affine = image.grid.affine.copy()
        affine[:-1, axis] /= factor
        first = np.zeros(image.dim)
        first[axis] = 0.5 / factor - 0.5
        affine[:-1, -1] = image.grid.world(first)
        return Grid(tuple(shape), affine)

    def values(self, image: Image, grid: Grid) -> torch.Tensor:
        channels = (Image(v[None], image.grid, name=image.name) for v in image.data)
        return torch.from_numpy(np.stack([self._solved(channel, grid) for channel in channels]))

    def _solved(self, channel: Image, grid: Grid) -> np.ndarray:
        from skimage.restoration import denoise_nl_means

        axis, factor = self._cut(channel)
        values = channel.numpy()[0]
        known = np.isfinite(values)
        low, high = np.percentile(values[known], (1, 99)) if known.any() else (0.0, 0.0)
        thick = channel.with_data(torch.from_numpy(filled(values, known, channel.grid.spacing)[None]))

        def corrected(thin: np.ndarray) -> np.ndarray:
            for _ in range(_CORRECTIONS):
                left = thick.data - torch.from_numpy(_means(thin, axis, factor))
                thin = thin + intensities_on(thick.with_data(left), grid, cubic=True).numpy()[0]
            return thin

        width = self.strength * float(high - low)
        found = corrected(np.zeros(grid.shape, np.float32))
        for _ in range(self.rounds if width > 0 else 0):
            found = corrected(denoise_nl_means(found, 3, 2, h=width))
            width /= 2
        return found

    def _cut(self, image: Image) -> tuple[int, int]:
        """The axis across the slices, and into how many each is cut."""
        spacing = image.grid.spacing
        axis = int(np.argmax(spacing))
        factor = self.factor or round(float(spacing[axis] / np.delete(spacing, axis).max()))
        if factor < 2:
            raise OptionError(
                f"{image.name}: its slices are as thin as its pixels ({' × '.join(f'{s:.4g}' for s in spacing)} mm). "
                "Say into how many to cut each: thin:factor=2."
            )
        return axis, factor


def _means(thin: np.ndarray, axis: int, factor: int) -> np.ndarray:
    """The thick slices that thin ones make."""
    sets = np.moveaxis(thin, axis, 0)
    return np.moveaxis(sets.reshape(-1, factor, *sets.shape[1:]).mean(1), 0, axis)
