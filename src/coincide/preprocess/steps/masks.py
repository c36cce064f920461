"""Masks: which voxels count, by their brightness and by their shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from coincide.errors import MaskError
from coincide.image import Image
from coincide.options import Count, Positive
from coincide.preprocess.step import MaskStep, look


@dataclass(frozen=True)
class Threshold(MaskStep):
    """What is brighter, or darker, than a threshold; inside the mask, where there is one already.

    Args:
        at: the threshold in the image's unit; found by `method` where left out.
        method: of Otsu, of Li, or the triangle, as scikit-image has them.
        keep: the brighter or the darker part.
    """

    name: ClassVar[str] = "threshold"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    at: float | None = None
    method: Literal["otsu", "li", "triangle"] = "otsu"
    keep: Literal["bright", "dark"] = "bright"

    def mark(self, image: Image) -> np.ndarray:
        from skimage import filters

        seen, box = look(image, 0)
        if self.at is None:
            seen.range()
            level = float(getattr(filters, f"threshold_{self.method}")(seen.values[seen.known]))
        else:
            level = self.at
        mask = np.zeros(image.grid.shape, bool)
        mask[box] = seen.known & ((seen.values > level) == (self.keep == "bright"))
        return mask


@dataclass(frozen=True)
class Largest(MaskStep):
    """The largest parts of the mask that hang together over faces.

    Args:
        number: how many.
    """

    name: ClassVar[str] = "largest"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)
    number: Count = 1

    def mark(self, image: Image) -> np.ndarray:
        from scipy.ndimage import label

        parts = np.asarray(label(mask_of(image, self.name))[0])  # type: ignore[index] - a pair
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        # of two of one size the first in the order of the world's axes
        kept = np.argsort(-sizes, kind="stable")[: self.number]
        return np.isin(parts, kept[sizes[kept] > 0])


@dataclass(frozen=True)
class Enclosed(MaskStep):
    """The parts of the mask that do not touch the border of what was shown: of what is dark, what anatomy encloses.

    Args:
        slices: whether each slice along the image's longest voxel axis is looked at by itself; what is open above or
            below, as the lungs of a short field of view, is enclosed all the same.
    """

    name: ClassVar[str] = "enclosed"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)
    slices: bool = False

    def mark(self, image: Image) -> np.ndarray:
        mask, shown = mask_of(image, self.name), np.asarray(np.isfinite(image.numpy()).all(0))
        if not self.slices or image.dim == 2:
            return _without_border(mask, shown)
        axis = int(np.argmax(image.grid.spacing))
        slices = zip(np.moveaxis(mask, axis, 0), np.moveaxis(shown, axis, 0))
        return np.moveaxis(np.stack([_without_border(m, s) for m, s in slices]), 0, axis)


@dataclass(frozen=True)
class Fill(MaskStep):
    """The mask with the holes it encloses."""

    name: ClassVar[str] = "fill"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)

    def mark(self, image: Image) -> np.ndarray:
        from scipy.ndimage import binary_fill_holes

        return np.asarray(binary_fill_holes(mask_of(image, self.name)))


@dataclass(frozen=True)
class Morphology(MaskStep):
    """The mask grown or shrunk by a ball: grown, shrunk, or one after the other.

    Args:
        action: `open` (shrunk, then grown) takes bridges and specks away, `close` (the other way about) gaps.
        radius: of the ball, mm.
    """

    name: ClassVar[str] = "morphology"
    packages: ClassVar[tuple[str, ...]] = ("scipy",)
    action: Literal["dilate", "erode", "open", "close"] = "close"
    radius: Positive = 3.0

    def mark(self, image: Image) -> np.ndarray:
        mask, spacing = mask_of(image, self.name), image.grid.spacing
        steps = {"dilate": (1,), "erode": (-1,), "open": (-1, 1), "close": (1, -1)}[self.action]
        # room, so that closing does not depend on what lies round the mask
        room = np.ceil(self.radius / spacing).astype(int) + 1
        padded = np.pad(mask, [(r, r) for r in room])
        for sense in steps:
            padded = grown(padded, self.radius, spacing, sense)
        return padded[tuple(slice(r, r + n) for r, n in zip(room, mask.shape))]


def grown(mask: np.ndarray, radius: float, spacing: np.ndarray, sense: int) -> np.ndarray:
    """The mask with all within `radius` (mm) of it, or without all within `radius` of what is not in it."""
    from scipy.ndimage import distance_transform_edt

    away = mask if sense < 0 else ~mask
    if away.all() or not away.any():
        return mask
    distance = np.asarray(distance_transform_edt(away, spacing))
    return distance > radius * (1 + 1e-6) if sense < 0 else distance <= radius * (1 + 1e-6)


def _without_border(mask: np.ndarray, shown: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion, label

    parts = np.asarray(label(mask)[0], dtype=np.intp)  # type: ignore[index] - a pair
    open_ = np.zeros(parts.max() + 1, bool)
    # voxels with a neighbour that was not shown, or that lies beyond the image
    open_[parts[shown & np.logical_not(binary_erosion(shown))]] = True
    open_[0] = True
    return ~open_[parts]


def mask_of(image: Image, step: str) -> np.ndarray:
    """The image's mask, which `step` needs.

    Raises:
        MaskError: it has none.
    """
    if image.mask is None:
        raise MaskError(
            f"{image.name}: has no mask for the step {step!r}. Give one, or put threshold or grow first."
        )
    return image.mask.numpy()
