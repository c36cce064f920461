"""Mattes' mutual information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coincide.ops.histogram import nearest_bin
from coincide.similarity.base import Similarity, single_channel, weights_of
from coincide.similarity.nmi import Bins, Information, unit_range


@dataclass(frozen=True)
class Mattes(Similarity):
    """Minus the mutual information H(F) + H(W) − H(F, W) in nats, as ITK's Mattes metric has it: 0 is worst.

    It is what `nmi:normalised=false` is, by the name that ITK, ANTs and elastix know it under, and with all values in
    their bins: nothing is cut off at the ends of the range. Invariant to any invertible intensity map, of either image,
    up to binning. Unlike NMI it grows with what the overlap shows.

    Args:
        bins: bins along each axis, 8 to 256. One at either end is kept free for the window.

    Raises:
        OptionError: bins out of range.

    Source: Mattes et al. 2003, doi:10.1109/TMI.2003.809072; the curvature is that of NMI.
    """

    name: ClassVar[str] = "mattes"
    bins: Bins = 50

    @property
    def worst(self):
        return 0.0

    def features(self, image, *, mask=None):
        """The image in the unit range."""
        return unit_range(single_channel(image, "Mattes"), mask, 0.0)

    def prepare(self, fixed, mask=None):
        """Put the fixed image into bins."""
        weights = weights_of(fixed, mask)
        index = nearest_bin(self.features(fixed, mask=mask)[0], self.bins)
        return Information(index.contiguous(), weights, self.bins, normalised=False)
