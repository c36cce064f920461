"""A network that judges whether two patches are aligned, whatever their contrasts: a similarity that is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.networks.blocks import Hourglass, convolution, standardised
from coincide.networks.pyramid import PyramidNetwork


class AdversarialNetwork(nn.Module):
    """A discriminator of two equal towers, and beside it the registration that tries to deceive it.

    Each image goes through the tower by itself; two patches look the more aligned the less their features differ. So
    what is learned can be worked out for each image once, and warped: it serves as a similarity.

    Args:
        dim: 2 or 3; a network that sees pictures takes a volume slice by slice.
        channels: of the tower's lattices, finest first; the first is as fine as the input.
        matched: features of a place.
        patch: pixels along a patch, a power of 2.
        registered: channels of the registration's lattices.
        spacing: mm of the input's voxels.
        norm: of the tower, one of `blocks.NORMS`.
    """

    def __init__(
        self,
        dim: int = 2,
        channels: tuple[int, ...] = (12, 16, 24),
        matched: int = 6,
        patch: int = 8,
        registered: tuple[int, ...] = (12, 16),
        spacing: float = 2.0,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        self.options = {
            "dim": dim,
            "channels": list(channels),
            "matched": matched,
            "patch": patch,
            "registered": list(registered),
            "spacing": spacing,
            "norm": norm,
        }
        self.dim, self.spacing, self.patch = dim, spacing, patch
        self.body = Hourglass(dim, channels, 0, norm=norm)
        self.narrow = convolution(dim, channels[0], matched, size=1)
        self.steepness = nn.Parameter(torch.tensor(1.5))
        self.threshold = nn.Parameter(torch.tensor(0.5))
        self.register = PyramidNetwork(dim, registered, 8, (1,) * len(registered), spacing)
        self.multiple = max(2 ** (len(channels) - 1), self.register.multiple, patch)
        self.taken: Tensor
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))

    def forward(self, images: Tensor) -> Tensor:
        """Features `(batch, matched, *shape)`, of length 1, of pictures `(batch, 1, *shape)` of any scale."""
        return F.normalize(self.narrow(self.body(standardised(images))).float(), dim=1)

    def aligned(self, one: Tensor, other: Tensor) -> Tensor:
        """Logits `(batch, 1, *shape / patch)`, above 0 where features of two images look aligned."""
        pool = F.avg_pool2d if self.dim == 2 else F.avg_pool3d
        apart = pool((one - other).square().sum(1, keepdim=True), self.patch)
        return torch.exp(self.steepness) * (self.threshold - apart)

    def tower(self) -> nn.ModuleList:
        """The parts that judge."""
        return nn.ModuleList([self.body, self.narrow, _Numbers(self.steepness, self.threshold)])


class _Numbers(nn.Module):
    """Single numbers among the parts of a network."""

    def __init__(self, *numbers: nn.Parameter) -> None:
        super().__init__()
        self.numbers = nn.ParameterList(numbers)
