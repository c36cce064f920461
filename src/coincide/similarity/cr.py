"""The correlation ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from coincide.ops.grouped import grouped_map, grouped_moments
from coincide.similarity.base import (
    Evaluation,
    Prepared,
    Similarity,
    all_float32_on_cpu,
    combined,
    single_channel,
)
from coincide.similarity.nmi import Bins, Tail, binned

# An image whose variance is below this share of its mean square differs from a constant by rounding alone.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class CorrelationRatio(Similarity):
    """1 − η²: the share of the warped image's variance that the fixed image's intensity does not explain; 0 is best.

    Invariant to any invertible map of the fixed image's intensities, up to binning, and to a linear one a·W + b of the
    moving image's with any a ≠ 0. It asks for less than mutual information does, one value of W for each of F, and is
    surer where that is so: take the image of richer contrast for the fixed one. Where one image is constant, the value
    is 1 and there is no gradient.

    The curvature, 2w / (Σw (W − mean)²), holds the means of the bins and the variance fixed.

    Args:
        bins: into which the fixed image's intensities are put, 8 to 256.
        tail: share of the voxels, at each end of the fixed image's range, that goes into the outermost bins.

    Raises:
        OptionError: bins or tail out of range.

    Source: Roche et al. 1998, doi:10.1007/BFb0056301.
    """

    name: ClassVar[str] = "cr"
    bins: Bins = 32
    tail: Tail = 0.001

    @property
    def worst(self):
        return 1.0

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The image itself."""
        return single_channel(image, "CR")

    def prepare(self, fixed, mask=None):
        """Put the fixed image into bins."""
        return Unexplained(*binned(single_channel(fixed, "CR"), mask, self.bins, self.tail), self.bins)


@dataclass(frozen=True, eq=False)
class Unexplained(Prepared):
    """What bins `index` `(*S)` of a fixed image leave of the warped one's variance, under weights `(*S)`."""

    index: Tensor
    weights: Tensor
    bins: int

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum()
        if not sum_ > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        w, x, group = weights.reshape(-1), warped.reshape(-1), self.index.reshape(-1).long()
        spread = (w * (x - (w * x).sum() / sum_) ** 2).sum()
        if spread <= torch.finfo(w.dtype).eps ** 1.5 * (w * x**2).sum():
            return (warped * 0).sum() + 1, torch.zeros_like(weights)
        each = x.new_zeros(self.bins).index_add(0, group, w).clamp_min(torch.finfo(w.dtype).tiny)
        means = x.new_zeros(self.bins).index_add(0, group, w * x) / each
        value = (w * (x - means[group]) ** 2).sum() / spread
        return value, (2 * weights / spread).detach()

    def fused(self, warped):
        """Whether the kernels take it."""
        return all_float32_on_cpu(self.weights, warped)

    def fused_value(self, warped, mask):
        """One pass, nothing written."""
        return self._fit(grouped_moments(*self._flat(warped, combined(self.weights, mask)), self.bins))[0]

    def fused_evaluation(self, warped, mask):
        """One pass for the sums, one for what follows from them."""
        weights = combined(self.weights, mask)
        flat = self._flat(warped, weights)
        value, factor, offsets, curvature = self._fit(grouped_moments(*flat, self.bins))
        gradient = grouped_map(*flat, factor, offsets)
        return Evaluation(value, torch.from_numpy(gradient).view(warped.shape), weights * curvature)

    def _flat(self, warped, weights):
        return (
            self.index.reshape(-1).numpy(),
            warped.detach().reshape(-1).numpy(),
            weights.reshape(-1).numpy(),
        )

    def _fit(self, sums: np.ndarray):
        """Value; what the gradient takes of the warped image and of each bin; curvature for each unit of weight."""
        each, first, second = sums.T
        n, x, xx = sums.sum(axis=0)
        nothing = 0.0, np.zeros(self.bins), 0.0
        if not n > 0:
            return math.inf, *nothing
        spread = xx - x * x / n
        if spread <= _CONSTANT * xx:
            return 1.0, *nothing
        means = first / np.maximum(each, np.finfo(float).tiny)
        value = float((second - means * first).sum() / spread)
        return value, 2 * (1 - value) / spread, 2 * (value * x / n - means) / spread, 2 / spread
