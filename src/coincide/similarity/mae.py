"""Mean absolute error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from coincide.ops.moments import total
from coincide.options import Positive
from coincide.similarity.base import (
    Evaluation,
    Similarity,
    Weighed,
    combined,
    weights_of,
)


@dataclass(frozen=True)
class MAE(Similarity):
    """Mean absolute error, over voxels and channels, rounded off near zero. Invariant to nothing.

    A voxel pulls no harder than its weight, however far the two images are apart there: what one image shows and the
    other does not, a tool or a lesion, cannot outweigh the rest, as it does in a mean of squares. By the same token it
    follows large motions less far: of a warp of 5 mm in a volume it left 2.6 mm where MSE left 2.0.

    A difference d counts √(d² + s²) − s. The curvature, w / (C Σw √(d² + s²)), is that of the parabola that touches
    this at d and lies above it everywhere.

    Args:
        softness: the s, below which a difference counts by its square.

    Raises:
        OptionError: a softness of 0 or less.
    """

    name: ClassVar[str] = "mae"
    one_scale: ClassVar[bool] = True
    softness: Positive = 0.02

    @property
    def worst(self):
        return 0.4

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The image itself."""
        return image

    def prepare(self, fixed, mask=None):
        """Keep the fixed image and its weights."""
        return AbsoluteError(fixed.contiguous(), weights_of(fixed, mask), self.softness)


@dataclass(frozen=True, eq=False)
class AbsoluteError(Weighed):
    """Rounded absolute error against a fixed image `(C, *S)` with weights `(*S)`."""

    softness: float

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum() * len(self.fixed)
        if not sum_ > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        length = ((warped - self.fixed) ** 2 + self.softness**2).sqrt()
        value = (weights * (length - self.softness)).sum() / sum_
        return value, (weights / (sum_ * length.amin(0))).detach()

    def fused_value(self, warped, mask):
        """The value alone."""
        return self.fused_evaluation(warped, mask).value

    def fused_evaluation(self, warped, mask):
        """Value, gradient and curvature from one pass."""
        weights = combined(self.weights, mask)
        sum_ = total(weights.reshape(-1).numpy()) * len(self.fixed)
        if not sum_ > 0:
            return Evaluation(math.inf, torch.zeros_like(self.fixed), torch.zeros_like(weights))
        apart = warped.detach() - self.fixed
        length = (apart * apart + self.softness**2).sqrt_()
        value = total((weights * (length - self.softness)).numpy().reshape(-1)) / sum_
        share = weights / sum_
        return Evaluation(value, share * apart / length, share / length.amin(0))
