"""Where methods that work on points take them from."""

from __future__ import annotations

from typing import Literal

import numpy as np

from coincide.errors import InputError, LabelError, MaskError, PointsError
from coincide.features.surface import (
    Surface,
    bare,
    foreground_surface,
    joined,
    label_surfaces,
    mask_surface,
)
from coincide.image import Image
from coincide.pair import Pair

Source = Literal["auto", "points", "labels", "mask", "foreground"]
SOURCES = ("auto", "points", "labels", "mask", "foreground")
_LEAST = {2: 8, 3: 12}
"""The fewest points on a curve or surface that say anything of its shape."""


def surfaces(
    pair: Pair, source: Source, use_landmarks: bool, threshold: float
) -> tuple[Surface, Surface, str]:
    """The points of both images, and in a sentence where they are from.

    Args:
        pair: whose points are wanted.
        source: `"auto"` takes labels, or else points, where they may steer; or else both masks; or else the surface of
            what the images show.
        use_landmarks: whether labels and landmarks may steer without being named as the source.
        threshold: as in `features.surface.foreground_surface`.

    Raises:
        InputError: there is nothing of the kind that was asked for, or too little.
    """
    chosen = _chosen(pair, use_landmarks) if source == "auto" else source
    if chosen == "points":
        found = _of_points(pair)
    elif chosen == "labels":
        found = _of_labels(pair)
    elif chosen == "mask":
        found = _of_masks(pair)
    else:
        found = foreground_surface(pair.fixed, threshold), foreground_surface(pair.moving, threshold)
    for image, surface in zip((pair.fixed, pair.moving), found):
        _check(image, surface, chosen)
    what = {"points": "the landmarks", "labels": "the labels' surfaces", "mask": "the masks' surfaces"}
    told = f"The points are from {what.get(chosen, 'the outer surface of what the images show')}"
    return (*found, f"{told}: {len(found[0]):,} fixed and {len(found[1]):,} moving ones.")


def _chosen(pair: Pair, use_landmarks: bool) -> Source:
    if use_landmarks and pair.fixed_labels is not None and pair.moving_labels is not None:
        return "labels"
    if use_landmarks and pair.fixed_points is not None and pair.moving_points is not None:
        return "points"
    return "foreground" if pair.fixed.mask is None or pair.moving.mask is None else "mask"


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
    kinds: dict[str, type[InputError]] = {"points": PointsError, "labels": LabelError}
    raise kinds.get(source, MaskError)(
        f"{image.name}: {len(surface)} surface points from its {source}, expected at least {least}. What is empty or "
        "fills the image has no surface; give another, or take another source (points, labels, mask, foreground)."
    )
