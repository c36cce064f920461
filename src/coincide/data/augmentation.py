"""Augmentation through MONAI: alike for images, labels, masks, landmarks and the true transform."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch

from coincide.data.synthesis.motion import Bend, Undone, random_flow
from coincide.errors import MissingPackageError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import Mode, sample
from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.chain import chain
from coincide.transforms.linear import Affine
from coincide.transforms.resample import positions


@dataclass(frozen=True)
class Augmentation:
    """How much images may be changed; each change is drawn evenly within its limits, and 0 leaves it out.

    Args:
        crop: voxels of the part of the field of view that is kept, the same of both images; none where left out.
        flip: how often the pair is mirrored along its first axis, both images alike.
        chiral: whether the anatomy differs from its mirror image, as bodies do by heart and liver; then a flip warns.
        rotation: degrees, about each axis.
        scale: share by which each axis is stretched or shrunk.
        elastic: mm, how far the image is bent; features of 20 mm and more.
        apart: whether fixed and moving image are turned, stretched and bent each for itself; the truth follows.
        brightness: the most that is added, of a range of 0 to 1.
        contrast: the most that contrast about the mean is raised or lowered by, as a share.
        gamma: the largest exponent; the smallest is one over it. 1 for none.
        noise: the largest standard deviation of Gaussian noise.

    Raises:
        OptionError: a number out of range.
        MissingPackageError: MONAI is not installed.
    """

    crop: tuple[int, ...] | None = None
    flip: float = 0.0
    chiral: bool = True
    rotation: float = 15.0
    scale: float = 0.1
    elastic: float = 4.0
    apart: bool = True
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 1.5
    noise: float = 0.05

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "elastic", "brightness", "contrast", "noise"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} of the augmentation is {getattr(self, name)}, expected 0 or more.")
        if not 0 <= self.flip <= 1 or self.gamma < 1 or self.scale >= 1:
            raise OptionError(
                f"flip is {self.flip}, gamma {self.gamma} and scale {self.scale}; expected a share, 1 or more, and "
                "below 1."
            )
        if self.flip and self.chiral:
            warnings.warn(
                "flips turn a body into its mirror image, with heart and liver on the wrong sides; a network that "
                "learns from them no longer tells left from right. Set flip=0, or chiral=false for anatomy that is "
                "as common mirrored (hands, knees).",
                stacklevel=2,
            )
        _monai()


def augmented(
    pair: Pair, truth: Transform | None, augmentation: Augmentation, seed: int
) -> tuple[Pair, Transform | None]:
    """`pair` and its `truth` (fixed-world mm → moving-world mm) as changed by what `seed` draws."""
    shared, first, second = (int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(3))
    fixed = _changed(pair.fixed, pair.fixed_labels, augmentation, (shared, first, first))
    own = second if augmentation.apart else first
    moving = _changed(pair.moving, pair.moving_labels, augmentation, (shared, own, second))
    known = None if truth is None else chain(moving.to_new, truth, fixed.to_old)
    points = [
        None if given is None else given.mapped(side.to_new)
        for given, side in ((pair.fixed_points, fixed), (pair.moving_points, moving))
    ]
    return Pair(fixed.image, moving.image, fixed.labels, moving.labels, points[0], points[1]), known


@dataclass(frozen=True, eq=False)
class _Changed:
    """An image and its labels, changed, and the ways between their new world and their old one, mm."""

    image: Image
    labels: Image | None
    to_old: Transform
    to_new: Transform


def _changed(
    image: Image, labels: Image | None, augmentation: Augmentation, seeds: tuple[int, int, int]
) -> _Changed:
    """One side of a pair; the seeds are of crop and flip, of the other changes of place, and of brightness."""
    shared, own, tint = seeds
    arrays = {"image": image.data}
    if labels is not None:
        arrays["labels"] = labels.data
    if image.mask is not None:
        arrays["mask"] = image.mask[None].to(torch.uint8)
    arrays, affine = _shaped(arrays, image.grid, augmentation, shared, own)
    grid = Grid(tuple(arrays["image"].shape[1:]), image.grid.affine)
    linear = Affine(affine @ np.linalg.inv(grid.affine))
    flow = random_flow(np.random.default_rng(own), Bend(augmentation.elastic, (40.0, 20.0)), grid)
    arrays["image"] = _tinted(arrays["image"], augmentation, tint)
    if labels is not None:
        arrays["labels"] = arrays["labels"].to(labels.data.dtype)
    if flow is not None:
        index = positions(flow, grid, 0, grid.shape[0], grid)
        modes: dict[str, Mode] = {"image": "linear", "labels": "label", "mask": "nearest"}
        arrays = {key: sample(values, index, modes[key]) for key, values in arrays.items()}
    mask = arrays["mask"][0] > 0 if "mask" in arrays else None
    mask = mask if mask is not None and bool(mask.any()) else None
    changed = Image(arrays["image"], grid, mask=mask, name=image.name)
    if labels is not None:
        labels = Image(arrays["labels"], grid, "label", name=labels.name)
    if flow is None:
        return _Changed(changed, labels, linear, linear.inverse())
    return _Changed(changed, labels, chain(linear, flow), chain(Undone(flow), linear.inverse()))


def _shaped(
    arrays: dict[str, torch.Tensor], grid: Grid, augmentation: Augmentation, shared: int, own: int
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Arrays cropped, flipped, turned and stretched by MONAI, and where their voxels lie in the old world."""
    monai = _monai()
    keys = list(arrays)
    modes = ["bilinear" if key == "image" else "nearest" for key in keys]
    steps: list[Any] = []
    if augmentation.crop is not None:
        steps.append(monai.transforms.RandSpatialCropd(keys, roi_size=augmentation.crop, random_size=False))
    if augmentation.flip:
        steps.append(monai.transforms.RandFlipd(keys, prob=augmentation.flip, spatial_axis=0))
    for step in steps:
        step.set_random_state(shared)
    if augmentation.rotation or augmentation.scale:
        turn = monai.transforms.RandAffined(
            keys,
            prob=1.0,
            rotate_range=[np.deg2rad(augmentation.rotation)] * (1 if grid.dim == 2 else 3),
            scale_range=[augmentation.scale] * grid.dim,
            mode=modes,
            padding_mode="zeros",
        )
        turn.set_random_state(own)
        steps.append(turn)
    affine = torch.from_numpy(_in_3d(grid.affine))
    found: dict[str, Any] = {
        key: monai.data.MetaTensor(x.to(torch.float64 if key == "labels" else torch.float32), affine=affine)
        for key, x in arrays.items()
    }
    for step in steps:
        found = step(found)
    lies = found["image"].affine.numpy()
    keep = [*range(grid.dim), 3]
    return {key: x.as_tensor().contiguous() for key, x in found.items()}, lies[np.ix_(keep, keep)]


