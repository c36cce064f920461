"""Cross-entropy of soft labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from coincide.ops.moments import total
from coincide.options import Fraction
from coincide.similarity.base import (
    Evaluation,
    Similarity,
    Weighed,
    combined,
    weights_of,
)


@dataclass(frozen=True)
class CrossEntropy(Similarity):
    """Mean over the voxels of Σ p log(p / q): how many nats the warped labels q waste on coding the fixed ones p.

    That is the cross-entropy −Σ p log q less the fixed image's own entropy, which nothing can change: 0 is best. Each
    channel is the probability of one label, and they add up to 1; a single channel is the probability of one of two.
    Invariant to exchanging labels in both images alike, to nothing else.

    The curvature takes Fisher's information, 1/q for each label, of the least probable one.

    Args:
        doubt: share of every probability that is spread evenly over the labels, so that no one is ever certain.

    Raises:
        OptionError: doubt that is not between 0 and 1.
    """

    name: ClassVar[str] = "cross_entropy"
    one_scale: ClassVar[bool] = True
    doubt: Fraction = 0.1

    @property
    def worst(self):
        return 0.6

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The probabilities themselves."""
        return image

    def prepare(self, fixed, mask=None):
        """Keep the fixed probabilities and their weights."""
        return Coding(_labels(fixed, self.doubt), weights_of(fixed, mask), self.doubt)


def _labels(image: Tensor, doubt: float) -> Tensor:
    """The probability of every label, `(2 or more, *S)`, none of them 0 or 1."""
    clipped = image.clamp(0, 1)
    every = torch.cat([clipped, 1 - clipped]) if len(image) == 1 else clipped
    return doubt / len(every) + (1 - doubt) * every


@dataclass(frozen=True, eq=False)
class Coding(Weighed):
    """What is wasted on coding fixed probabilities `(labels, *S)` under weights `(*S)`."""

    doubt: float

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum()
        if not sum_ > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        q = _labels(warped, self.doubt)
        value = (weights * self.fixed * (self.fixed / q).log()).sum() / sum_
        return value, self._curvature(q.detach(), weights / sum_)

    def _curvature(self, q: Tensor, share: Tensor) -> Tensor:
        slope = (1 - self.doubt) ** 2
        # of two labels both change at once
        return slope * share * ((1 / q).sum(0) if len(q) == 2 else 1 / q.amin(0))

    def fused_value(self, warped, mask):
        """The value alone."""
        return self.fused_evaluation(warped, mask).value

    def fused_evaluation(self, warped, mask):
        """Value, gradient and curvature from one pass."""
        weights = combined(self.weights, mask)
        sum_ = total(weights.reshape(-1).numpy())
        if not sum_ > 0:
            return Evaluation(math.inf, torch.zeros_like(warped), torch.zeros_like(weights))
        warped = warped.detach()
        q = _labels(warped, self.doubt)
        ratio, share = self.fixed / q, weights / sum_
        value = total((weights * self.fixed * ratio.log()).numpy().reshape(-1)) / sum_
        inside = ((warped >= 0) & (warped <= 1)).to(q.dtype)
        pulls = ratio[1:] - ratio[:1] if len(warped) == 1 else -ratio
        return Evaluation(value, (1 - self.doubt) * share * inside * pulls, self._curvature(q, share))
