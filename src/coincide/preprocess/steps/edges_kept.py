"""Noise taken away where there are no edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from coincide.errors import MissingPackageError, unknown
from coincide.image import Image
from coincide.options import Count, Positive, Range
from coincide.preprocess.noise import noise_sd
from coincide.preprocess.step import Seen, ValueStep

_THICK = 2.0
"""Slices that are so many times as thick as pixels are wide are worked on one by one, where voxels are counted."""


@dataclass(frozen=True)
class Bilateral(ValueStep):
    """Each voxel becomes the mean of those near it and about as bright, as SimpleITK has it.

    Args:
        sigma: how near, mm.
        contrast: how much alike, as a share of the image's range (percentiles 1 to 99).
    """

    name: ClassVar[str] = "bilateral"
    packages: ClassVar[tuple[str, ...]] = ("SimpleITK",)
    sigma: Positive = 2.0
    contrast: Positive = 0.05

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        import SimpleITK as sitk

        bottom, top = seen.range(1, 99)
        smoothed = sitk.Bilateral(as_itk(seen), self.sigma, self.contrast * (top - bottom))
        return sitk.GetArrayFromImage(smoothed).T


@dataclass(frozen=True)
class NonLocalMeans(ValueStep):
    """Each voxel becomes the mean of those with like surroundings, as scikit-image has it.

    Where slices are more than twice as thick as pixels are wide, each slice is worked on by itself.

    Args:
        strength: how unlike surroundings may be, in standard deviations of the noise.
        noise: its standard deviation in the image's unit; measured in the image where left out.
        patch: edge of the surroundings, voxels.
        distance: how far like ones are looked for, voxels.
    """

    name: ClassVar[str] = "nlm"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    strength: Positive = 0.8
    noise: Annotated[float, Range(0, above=True)] | None = None
    patch: Annotated[int, Range(3)] = 3
    distance: Count = 4

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        from skimage.restoration import denoise_nl_means

        noise = self.noise or noise_sd(seen.values, seen.known)
        if noise == 0:
            return seen.values

        def work(values: np.ndarray) -> np.ndarray:
            return denoise_nl_means(values, self.patch, self.distance, h=self.strength * noise, sigma=noise)

        return _by_slices(work, seen)


@dataclass(frozen=True)
class Wavelet(ValueStep):
    """Small wavelet coefficients shrunk by BayesShrink (Chang et al. 2000), as scikit-image has it.

    Where slices are more than twice as thick as pixels are wide, each slice is worked on by itself.

    Args:
        noise: standard deviation of the noise in the image's unit; measured in the image where left out.
        wavelet: its name in PyWavelets.
    """

    name: ClassVar[str] = "wavelet"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image", "PyWavelets")
    noise: Annotated[float, Range(0, above=True)] | None = None
    wavelet: str = "sym4"

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        from skimage.restoration import denoise_wavelet

        least = 2 * self._length()
        noise = self.noise or noise_sd(seen.values, seen.known)
        if noise == 0:
            return seen.values

        def work(values: np.ndarray) -> np.ndarray:
            # room for the wavelet in what is thin
            room = [(0, max(0, least - n)) for n in values.shape]
            padded = np.pad(values.astype(np.float64), room, mode="symmetric")
            done = denoise_wavelet(padded, sigma=noise, wavelet=self.wavelet, rescale_sigma=False)
            return done[tuple(slice(0, n) for n in values.shape)]

        return _by_slices(work, seen)

    def _length(self) -> int:
        """Of the wavelet's filter, voxels."""
        try:
            import pywt
        except ImportError as error:
            raise MissingPackageError(
                f"the step wavelet needs the package PyWavelets ({error}). Run: pip install 'coincide[preprocess]'"
            ) from error
        known = pywt.wavelist(kind="discrete")  # type: ignore[attr-defined]
        if self.wavelet not in known:
            raise unknown("wavelet", self.wavelet, known)
        return pywt.Wavelet(self.wavelet).dec_len  # type: ignore[attr-defined]


@dataclass(frozen=True)
class TotalVariation(ValueStep):
    """The nearest image with less up and down in it (Chambolle 2004), as scikit-image has it.

    Args:
        weight: how much less, in standard deviations of the noise, which is measured in the image.
        iterations: at most.
    """

    name: ClassVar[str] = "tv"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    weight: Positive = 1.0
    iterations: Count = 100

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        from skimage.restoration import denoise_tv_chambolle

        noise = noise_sd(seen.values, seen.known)
        if noise == 0:
            return seen.values
        # in units of the noise the method's own tolerance means the same for every image
        return noise * denoise_tv_chambolle(seen.values / noise, self.weight, max_num_iter=self.iterations)


def as_itk(seen: Seen):
    """What is seen as a SimpleITK image with its spacing."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(seen.values.T))
    image.SetSpacing([float(s) for s in seen.spacing])
    return image


def _by_slices(work: Callable[[np.ndarray], np.ndarray], seen: Seen) -> np.ndarray:
    """Work done on the whole, or slice by slice where these are thick."""
    spacing = seen.spacing
    axis = int(np.argmax(spacing))
    if seen.grid.dim == 3 and spacing[axis] > _THICK * np.median(spacing):
        slices = [work(np.ascontiguousarray(s)) for s in np.moveaxis(seen.values, axis, 0)]
        return np.moveaxis(np.stack(slices), 0, axis)
    return work(seen.values)
