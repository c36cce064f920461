"""Structural similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from coincide.ops.moments import total
from coincide.ops.smooth import box
from coincide.options import Count
from coincide.similarity.base import (
    Evaluation,
    Similarity,
    Weighed,
    combined,
    single_channel,
    weights_of,
)


@dataclass(frozen=True)
class SSIM(Similarity):
    """1 − the mean structural similarity of the two images within small windows: 0 is best.

    It asks for the same brightness, the same contrast and the same pattern at once. Invariant to nothing but a common
    factor of both images; symmetric in them. Windows see only what counts.

    The curvature is that of the differences' squares in each window, with the windows' variances held fixed.

    Args:
        radius: of the windows in voxels; 3 makes windows of 7 voxels an axis.

    Raises:
        OptionError: a radius below 1.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861; uniform windows, K1 = 0.01, K2 = 0.03, and for the range that
    of the fixed image inside its mask.
    """

    name: ClassVar[str] = "ssim"
    one_scale: ClassVar[bool] = True
    radius: Count = 3

    @property
    def worst(self):
        return 1.0

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The image itself."""
        return single_channel(image, "SSIM")

    def prepare(self, fixed, mask=None):
        """Keep the fixed image, its weights and its range."""
        weights = weights_of(single_channel(fixed, "SSIM"), mask)
        seen = fixed[:, weights > 0]
        extent = float(seen.max() - seen.min()) if seen.numel() else 0.0
        # what lies far from zero loses its variance to rounding
        middle = float(seen.double().mean()) if seen.numel() else 0.0
        return Structure(fixed.contiguous(), weights, self.radius, extent or 1.0, middle)


@dataclass(frozen=True, eq=False)
class Structure(Weighed):
    """Structural similarity with a fixed image `(1, *S)` under weights `(*S)`."""

    radius: int
    extent: float
    middle: float

    def _windows(self, warped: Tensor, weights: Tensor):
        """For every window: one over its weight, the two means, and the four factors of its similarity."""
        f, w, weight = self.fixed - self.middle, warped - self.middle, weights[None]
        share = 1 / box(weight, self.radius).clamp_min(1e-6)
        mf, mw = box(weight * f, self.radius) * share, box(weight * w, self.radius) * share
        vf = (box(weight * f * f, self.radius) * share - mf * mf).clamp_min(0)
        vw = (box(weight * w * w, self.radius) * share - mw * mw).clamp_min(0)
        both = box(weight * f * w, self.radius) * share - mf * mw
        mf, mw = mf + self.middle, mw + self.middle
        c1, c2 = (0.01 * self.extent) ** 2, (0.03 * self.extent) ** 2
        factors = 2 * mf * mw + c1, 2 * both + c2, mf * mf + mw * mw + c1, vf + vw + c2
        return share, mf, mw, factors

    def _curvature(self, share: Tensor, factors, weights: Tensor, sum_) -> Tensor:
        a1, a2, b1, b2 = factors
        each = 2 * weights[None] * share * (a1 * a2).clamp_min(0) / (b1 * b2 * b2)
        return (weights[None] * box(each, self.radius))[0] / sum_

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum()
        if not sum_ > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        share, _, _, (a1, a2, b1, b2) = self._windows(warped, weights)
        value = 1 - (weights * a1 * a2 / (b1 * b2)).sum() / sum_
        factors = tuple(x.detach() for x in (a1, a2, b1, b2))
        return value, self._curvature(share, factors, weights, sum_)

    def fused_value(self, warped, mask):
        """The value alone."""
        weights = combined(self.weights, mask)
        sum_ = total(weights.numpy().ravel())
        if not sum_ > 0:
            return math.inf
        _, _, _, (a1, a2, b1, b2) = self._windows(warped.detach(), weights)
        return 1 - total((weights * (a1 * a2 / (b1 * b2))).numpy().ravel()) / sum_

    def fused_evaluation(self, warped, mask):
        """Value, gradient and curvature."""
        weights = combined(self.weights, mask)
        sum_ = total(weights.numpy().ravel())
        if not sum_ > 0:
            return Evaluation(math.inf, torch.zeros_like(warped), torch.zeros_like(weights))
        warped = warped.detach()
        share, mf, mw, (a1, a2, b1, b2) = self._windows(warped, weights)
        likeness = a1 * a2 / (b1 * b2)
        value = 1 - total((weights * likeness).numpy().ravel()) / sum_
        each = weights * share / sum_
        # what a change of a window's mean product, mean square and mean does to its similarity
        product = 2 * a1 / (b1 * b2)
        square = -likeness / b2
        middle = 2 * (mf * a2 / (b1 * b2) - likeness * mw / b1)
        f, w = self.fixed - self.middle, warped - self.middle
        pull = box(
            each * (middle - (mf - self.middle) * product - 2 * (mw - self.middle) * square), self.radius
        )
        pull += f * box(each * product, self.radius) + 2 * w * box(each * square, self.radius)
        return Evaluation(value, -weights * pull, self._curvature(share, (a1, a2, b1, b2), weights, sum_))
