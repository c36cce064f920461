"""From how alike places look to where they go: expected places, and weights that leave out what disagrees."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coincide.networks.fit import fit_weighted, moved

_ROUNDS = 3
"""How often the fit is made anew with weights by what it leaves."""


def middles(shape: torch.Size, like: Tensor) -> Tensor:
    """Middles of the cells of a lattice of `shape`, counted from its own middle in halves of its longest side.

    Returns:
        `(dim, *shape)`, of the type of `like`.
    """
    half = max(shape) / 2
    axes = [(torch.arange(n, dtype=like.dtype, device=like.device) - (n - 1) / 2) / half for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def expected(scores: Tensor, places: Tensor, radius: int = 1) -> tuple[Tensor, Tensor]:
    """Where the likeliest place of each row lies, to a fraction of a cell, and how likely it is.

    The mean of the places near the likeliest one, each as likely as it is: a second likely place far away must not
    draw it half-way there.

    Args:
        scores: `(batch, place, *lattice)` logarithms of likelihoods.
        places: `(dim, *lattice)`.
        radius: cells around the likeliest one.

    Returns:
        `(batch, place, dim)`, and `(batch, place)` the share of all likelihood that lies there.
    """
    shape = scores.shape[2:]
    chances = torch.softmax(scores.flatten(2), -1)
    with torch.no_grad():
        best = chances.argmax(-1)
        strides = [int(torch.tensor(shape[axis + 1 :]).prod()) for axis in range(len(shape))]
        index = torch.stack([best // s % n for s, n in zip(strides, shape)], -1)
        around = torch.cartesian_prod(*[torch.arange(-radius, radius + 1, device=scores.device)] * len(shape))
        limit = torch.tensor(shape, device=scores.device)
        near = index[..., None, :] + around
        inside = ((near >= 0) & (near < limit)).all(-1)
        flat = (near.clamp(min=0).minimum(limit - 1) * torch.tensor(strides, device=scores.device)).sum(-1)
    own = torch.gather(chances, 2, flat.flatten(2)).reshape(flat.shape) * inside
    total = own.sum(-1)
    where = places.flatten(1).T[flat]
    return (own[..., None] * where).sum(-2) / total[..., None].clamp(min=1e-9), total


def reweighted(source: Tensor, target: Tensor, weights: Tensor, width: float) -> Tensor:
    """Weights `(batch, number)` times how well each pair agrees with the rigid fit through all, in some rounds.

    Args:
        source: `(batch, number, dim)`.
        target: likewise.
        weights: 0 or more.
        width: of what counts as agreeing. Source of the weight: Geman and McClure's function.
    """
    counted = weights
    for _ in range(_ROUNDS):
        with torch.no_grad():
            matrix = fit_weighted(source, target, counted, "affine", 0.1)
            off = (moved(matrix, source) - target).square().sum(-1).float() / width**2
            share = 1 / (1 + off).square()
        counted = weights * share + 1e-9
    return counted


def likelihood(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of `scores` at the places that are right, each shared out among the cells around it.

    Args:
        scores: `(batch, place, *lattice)`.
        target: `(batch, place, dim)` as `middles` counts; must lie within the lattice.

    Returns:
        `(batch, place)`.
    """
    shape, dim = scores.shape[2:], target.shape[-1]
    logs = F.log_softmax(scores.flatten(2), -1)
    half, limit = max(shape) / 2, torch.tensor(shape, device=target.device)
    place = target * half + (limit - 1) / 2
    base = place.floor()
    total = torch.zeros_like(logs[..., 0])
    for corner in torch.cartesian_prod(*[torch.arange(2, device=target.device)] * dim):
        index = (base + corner).long().clamp(min=0).minimum(limit - 1)
        share = (1 - (place - base - corner).abs()).clamp(min=0).prod(-1)
        flat = torch.zeros_like(index[..., 0])
        for axis, n in enumerate(shape):
            flat = flat * n + index[..., axis]
        total = total - share * torch.gather(logs, 2, flat[..., None])[..., 0]
    return total
