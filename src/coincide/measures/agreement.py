"""How far two images agree locally, beside what they would by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from coincide.measures.coarse import Coarse, mean
from coincide.ops.mind import mind_ssc
from coincide.ops.smooth import box, gaussian

NOISE = 0.03
"""Contrast, as a share of an image's range, below which a window says little."""


def local_correlation(fixed: Tensor, warped: Tensor, inside: Tensor, radius: int = 2) -> Tensor:
    """Squared correlation in the window around each voxel, `(*shape)`, 0 to 1; only voxels `inside` enter.

    It is 0 where fewer than a twentieth of a window are inside.

    Args:
        fixed: `(*shape)`, of range about one.
        warped: `(*shape)`, likewise.
        inside: `(*shape)` float32, 0 or 1.
        radius: of the windows, voxels.
    """
    products = (inside, fixed, warped, fixed * fixed, warped * warped, fixed * warped)
    number, f, w, ff, ww, fw = box(torch.stack([inside * p for p in products]), radius)
    least = 0.05 * (2 * radius + 1) ** fixed.ndim
    known, number = number > least, number.clamp_min(least)
    f, w = f / number, w / number
    vf = (ff / number - f * f).clamp_min(0) + NOISE**2
    vw = (ww / number - w * w).clamp_min(0) + NOISE**2
    return ((fw / number - f * w).square() / (vf * vw)).clamp(max=1) * known


def descriptors(image: Tensor) -> Tensor:
    """MIND-SSC channels of `(*shape)`."""
    return mind_ssc(image[None].contiguous())


def surroundings(anatomy: Tensor) -> Tensor:
    """The anatomy and a rim about it, `(*shape)` float32, 0 or 1: the outline counts as structure too."""
    return (gaussian(anatomy[None], 1.0)[0] > 0.05).float()


def agreement(coarse: Coarse) -> dict[str, float]:
    """Local agreement under the transform, between 0 (no better than chance) and 1.

    Chance is what the same two images show when the warped one is shifted along each axis, both ways, by
    two fifths of the anatomy's radius: all that smoothness, outlines and histograms do is in it.

    Returns:
        `alike`: correlation inside the anatomy of both; `correlation`: mean squared local correlation;
        `agreement`: how far that lies above chance, as a share of what was possible; `structure`: the same for
        the distance of MIND descriptors, which outlives a change of contrast.
    """
    fixed, warped, inside = coarse.fixed.data[0], coarse.warped, coarse.inside
    shown = ((warped > 0.1).float() * inside + coarse.anatomy).clamp(max=1)
    where = surroundings(shown) * inside
    own, other = descriptors(fixed), descriptors(warped)
    alike, unlike = local_correlation(fixed, warped, inside), (own - other).square().mean(0)
    step = max(3, round(0.4 * coarse.radius / float(coarse.grid.spacing.mean())))
    gains, rooms, drops, falls = [], [], [], []
    for axis in range(coarse.fixed.dim):
        for shift in (-step, step):
            both = where * where.roll(shift, axis)
            if both.sum() < 0.2 * where.sum():
                continue
            chance = local_correlation(fixed, warped.roll(shift, axis), inside * inside.roll(shift, axis))
            gains.append(mean(alike, both) - mean(chance, both))
            rooms.append(1 - mean(chance, both))
            far = (own - other.roll(shift, axis + 1)).square().mean(0)
            drops.append(mean(far, both) - mean(unlike, both))
            falls.append(mean(far, both))
    return {
        "alike": _correlation(fixed, warped, coarse.anatomy * (warped > 0.1) * inside),
        "correlation": mean(alike, where),
        "agreement": sum(gains) / sum(rooms) if gains else 0.0,
        "structure": sum(drops) / max(sum(falls), 1e-9),
    }


def _correlation(a: Tensor, b: Tensor, weights: Tensor) -> float:
    a, b = a - mean(a, weights), b - mean(b, weights)
    norm = (mean(a * a, weights) * mean(b * b, weights)) ** 0.5
    return mean(a * b, weights) / norm if norm > 1e-12 else 0.0
