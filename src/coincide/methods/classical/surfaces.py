"""Where methods that work on points take them from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from coincide.errors import InputError, LabelError, MaskError, PointsError
from coincide.features.edges import edges
from coincide.features.regions import grow
from coincide.features.surface import (
    Surface,
    bare,
    foreground_surface,
    joined,
    label_surfaces,
    mask_surface,
)
from coincide.image import Image
from coincide.methods.base import AbstractMethod
from coincide.options import Count, Fraction, ShareBelowOne
from coincide.pair import Pair

Source = Literal["auto", "points", "labels", "mask", "foreground", "edges", "grown"]
_LEAST = {2: 8, 3: 12}
"""The fewest points on a curve or surface that say anything of its shape."""


@dataclass(frozen=True)
class SurfaceOptions(AbstractMethod):
    """What methods that work on surfaces share.

    Args:
        source: where the surfaces are from; auto takes labels or points with `use_landmarks`, or else masks, or else
            the outer surface of what the images show (`foreground`). `edges` takes every edge in the images, and
            `grown` the regions that grow from the landmarks as their seeds.
        threshold: grey value of that outer surface, from 0 to 1 of the image's range; 0 chooses one.
        tolerance: how far the grey values of a grown region may be from its seed's, as a share of the image's range.
        starts: rotations in the even spread that is searched (3-D; fewer in 2-D).
        use_landmarks: whether the pair's labels and landmarks may steer.
    """

    source: Source = "auto"
    threshold: ShareBelowOne = 0.0
    tolerance: Fraction = 0.1
    starts: Count = 200
    use_landmarks: bool = False

    @property
    def steered_by(self) -> tuple[str, ...]:
        by = {"points": "landmarks", "grown": "landmarks", "labels": "labels"}
        return ("labels", "landmarks") if self.source == "auto" else tuple(by.get(self.source, "").split())

    def source_for(self, pair: Pair) -> Source:
        """The source that is meant, for this pair."""
        if self.source != "auto":
            return self.source
        if self.use_landmarks and pair.fixed_labels is not None and pair.moving_labels is not None:
            return "labels"
        if self.use_landmarks and pair.landmarks is not None:
            return "points"
        return "foreground" if pair.fixed.mask is None or pair.moving.mask is None else "mask"


_TOLD = {
    "points": "the landmarks",
    "labels": "the labels' surfaces",
    "mask": "the masks' surfaces",
    "foreground": "the outer surface of what the images show",
    "edges": "the images' edges",
    "grown": "the surfaces of the regions that grew from the landmarks",
}


def surfaces(pair: Pair, options: SurfaceOptions) -> tuple[Surface, Surface, str]:
    """The points of both images, and in a sentence where they are from.

    Args:
        pair: whose points are wanted.
        options: of the method.

    Raises:
        InputError: there is nothing of the kind that was asked for, or too little.
    """
    chosen = options.source_for(pair)
    if chosen == "points":
        found = _of_points(pair)
    elif chosen in ("labels", "grown"):
        found = _of_labels(grown(pair, options.tolerance) if chosen == "grown" else pair)
    elif chosen == "mask":
        found = _of_masks(pair)
    elif chosen == "edges":
        found = edges(pair.fixed), edges(pair.moving)
    else:
        found = (
            foreground_surface(pair.fixed, options.threshold),
            foreground_surface(pair.moving, options.threshold),
        )
    for image, surface in zip((pair.fixed, pair.moving), found):
        _check(image, surface, chosen)
    told = f"The points are from {_TOLD[chosen]}: {len(found[0]):,} fixed and {len(found[1]):,} moving ones."
    return (*found, told)


def grown(pair: Pair, tolerance: float) -> Pair:
    """The pair with what grows from its landmarks as its labels.

    Args:
        pair: with landmarks on both images.
        tolerance: as in `features.regions.grow`.

    Raises:
        PointsError: there are no landmarks, or one lies outside its image.
    """
    if pair.landmarks is None:
        raise PointsError(
            "source=grown needs landmarks on both images, from which regions grow. Give --fixed-points and "
            "--moving-points, or take another source."
        )
    maps = []
    for image, points in zip((pair.fixed, pair.moving), pair.landmarks):
        values = np.zeros(image.grid.shape, np.int32)
        for number, seed in enumerate(points.world, start=1):
            values[grow(image, seed, tolerance)] = number
        maps.append(
            Image(torch.from_numpy(values)[None], image.grid, "label", name=f"regions of {image.name}")
        )
    return replace(pair, fixed_labels=maps[0], moving_labels=maps[1])


def _of_points(pair: Pair) -> tuple[Surface, Surface]:
    if pair.fixed_points is None or pair.moving_points is None:
        raise PointsError(
            "source=points needs points on both images. Give --fixed-points and --moving-points, or leave the source "
            "out."
        )
    return bare(pair.fixed_points.world), bare(pair.moving_points.world)


def _of_labels(pair: Pair) -> tuple[Surface, Surface]:
    if pair.fixed_labels is None or pair.moving_labels is None:
        raise LabelError(
            "source=labels needs label maps of both images. Give --fixed-labels and --moving-labels, or leave the "
            "source out."
        )
    present = [
        set(np.unique(labels.numpy()).tolist()) - {0} for labels in (pair.fixed_labels, pair.moving_labels)
    ]
    shared = present[0] & present[1]
    both = (
        [label_surfaces(labels, shared) for labels in (pair.fixed_labels, pair.moving_labels)]
        if shared
        else [{}, {}]
    )
    shared = sorted(set(both[0]) & set(both[1]))
    if not shared:
        raise LabelError(
            f"the label maps have no label with a surface in common ({len(present[0])} fixed and {len(present[1])} "
            "moving labels). Check that they belong together, or take another source."
        )
    return joined([both[0][name] for name in shared]), joined([both[1][name] for name in shared])


def _of_masks(pair: Pair) -> tuple[Surface, Surface]:
    if pair.fixed.mask is None or pair.moving.mask is None:
        raise MaskError(
            "source=mask needs masks of both images. Give --fixed-mask and --moving-mask, or leave the source out."
        )
    return (
        mask_surface(pair.fixed.mask.numpy(), pair.fixed.grid),
        mask_surface(pair.moving.mask.numpy(), pair.moving.grid),
    )


def _check(image: Image, surface: Surface, source: Source) -> None:
    """Refuse what is too little to have a shape."""
    least = _LEAST[image.dim]
    if len(surface) >= least:
        return
    kinds: dict[str, type[InputError]] = {"points": PointsError, "labels": LabelError, "grown": PointsError}
    raise kinds.get(source, MaskError)(
        f"{image.name}: {len(surface)} surface points from its {source}, expected at least {least}. What is empty or "
        f"fills the image has no surface; give another, or take another source ({', '.join(_TOLD)})."
    )
