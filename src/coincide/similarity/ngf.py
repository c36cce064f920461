"""Normalised gradient fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from coincide.ops.differences import beside, between, differences, differences_adjoint
from coincide.ops.moments import total
from coincide.options import Positive
from coincide.similarity.base import (
    Evaluation,
    Similarity,
    Weighed,
    combined,
    single_channel,
    weights_of,
)


@dataclass(frozen=True)
class NGF(Similarity):
    """1 − the mean squared cosine between the two images' slopes, where the fixed one has any; from 0 to 1.

    Edges count by where they lie and how they run, not by how high they are or which side is brighter: for images of
    different kinds that show the same outlines. Invariant to a·W + b, of either image, with any a ≠ 0; it is blind to
    what is flat. A slope much below `edge` counts for little. As a steeper edge is never a worse one, it is less exact
    than others where images show few of them: a known motion of a soft head is found to 0.2 voxels by a linear
    transform and to 0.5 by a deformation. Slopes are per voxel, so voxels should be nearly cubic.

    The curvature is the diagonal of the Gauss–Newton matrix with all lengths held fixed.

    Args:
        edge: slope that counts half, as a share of the image's mean slope.

    Raises:
        OptionError: an edge of 0 or less.

    Source: Haber and Modersitzki 2006, doi:10.1007/11866763_89.
    """

    name: ClassVar[str] = "ngf"
    edge: Positive = 1.0

    @property
    def worst(self):
        return 1.0

    def features(self, image, *, mask=None):
        """The image in units of its mean slope."""
        weights = weights_of(single_channel(image, "NGF"), mask)
        steep = differences(image[0], between(weights)).square().sum(0).sqrt()
        mean = total((weights * steep).detach().cpu().numpy().ravel()) / max(
            total(weights.cpu().numpy().ravel()), 1e-12
        )
        # far below what the values themselves are there is nothing but rounding
        flat = mean <= 1e-6 * float(image.abs().max())
        return image * (1.0 if flat else 1 / mean)

    def prepare(self, fixed, mask=None):
        """Keep the fixed image in units of its mean slope."""
        return Slopes(self.features(fixed, mask=mask)[0].contiguous(), weights_of(fixed, mask), self.edge**2)


@dataclass(frozen=True, eq=False)
class Slopes(Weighed):
    """Slopes compared with those of a fixed image `(*S)` under weights `(*S)`."""

    epsilon: float

    def _terms(self, warped: Tensor, weights: Tensor):
        open_ = between(weights)
        f, w = differences(self.fixed, open_), differences(warped[0], open_)
        ff, ww, fw = (f * f).sum(0), (w * w).sum(0), (f * w).sum(0)
        share = weights * ff / (ff + self.epsilon)
        return open_, f, w, ff + self.epsilon, ww + self.epsilon, fw, share

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        if not weights.sum() > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        open_, _, _, ff, ww, fw, share = self._terms(warped, weights)
        sum_ = share.sum()
        if not sum_ > 0:
            return (warped * 0).sum() + 1, torch.zeros_like(weights)
        value = 1 - (weights * fw**2 / (ff * ww)).sum() / sum_
        return value, beside(2 * share / ww.detach() / sum_, open_)

    def fused_value(self, warped, mask):
        """The value alone."""
        weights = combined(self.weights, mask)
        if not total(weights.numpy().ravel()) > 0:
            return math.inf
        _, _, _, ff, ww, fw, share = self._terms(warped.detach(), weights)
        sum_ = total(share.numpy().ravel())
        return 1 - total((weights * fw / (ff * ww) * fw).numpy().ravel()) / sum_ if sum_ > 0 else 1.0

    def fused_evaluation(self, warped, mask):
        """Value, gradient and curvature."""
        weights = combined(self.weights, mask)
        nothing = torch.zeros_like(warped), torch.zeros_like(weights)
        if not total(weights.numpy().ravel()) > 0:
            return Evaluation(math.inf, *nothing)
        open_, f, w, ff, ww, fw, share = self._terms(warped.detach(), weights)
        sum_ = total(share.numpy().ravel())
        if not sum_ > 0:
            return Evaluation(1.0, *nothing)
        likeness = weights * fw / (ff * ww)
        value = 1 - total((likeness * fw).numpy().ravel()) / sum_
        upstream = (2 / sum_) * likeness * (fw / ww * w - f)
        curvature = beside((2 / sum_) * share / ww, open_)
        return Evaluation(value, differences_adjoint(upstream, open_)[None], curvature)
