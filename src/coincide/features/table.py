"""All features of all regions of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from coincide.errors import IntensityError, OptionError, unknown
from coincide.features.appearance import appearance, histogram
from coincide.features.region import Region, regions
from coincide.features.shape import position, shape
from coincide.features.texture import binary_patterns, cooccurrence, gabor
from coincide.image import Image
from coincide.ops.memory import require
from coincide.options import Checked, Positive, Range
from coincide.preprocess.pipeline import parse

GROUPS = ("shape", "position", "appearance", "texture")
MORE = ("histogram",)
"""What is measured only where it is asked for: a number for each bin."""

_FEW = 4
"""Voxels along an axis below which a field of view holds no features."""
_BYTES = 160
"""Peak bytes for each voxel of the image, measured on 128³."""


@dataclass(frozen=True)
class Features(Checked):
    """What to measure of regions.

    Args:
        groups: of features.
        bins: grey levels, of equal width over each region's own range.
        spacing: mm to which the image is resampled first, the same along every axis, as the standard asks for
            textures; the image's own voxels where left out.
        radius: of the circle of local binary patterns, mm; the pixel's size where left out.
        wavelengths: of Gabor filters, mm.
    """

    groups: tuple[str, ...] = GROUPS
    bins: Annotated[int, Range(2)] = 32
    spacing: Positive | None = None
    radius: Positive | None = None
    wavelengths: tuple[Positive, ...] = (4.0, 8.0, 16.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for group in self.groups:
            if group not in GROUPS + MORE:
                raise unknown("group of features", group, GROUPS + MORE)

    def __call__(self, image: Image, labels: Image | None = None) -> dict[str, dict[str, float]]:
        """The features of the whole image (where it counts) and of each label: by region, then by name.

        Args:
            image: may have several channels; textures are those of the first.
            labels: on the image's grid.

        Returns:
            A label of which no voxel that counts is left has `voxels` 0 and nothing else.

        Raises:
            LabelError: the labels lie on another grid.
            OptionError: the spacing leaves next to no voxels.
            IntensityError: no voxel counts.
            ResourceError: memory would not suffice.
        """
        require(
            _BYTES * image.grid.size,
            f"measuring {image.grid.size:,} voxels",
            "Crop the image to what is of interest, or resample it coarser.",
        )
        there = () if labels is None else np.unique(labels.numpy())
        if self.spacing is not None:
            self._check(image, self.spacing)
            done = parse(f"resample:spacing={self.spacing},interpolation=cubic")(image, labels)
            image, labels = done.image, done.labels
        found = regions(image, labels)
        if not found:
            raise IntensityError(
                f"{image.name}: no voxel that counts holds a number. Check the file and its mask."
            )
        rows = {name: self._of(region) for name, region in found.items()}
        for name in there:
            if name != 0:
                rows.setdefault(str(int(name)), {"voxels": 0.0})
        return rows

    def _check(self, image: Image, spacing: float) -> None:
        field = image.grid.spacing * image.grid.shape
        if (np.ceil(field / spacing - 1e-6) < np.minimum(image.grid.shape, _FEW)).any():
            raise OptionError(
                f"{image.name}: a spacing of {spacing:g} mm leaves fewer than {_FEW} voxels along an axis of its "
                f"{' × '.join(f'{s:.4g}' for s in field)} mm. Take a finer one."
            )

    def _of(self, region: Region) -> dict[str, float]:
        found: dict[str, float] = {"voxels": float(region.inside.sum())}
        if "shape" in self.groups:
            found |= shape(region)
        if "position" in self.groups:
            found |= position(region)
        if "appearance" in self.groups:
            found |= appearance(region, self.bins)
        if "histogram" in self.groups:
            found |= histogram(region, self.bins)
        if "texture" in self.groups:
            radius = self.radius or float(region.grid.spacing[:2].max())
            textures = {**cooccurrence(region, self.bins), **binary_patterns(region, radius)}
            found |= {f"texture_{name}": value for name, value in textures.items()} | gabor(
                region, self.wavelengths
            )
        return found
