"""Where two images stay unlike while the rest of them has come to agree: what no deformation should follow."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from coincide.ops.field import warp
from coincide.ops.lncc import local_correlation, windows
from coincide.ops.smooth import gaussian
from coincide.optimise.deformable import Level, known
from coincide.similarity import LNCC, MIND, Similarity

FEWEST = 40
"""Voxels along an axis of a level from which places can be told apart; on coarser ones a lesion is hardly a place."""
_WIDE, _LEAST = 2.0, 0.02
"""Voxels over which unlikeness is averaged (sigma of a Gaussian), and the least of it that is ever doubted."""
_ANATOMY, _SAMPLE = 0.1, 50_000
_FROM, _TO = 3.0, 6.0
"""How far beyond the median, in distances from there to the upper quartile, doubt begins, and is complete."""


def doubted(level: Level, field: Tensor, similarity: Similarity) -> Level:
    """`level` with places weighted down that stay unlike under `field`, beside what is usual in this pair.

    LNCC goes by its own local value, every other similarity by that of MIND, which needs no common contrast.

    Args:
        level: its images.
        field: `(dim, *shape)` in voxels.
        similarity: what is followed.
    """
    seen = known(level, field)
    inside = (level.fixed[0] > _ANATOMY) if seen is None else (level.fixed[0] > _ANATOMY) & seen
    if level.fixed_mask is not None:
        inside &= level.fixed_mask > 0
    if isinstance(similarity, LNCC):
        unlike, weight = _of_lncc(level, field, inside, similarity)
    else:
        unlike, weight = _of_mind(level, field, inside, similarity)
    weight = gaussian(weight[None], _WIDE)[0]
    unlike = gaussian(unlike[None], _WIDE)[0] / weight.clamp(min=1e-3)
    values = unlike[inside & (weight > 0.5)]
    if len(values) == 0:
        return level
    middle, upper = torch.quantile(values[:: 1 + len(values) // _SAMPLE], torch.tensor([0.5, 0.75]))
    width = (upper - middle).clamp(min=_LEAST)
    trust = 1 - ((unlike - middle - _FROM * width) / ((_TO - _FROM) * width)).clamp(0, 1)
    mask = trust if level.fixed_mask is None else trust * level.fixed_mask
    return replace(level, fixed_mask=mask.contiguous())


def _of_lncc(level: Level, field: Tensor, inside: Tensor, similarity: LNCC) -> tuple[Tensor, Tensor]:
    found = windows(level.fixed, None, similarity.radius, similarity.noise**2)
    like, share = local_correlation(warp(level.moving, field), found)
    share = share * inside
    return (1 - like) * share, share


def _of_mind(level: Level, field: Tensor, inside: Tensor, similarity: Similarity) -> tuple[Tensor, Tensor]:
    mind = similarity if isinstance(similarity, MIND) else MIND()
    apart = mind.features(level.fixed) - warp(mind.features(level.moving), field)
    return apart.square().mean(0) * inside, inside.to(apart.dtype)
