"""Local normalised cross-correlation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor

from coincide.ops._sample_kernels import fits
from coincide.ops.lncc import Windows, lncc, lncc_reference, needed, windows
from coincide.options import Count, Positive
from coincide.similarity.base import Evaluation, Prepared, Similarity, single_channel


@dataclass(frozen=True)
class LNCC(Similarity):
    """Minus the mean squared correlation of the two images within small windows that show something; from −1 to 0.

    The mean is over what the fixed image shows, inside its mask; where the moving image is unknown there is none.

    Invariant to a linear change of either image's intensities, as long as it is large beside `noise`, and nearly so
    to one that varies slowly over the image (a bias field). Blind to the sign of the correlation.

    Args:
        radius: of the window in voxels; 2 makes windows of 5 voxels an axis.
        noise: standard deviation, as a share of the fixed image's intensity range in the mask, below which a
            window's contrast counts for little.

    Raises:
        OptionError: a radius below 1, or no noise.

    Source: Avants et al. 2008, doi:10.1016/j.media.2007.06.004; the gradient is exact, see `ops.lncc`.
    """

    name: ClassVar[str] = "lncc"
    radius: Count = 2
    noise: Positive = 0.01

    @property
    def worst(self):
        return 0.0

    def features(self, image: Tensor, *, mask: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return single_channel(image, self.name)

    def prepare(self, fixed: Tensor, mask: Tensor | None = None) -> PreparedLNCC:
        return PreparedLNCC(single_channel(fixed, self.name), mask, self.radius, self.noise**2)


class PreparedLNCC(Prepared):
    """LNCC against one fixed image; keeps the windows of the last moving mask, which loops ask for again and again."""

    def __init__(self, fixed: Tensor, mask: Tensor | None, radius: int, epsilon: float):
        self._fixed, self._mask, self._radius, self._epsilon = fixed, mask, radius, epsilon
        self._last: tuple[Tensor | None, Windows] | None = None, windows(fixed, mask, radius, epsilon)
        self._total = self._last[1].total

    def needed(self) -> np.ndarray | None:
        return needed(self._over(None))

    def _over(self, mask: Tensor | None) -> Windows:
        last = self._last  # others may ask meanwhile, from another thread
        if last is None or last[0] is not mask:
            self._last = last = None  # freed before the next ones are made
            both = mask if self._mask is None else self._mask if mask is None else mask * self._mask
            # what the moving image does not show counts as uncorrelated: it must not pay to leave a part out
            found = windows(self._fixed, both, self._radius, self._epsilon)
            self._last = last = mask, replace(found, total=self._total)
        return last[1]

    def reference(self, warped: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        w = self._over(mask)
        value = lncc_reference(warped, replace(w, mask=w.mask.to(warped.dtype)))
        curvature = lncc(warped.detach().double(), w)[2]
        assert curvature is not None
        return value, curvature[0].to(warped.dtype)

    def fused(self, warped: Tensor) -> bool:
        return fits(warped.detach()) and fits(self._fixed)

    def fused_value(self, warped: Tensor, mask: Tensor | None) -> float:
        return lncc(warped.detach(), self._over(mask), gradient=False)[0]

    def fused_evaluation(self, warped: Tensor, mask: Tensor | None) -> Evaluation:
        value, slope, curvature = lncc(warped.detach(), self._over(mask))
        assert slope is not None and curvature is not None  # noqa: PT018 - asked for above
        return Evaluation(value, slope, curvature[0])
