"""Brightness that the coil gives and the anatomy does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coincide.errors import IntensityError
from coincide.image import Image
from coincide.options import Count, Positive
from coincide.preprocess.step import Seen, ValueStep
from coincide.preprocess.steps.edges_kept import as_itk


@dataclass(frozen=True)
class N4(ValueStep):
    """A smooth field of brightness divided out (N4, Tustison et al. 2010, doi:10.1109/TMI.2010.2046908), by SimpleITK.

    The field is found where the image is brighter than Otsu's threshold, and leaves the mean there as it is.

    Args:
        width: distance of the field's control points at the last level, mm.
        spacing: at which it is found, mm.
        levels: of the field; each halves the distance.
        iterations: at each level.
    """

    name: ClassVar[str] = "n4"
    packages: ClassVar[tuple[str, ...]] = ("SimpleITK",)
    width: Positive = 40.0
    spacing: Positive = 4.0
    levels: Count = 3
    iterations: Count = 50

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        import SimpleITK as sitk
        from skimage.filters import threshold_otsu

        seen.range()
        inside = seen.known & (seen.values > 0)
        if not inside.any():
            raise IntensityError(f"{seen.name}: no voxel is above 0; N4 divides, and needs positive values.")
        inside &= seen.values > threshold_otsu(seen.values[inside])
        image = as_itk(seen)
        mask = sitk.GetImageFromArray(np.ascontiguousarray(inside.T).astype(np.uint8))
        mask.CopyInformation(image)
        factors = [max(1, int(self.spacing / s + 1e-6)) for s in seen.spacing]
        # a thin image has few voxels along an axis, and the spline needs some
        factors = [max(1, min(f, n // 4)) for f, n in zip(factors, seen.values.shape)]
        extent = seen.spacing * seen.values.shape
        finder = sitk.N4BiasFieldCorrectionImageFilter()
        finder.SetMaximumNumberOfIterations([self.iterations] * self.levels)
        spans = np.maximum(np.round(extent / self.width / 2 ** (self.levels - 1)).astype(int), 1)
        finder.SetNumberOfControlPoints([int(s) + 3 for s in spans])
        # several threads add up in any order
        finder.SetNumberOfWorkUnits(1)
        try:
            finder.Execute(sitk.Shrink(image, factors), sitk.Shrink(mask, factors))
        except RuntimeError as error:
            raise IntensityError(
                f"{seen.name}: N4 cannot find a field ({str(error).strip().splitlines()[-1]}). Check the mask, or take "
                "a finer spacing."
            ) from error
        field = np.exp(sitk.GetArrayFromImage(finder.GetLogBiasFieldAsImage(image)).T)
        corrected = seen.values / field
        return corrected * (
            seen.values[inside].mean(dtype=np.float64) / corrected[inside].mean(dtype=np.float64)
        )
