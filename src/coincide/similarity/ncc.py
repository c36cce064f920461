"""Normalised cross-correlation over the whole image."""

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
    single_channel,
    weights_of,
)

# An image whose variance is below this share of its mean square differs from a constant by rounding alone.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class NCC(Similarity):
    """1 − ρ, with ρ the weighted correlation of the two images: 0 is best, 2 is worst.

    Invariant to linear intensity maps a·W + b with a > 0. Where one image is constant, the value is 1 and
    there is no gradient.

    1 − ρ is half the squared distance of the two images after each is brought to mean 0 and length 1. The
    curvature, w / (Σw var W), is the diagonal of its Gauss–Newton matrix without the projection that takes
    away a change of mean and of contrast; so it bounds that matrix from above.

    Args:
        signed: False gives 1 − ρ² instead: the share of the fixed image's variance that is left after the
            best linear fit, invariant to a < 0 as well, from 0 to 1. Its curvature is 2|ρ| times the other's.
    """

    name: ClassVar[str] = "ncc"
    signed: bool = True

    @property
    def worst(self):
        return 1.0

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The image itself."""
        return single_channel(image, "NCC")

    def prepare(self, fixed, mask=None):
        """Keep the fixed image and its weights."""
        return Correlation(single_channel(fixed, "NCC").contiguous(), weights_of(fixed, mask), self.signed)


@dataclass(frozen=True, eq=False)
class Correlation(Weighed):
    """Correlation with a fixed image `(1, *S)` under weights `(*S)`."""

    signed: bool

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum()
        nothing = (warped * 0).sum()
        if not sum_ > 0:
            return nothing + math.inf, torch.zeros_like(weights)
        moving = warped - (weights * warped).sum() / sum_
        fixed = self.fixed - (weights * self.fixed).sum() / sum_
        ff, ww = (weights * fixed**2).sum(), (weights * moving**2).sum()
        rounding = torch.finfo(weights.dtype).eps ** 2
        if ff <= rounding * (weights * self.fixed**2).sum() or ww <= rounding * (weights * warped**2).sum():
            return nothing + 1, torch.zeros_like(weights)
        rho = (weights * fixed * moving).sum() / (ff.sqrt() * ww.sqrt())
        if self.signed:
            return 1 - rho, (weights / ww).detach()
        return 1 - rho**2, (2 * rho.abs() * weights / ww).detach()

    def fused_value(self, warped, mask):
        """One pass, nothing written."""
        return self._fit(moments(*self._flat(warped, combined(self.weights, mask))))[0]

    def fused_evaluation(self, warped, mask):
        """One pass for the moments, one for what follows from them."""
        weights = combined(self.weights, mask)
        flat = self._flat(warped, weights)
        value, factors, curvature = self._fit(moments(*flat))
        gradient, curvatures = linear_map(*flat, factors, curvature)
        return Evaluation(
            value,
            torch.from_numpy(gradient).view(self.fixed.shape),
            torch.from_numpy(curvatures).view(weights.shape),
        )

    def _flat(self, warped, weights):
        return warped.detach().reshape(-1).numpy(), self.fixed.view(-1).numpy(), weights.reshape(-1).numpy()

    def _fit(self, sums):
        """Value; what the gradient takes of warped, fixed and one; curvature for each unit of weight."""
        n, w, f, ww, ff, wf = sums
        if not n > 0:
            return math.inf, (0.0, 0.0, 0.0), 0.0
        warped_sum, fixed_sum = ww - w * w / n, ff - f * f / n
        if warped_sum <= _CONSTANT * ww or fixed_sum <= _CONSTANT * ff:
            return 1.0, (0.0, 0.0, 0.0), 0.0
        length = math.sqrt(warped_sum * fixed_sum)
        rho = (wf - w * f / n) / length
        outer, value, curvature = -1.0, 1 - rho, 1 / warped_sum
        if not self.signed:
            outer, value, curvature = -2 * rho, 1 - rho * rho, 2 * abs(rho) / warped_sum
        p, q = -outer * rho / warped_sum, outer / length
        return value, (p, q, -(p * w + q * f) / n), curvature
