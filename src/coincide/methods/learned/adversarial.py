"""The similarity that a judge of alignment has learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coincide.networks import chosen
from coincide.networks.slices import along_every_axis
from coincide.similarity.base import Similarity, single_channel, weights_of
from coincide.similarity.mse import SquaredError


@dataclass(frozen=True)
class Adversarial(Similarity):
    """Mean squared difference of the features by which a network judges whether two patches are aligned; 0 is best.

    The network learned to tell aligned patches of made-up anatomies, of any two contrasts, from patches that chance or
    another network had moved. It sees slices; of a volume those along each axis. Invariant to a·W + b with a > 0, and
    by training nearly so to the contrast. The features are worked out before warping, and it is they that are
    warped; so a rotation should be small by the time this is used. The curvature, 2w / (C Σw), is exact with respect
    to the features.

    Args:
        weights: a file that `coincide train` wrote; none come with coincide.
    """

    name: ClassVar[str] = "adversarial"
    turns: ClassVar[bool] = False
    weights: str = ""

    @property
    def worst(self):
        return 0.1

    def features(self, image, *, mask=None):  # noqa: ARG002 - other measures need it
        """The network's features, 0 to 1: of a volume's slices along one axis after those along the other."""
        network = chosen("adversarial", self.weights)
        found = along_every_axis(network, single_channel(image, self.name).float(), network.multiple)
        return ((found.flatten(0, 1) + 1) / 2).to(image).contiguous()

    def prepare(self, fixed, mask=None):
        """Work out the fixed image's features."""
        return SquaredError(self.features(fixed), weights_of(fixed, mask), unit=True)
