"""All the measures of a registration, in one nested dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.consistency import inverse_residual
from coincide.measures.distance import surface_distances, target_registration_error
from coincide.measures.intensity import compare
from coincide.measures.jacobian import folding
from coincide.measures.lattice import Lattice, lattice
from coincide.measures.overlap import dice, present
from coincide.measures.uncertainty import measure_uncertainty
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.base import Transform
from coincide.transforms.linear import identity
from coincide.transforms.resample import resample


def measure(
    pair: Pair,
    transform: Transform,
    inverse: Transform | None = None,
    warped: Image | None = None,
    uncertainty: Image | None = None,
) -> dict[str, Any]:
    """Measure a registration. What there is no data for is left out.

    Args:
        pair: what was registered; the fixed mask, where there is one, says which voxels count.
        transform: fixed-world mm → moving-world mm.
        inverse: moving-world mm → fixed-world mm.
        warped: the moving image on the fixed grid, where it has been resampled already.
        uncertainty: standard deviation of where each fixed point goes, where the method tells it.

    Returns:
        `before` and `after` (`mse`, `mae`, `ncc`, `nmi`, `ssim`, and `overlap_percent`, the share of the
        fixed mask that the moving image covers), `field`, `inverse`, `labels`, `points` and `uncertainty`, as
        `Registration.measures` tells.
        "Before" is where the headers put the images. Numbers that cannot be had are None.
    """
    mask, grid = pair.fixed.mask, pair.fixed.grid
    moved = lattice(transform, grid)
    covered = _covered(pair.moving, moved, transform)
    measures: dict[str, Any] = {
        "field": {
            **folding(moved.determinants(), mask),
            "max_displacement_mm": moved.longest(mask),
        }
    }
    del moved
    warped = resample(pair.moving, transform, grid) if warped is None else warped
    start = identity(pair.dim)
    unmoved = resample(pair.moving, start, grid)
    covered_before = _covered(pair.moving, lattice(start, grid), start)
    measures["before"] = _intensities(pair.fixed, unmoved, covered_before)
    measures["after"] = _intensities(pair.fixed, warped, covered)
    if inverse is not None:
        measures["inverse"] = inverse_residual(
            transform, inverse, grid, pair.moving.grid, fixed_mask=mask, moving_mask=pair.moving.mask
        )
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        measures["labels"] = measure_labels(pair.fixed_labels, pair.moving_labels, transform)
    if pair.landmarks:
        measures["points"] = measure_points(*pair.landmarks, transform)
    if uncertainty is not None:
        measures["uncertainty"] = measure_uncertainty(uncertainty, grid, mask, pair.landmarks, inverse)
    return {name: measures[name] for name in SECTIONS if name in measures}


SECTIONS = ("before", "after", "field", "inverse", "labels", "points", "uncertainty")


def measure_labels(fixed: Image, moving: Image, transform: Transform) -> dict[str, Any]:
    """Score the moving labels, carried by nearest neighbour, against the fixed ones.

    Args:
        fixed: label map on any grid of the fixed world, on which the scoring is done.
        moving: label map on any grid of the moving world.
        transform: fixed-world mm → moving-world mm.

    Returns:
        `dice_mean`, `dice_before_mean`, `hd95_mean_mm` and `assd_mean_mm` over the labels present in both
        maps, `labels`, their number, and `per_label`, from each label to `dice`, `dice_before`, `hd95_mm` and
        `assd_mm`. A label that the warp lost has Dice 0 and distances None; the mean distances leave it out.
    """
    truth = fixed.numpy()[0]
    shared = np.intersect1d(present(truth), present(moving.numpy()[0]))
    before = dice(truth, _carried(moving, identity(fixed.dim), fixed.grid), shared)
    carried = _carried(moving, transform, fixed.grid)
    after = dice(truth, carried, shared)
    surfaces = surface_distances(truth, carried, fixed.grid, shared)
    per_label = {
        label: {
            "dice": after[label],
            "dice_before": before[label],
            "hd95_mm": found.hd95 if (found := surfaces[label]) else None,
            "assd_mm": found.assd if found else None,
        }
        for label in after
    }
    rows = list(per_label.values())
    return {
        "dice_mean": _mean(rows, "dice"),
        "dice_before_mean": _mean(rows, "dice_before"),
        "hd95_mean_mm": _mean(rows, "hd95_mm"),
        "assd_mean_mm": _mean(rows, "assd_mm"),
        "labels": len(rows),
        "interpolation": "nearest",
        "per_label": per_label,
    }


def measure_points(fixed: Points, moving: Points, transform: Transform | None = None) -> dict[str, Any]:
    """How far the fixed landmarks, carried into the moving world, lie from their partners.

    Args:
        fixed: landmarks in fixed-world mm.
        moving: the same landmarks in moving-world mm; they correspond by name.
        transform: fixed-world mm → moving-world mm; the identity where left out.

    Returns:
        `number`, how many were paired; `before` (where the headers put them) and `after`, each with `tre_mean_mm`,
        `tre_median_mm`, `tre_p90_mm` and `tre_max_mm`.
    """
    before = target_registration_error(fixed, moving)
    after = target_registration_error(fixed, moving, transform)
    scores = {
        name: {
            "tre_mean_mm": float(errors.mean()),
            "tre_median_mm": float(np.median(errors)),
            "tre_p90_mm": float(np.percentile(errors, 90)),
            "tre_max_mm": float(errors.max()),
        }
        for name, errors in (("before", before), ("after", after))
    }
    return {"number": len(after), **scores}


def _carried(moving: Image, transform: Transform, grid: Grid) -> np.ndarray:
    return resample(moving, transform, grid, "nearest").numpy()[0]


def _covered(moving: Image, moved: Lattice, transform: Transform) -> torch.Tensor:
    """Which fixed voxels map inside the moving field of view, and inside the moving mask."""
    inside = moved.inside(moving.grid)
    if moving.mask is not None:
        mask = Image(moving.mask.to(torch.uint8), moving.grid, "label")
        inside &= resample(mask, transform, moved.grid, "nearest").data[0] > 0
    return inside


def _intensities(fixed: Image, moving: Image, covered: torch.Tensor) -> dict[str, float | None]:
    inside = covered if fixed.mask is None else covered & fixed.mask
    counted = covered.numel() if fixed.mask is None else int(fixed.mask.sum())
    return {
        **compare(fixed.data, moving.data, inside),
        "overlap_percent": 100.0 * int(inside.sum()) / counted,
    }


def _mean(rows: list[dict], name: str) -> float | None:
    known = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(known)) if known else None
