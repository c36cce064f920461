"""Dice of soft labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from coincide.ops.moments import linear_map, moments
from coincide.similarity.base import (
    Evaluation,
    Similarity,
    Weighed,
    combined,
    weights_of,
)


@dataclass(frozen=True)
class Dice(Similarity):
    """1 − 2 Σ p q / (Σ p² + Σ q²), mean over the channels: 0 is best, 1 is no overlap at all.

    Each channel is the share of one label, from 0 to 1; for labels that are 0 or 1 this is their Dice coefficient. A
    label that neither image shows is left out. It does not see how much there is around the labels, and small labels
    count as much as large ones. An image whose brightness is a share of something (a probability, a mask, tissue after
    normalisation) may stand for a label too. Invariant to a common factor of both images, to nothing else.

    The curvature, 2w / (C (Σw p² + Σw q²)), holds the sizes of the labels fixed.

    Source: Milletari et al. 2016, doi:10.1109/3DV.2016.79 (squares in the denominator).
    """

    name: ClassVar[str] = "dice"
    one_scale: ClassVar[bool] = True

    @property
    def worst(self):
        return 0.5

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The labels' shares themselves."""
        return image

    def prepare(self, fixed, mask=None):
        """Keep the fixed labels and their weights."""
        return Overlap(fixed.contiguous(), weights_of(fixed, mask))


@dataclass(frozen=True, eq=False)
class Overlap(Weighed):
    """Overlap with fixed shares of labels `(C, *S)` under weights `(*S)`."""

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        if not weights.sum() > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        sizes = (weights * (self.fixed**2 + warped**2)).flatten(1).sum(1)
        shown = sizes > 0
        if not bool(shown.any()):
            return (warped * 0).sum(), torch.zeros_like(weights)
        apart = (weights * (self.fixed - warped) ** 2).flatten(1).sum(1)
        value = (apart[shown] / sizes[shown]).mean()
        # one number for all channels: the largest, from the smallest label
        return value, (2 * weights / (sizes[shown].min() * shown.sum())).detach()

    def fused_value(self, warped, mask):
        """One pass a channel, nothing written."""
        return self._fits(warped, combined(self.weights, mask))[0]

    def fused_evaluation(self, warped, mask):
        """One pass a channel for the sums, one for what follows from them."""
        weights = combined(self.weights, mask)
        value, factors, curvature = self._fits(warped, weights)
        w = weights.reshape(-1).numpy()
        parts = [
            torch.from_numpy(linear_map(a, b, w, (p, q, 0.0), 0.0)[0])
            for (a, b), (p, q) in zip(self._channels(warped), factors)
        ]
        return Evaluation(value, torch.stack(parts).view(warped.shape), weights * curvature)

    def _channels(self, warped):
        pairs = zip(warped.detach(), self.fixed)
        return [(a.reshape(-1).numpy(), b.reshape(-1).numpy()) for a, b in pairs]

    def _fits(self, warped, weights):
        """Value; what the gradient takes of warped and fixed, for each channel; curvature for each unit of weight."""
        w = weights.reshape(-1).numpy()
        sums = [moments(a, b, w) for a, b in self._channels(warped)]
        nothing = [(0.0, 0.0)] * len(sums)
        if not sums[0][0] > 0:
            return math.inf, nothing, 0.0
        sizes = [ww + ff for _, _, _, ww, ff, _ in sums]
        shown = sum(size > 0 for size in sizes)
        if not shown:
            return 0.0, nothing, 0.0
        value, factors = 0.0, []
        for (_, _, _, ww, ff, wf), size in zip(sums, sizes):
            apart = (ww + ff - 2 * wf) / size if size > 0 else 0.0
            value += apart / shown
            each = 2 / (size * shown) if size > 0 else 0.0
            factors.append((each * (1 - apart), -each))
        return value, factors, 2 / (min(size for size in sizes if size > 0) * shown)