def _in_3d(affine: np.ndarray) -> np.ndarray:
    """The affine with a third axis of 1 mm, as MONAI has it for pictures too."""
    if len(affine) == 4:
        return affine.copy()
    out = np.eye(4)
    keep = [0, 1, 3]
    out[np.ix_(keep, keep)] = affine
    return out


def _tinted(data: torch.Tensor, augmentation: Augmentation, seed: int) -> torch.Tensor:
    monai = _monai().transforms
    steps: list[Any] = []
    if augmentation.gamma > 1:
        steps.append(monai.RandAdjustContrast(prob=1.0, gamma=(1 / augmentation.gamma, augmentation.gamma)))
    if augmentation.contrast:
        steps.append(monai.RandScaleIntensityFixedMean(prob=1.0, factors=augmentation.contrast))
    if augmentation.brightness:
        steps.append(monai.RandShiftIntensity(prob=1.0, offsets=augmentation.brightness))
    if augmentation.noise:
        steps.append(monai.RandGaussianNoise(prob=1.0, std=augmentation.noise))
    for step in steps:
        step.set_random_state(seed)
        data = step(data)
    return torch.as_tensor(data).to(torch.float32).contiguous()


@cache
def _monai() -> ModuleType:
    """MONAI, which only augmentation needs.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import monai
        import monai.data
        import monai.transforms
    except ImportError as error:
        raise MissingPackageError(
            "augmentation needs MONAI, which is not installed. Run: pip install 'coincide[train]'"
        ) from error
    return monai
