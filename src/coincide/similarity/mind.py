"""Modality-independent neighbourhood descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coincide.ops.mind import mind_ssc
from coincide.options import Count, Whole
from coincide.similarity.base import Similarity, single_channel, weights_of
from coincide.similarity.mse import SquaredError


@dataclass(frozen=True)
class MIND(Similarity):
    """Mean squared difference of the two images' MIND-SSC channels: 0 is best, 1 is the worst there can be.

    Invariant to a·W + b with any a ≠ 0, and nearly so where a and b vary slowly over the image, as long
    as the local noise estimate stays within 1/1000 to 1000 times its mean over the image. The channels,
    12 in 3-D and 4 in 2-D, are worked out before warping, and it is they that are warped; so a rotation
    should be small by the time this is used.

    The curvature, 2w / (C Σw), is exact with respect to the channels.

    Args:
        radius: of the patches that are compared, in voxels; 1 where left out, and 2 in pictures, where a patch has
            fewer pixels to average noise over.
        dilation: how far they lie from the voxel that is described, in voxels; 2 where left out, and 3 in pictures.

    Raises:
        OptionError: a negative radius, or a dilation below 1.

    Source: Heinrich et al. 2013, doi:10.1007/978-3-642-40811-3_24.
    """

    name: ClassVar[str] = "mind"
    turns: ClassVar[bool] = False
    radius: Whole | None = None
    dilation: Count | None = None

    @property
    def worst(self):
        return 0.3

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The MIND-SSC channels."""
        usual = (2, 3) if image.ndim == 3 else (1, 2)
        radius = usual[0] if self.radius is None else self.radius
        dilation = usual[1] if self.dilation is None else self.dilation
        return mind_ssc(single_channel(image, "MIND"), radius, dilation)

    def prepare(self, fixed, mask=None):
        """Work out the fixed image's channels."""
        return SquaredError(self.features(fixed), weights_of(fixed, mask), unit=True)
