"""Mean squared error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from coincide.ops.moments import squared_difference, squared_difference_gradient, total
from coincide.similarity.base import (
    Evaluation,
    Similarity,
    Weighed,
    combined,
    weights_of,
)


@dataclass(frozen=True)
class MSE(Similarity):
    """Mean squared error, over voxels and channels. Invariant to nothing: values must mean the same.

    The curvature, 2w / (C Σw), is exact.
    """

    name: ClassVar[str] = "mse"
    one_scale: ClassVar[bool] = True

    @property
    def worst(self):
        return 0.3

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The image itself."""
        return image

    def prepare(self, fixed, mask=None):
        """Keep the fixed image and its weights."""
        return SquaredError(fixed.contiguous(), weights_of(fixed, mask))


@dataclass(frozen=True, eq=False)
class SquaredError(Weighed):
    """Mean squared error against the features `(C, *S)` of a fixed image with weights `(*S)`.

    `unit` says that all features lie within 0 to 1.
    """

    unit: bool = False

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum() * len(self.fixed)
        if not sum_ > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        return (weights * (warped - self.fixed) ** 2).sum() / sum_, 2 * weights / sum_

    def fused_value(self, warped, mask):
        """One pass, nothing written."""
        weights = combined(self.weights, mask)
        sum_ = total(weights.reshape(-1).numpy()) * len(self.fixed)
        return squared_difference(*self._flat(warped, weights)) / sum_ if sum_ > 0 else math.inf

    def fused_evaluation(self, warped, mask):
        """Value, gradient and curvature in one pass."""
        weights = combined(self.weights, mask)
        sum_ = total(weights.reshape(-1).numpy()) * len(self.fixed)
        if not sum_ > 0:
            return Evaluation(math.inf, torch.zeros_like(self.fixed), torch.zeros_like(weights))
        value, gradient, curvature = squared_difference_gradient(*self._flat(warped, weights), 2 / sum_)
        return Evaluation(
            value / sum_,
            torch.from_numpy(gradient).view(self.fixed.shape),
            torch.from_numpy(curvature).view(weights.shape),
        )

    def _flat(self, warped, weights):
        channels = len(self.fixed)
        return (
            warped.detach().reshape(channels, -1).numpy(),
            self.fixed.view(channels, -1).numpy(),
            weights.reshape(-1).numpy(),
        )
