"""Normalised mutual information."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from coincide.ops.histogram import (
    histogram_gradient,
    joint_histogram,
    joint_histogram_reference,
    nearest_bin,
)
from coincide.options import Range
from coincide.similarity.base import (
    Evaluation,
    Prepared,
    Similarity,
    all_float32_on_cpu,
    combined,
    single_channel,
    weights_of,
)

_QUANTILE_SAMPLES = 200_000
_TINY = 1e-30
Bins = Annotated[int, Range(8, 256)]
"""Bins that a histogram can have along an axis."""
Tail = Annotated[float, Range(0, 0.5, below=True)]
"""Share of the voxels that may be cut off at either end of the range."""


@dataclass(frozen=True)
class NMI(Similarity):
    """−(H(F) + H(W)) / H(F, W), Studholme's normalised mutual information: from −2 (best) to −1 (worst).

    Invariant to any invertible intensity map, of either image, up to binning. The window along W smears a bin
    over its neighbours, so even equal images stay above −2.

    The curvature sees W as scattered around its mean given F with variance v(F). A Gaussian of that variance
    has the Fisher information 1 / v(F), and w / (Σw v(F)) is what H(F, W) has to second order while v
    is held; NMI adds the factor |NMI| / H(F, W). What H(W) would take away is left out, so that it is
    never negative. On synthetic tissues, shifted by 0.5 to 3 voxels, a Gauss–Newton step with it goes
    0.3 to 0.9 of the way.

    Args:
        bins: bins along each axis, 8 to 256. One at either end is kept free for the window.
        normalised: False gives −MI = H(F, W) − H(F) − H(W), in nats, instead.
        tail: share of the voxels, at each end of each image's range, that goes into the outermost bins.

    Raises:
        OptionError: bins or tail out of range.

    Source: Studholme et al. 1999, doi:10.1016/S0031-3203(98)00091-0; Mattes et al. 2003,
    doi:10.1109/TMI.2003.809072 (the window).
    """

    name: ClassVar[str] = "nmi"
    bins: Bins = 32
    normalised: bool = True
    tail: Tail = 0.001

    @property
    def worst(self):
        return -1.0 if self.normalised else 0.0

    def features(self, image, *, mask=None):
        """The image in the unit range: its range between the tails becomes 0 to 1."""
        return unit_range(single_channel(image, "NMI"), mask, self.tail)

    def prepare(self, fixed, mask=None):
        """Put the fixed image into bins."""
        index, weights = binned(single_channel(fixed, "NMI"), mask, self.bins, self.tail)
        return Information(index, weights, self.bins, self.normalised)


def binned(fixed: Tensor, mask: Tensor | None, bins: int, tail: float) -> tuple[Tensor, Tensor]:
    """The bin of every voxel of a fixed image `(1, *S)`, and its weight, both `(*S)`; arguments as for `NMI`."""
    weights = weights_of(fixed, mask)
    return nearest_bin(unit_range(fixed, mask, tail)[0], bins).contiguous(), weights


def unit_range(image: Tensor, mask: Tensor | None, tail: float) -> Tensor:
    """`image`, scaled so that the values between its tails (inside the mask) fill 0 to 1, and clipped there.

    A constant image becomes 0. Large images have their range taken from every n-th voxel.
    """
    values = image.reshape(-1) if mask is None else image[:, mask > 0].reshape(-1)
    values = values[:: max(1, values.numel() // _QUANTILE_SAMPLES)]
    values = values[values.isfinite()].double().cpu().numpy()
    if values.size == 0:
        return torch.zeros_like(image)
    low, high = np.quantile(values, [tail, 1 - tail])
    if not high > low:
        low, high = values.min(), values.max()
    scale = 1 / (high - low) if high > low else 0.0
    return ((image - float(low)) * float(scale)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Information(Prepared):
    """Information shared with a fixed image in bins `index` `(*S)`, under weights `(*S)`."""

    index: Tensor
    weights: Tensor
    bins: int
    normalised: bool

    def reference(self, warped, mask=None):
        """Plain torch."""
        weights = combined(self.weights, mask)
        sum_ = weights.sum()
        if not sum_ > 0:
            return (warped * 0).sum() + math.inf, torch.zeros_like(weights)
        joint = joint_histogram_reference(self.index, warped[0], weights, self.bins) / sum_
        both, fixed, moving = (_entropy(p) for p in (joint, joint.sum(1), joint.sum(0)))
        value = -(fixed + moving) / both if self.normalised else both - fixed - moving
        rows = torch.from_numpy(self._terms(joint.detach().double().cpu().numpy())[2]).to(weights)
        return value, weights * rows[self.index.long()] / sum_

    def fused(self, warped):
        """Whether the kernels take it."""
        return all_float32_on_cpu(self.weights, warped)

    def fused_value(self, warped, mask):
        """One pass."""
        joint, sum_ = self._joint(warped, combined(self.weights, mask))
        return self._terms(joint)[0] if sum_ > 0 else math.inf

    def fused_evaluation(self, warped, mask):
        """One pass for the histogram, one that looks the derivatives up in a table of it."""
        weights = combined(self.weights, mask)
        joint, sum_ = self._joint(warped, weights)
        if not sum_ > 0:
            return Evaluation(math.inf, torch.zeros_like(warped), torch.zeros_like(weights))
        value, table, rows = self._terms(joint)
        gradient, curvature = histogram_gradient(self.index, warped[0], weights, table / sum_, rows / sum_)
        return Evaluation(value, gradient[None], curvature)

    def _joint(self, warped, weights):
        joint = joint_histogram(self.index, warped[0], weights, self.bins).numpy()
        sum_ = float(joint.sum())
        return joint / (sum_ or 1.0), sum_

    def _terms(self, joint: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value; its derivative with respect to the joint distribution; curvature for each fixed bin."""
        fixed, moving = joint.sum(axis=1), joint.sum(axis=0)
        log_both, log_moving = _log(joint), _log(moving)
        # not by BLAS, which adds long vectors in an order that depends on the number of threads
        both = -float((joint * log_both).sum())
        margins = -float((moving * log_moving).sum()) - float((fixed * _log(fixed)).sum())
        centres = np.arange(self.bins)
        share = np.maximum(fixed, _TINY)
        mean = (joint * centres).sum(axis=1) / share
        # no row can be narrower than the window is by itself
        variance = np.maximum((joint * centres**2).sum(axis=1) / share - mean**2, 1 / 3)
        rows = (self.bins - 3) ** 2 / variance
        if not self.normalised:
            return both - margins, log_moving - log_both, rows
        ratio = margins / both
        return -ratio, (log_moving - ratio * log_both) / both, rows * ratio / both


def _log(p: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(p, _TINY))


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(_TINY).log()).sum()
