"""A network that paints a picture of any contrast in one contrast, with what it needs to learn that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coincide.errors import OptionError
from coincide.networks.blocks import Hourglass, convolution, standardised
from coincide.networks.judge import Judge
from coincide.networks.pyramid import PyramidNetwork


class TranslateNetwork(nn.Module):
    """A generator, and beside it the judge and the registration that it learns with.

    Args:
        dim: 2 or 3; a network that sees pictures takes a volume slice by slice.
        channels: of the generator's lattices, finest first; the first is as fine as the input.
        judged: channels of the judge, each layer half as fine as the one before.
        registered: channels of the registration's lattices.
        matched: channels that the registration compares.
        spacing: mm of the input's voxels.
        spectral: whether the judge's layers have a spectral norm of 1.
        norm: of the generator, one of `blocks.NORMS`.

    Raises:
        OptionError: fewer than two lattices.
    """

    def __init__(
        self,
        dim: int = 2,
        channels: tuple[int, ...] = (16, 24, 32),
        judged: tuple[int, ...] = (16, 32, 32),
        registered: tuple[int, ...] = (12, 16),
        matched: int = 8,
        spacing: float = 2.0,
        spectral: bool = True,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise OptionError(f"channels is {channels}; expected two lattices or more.")
        self.options = {
            "dim": dim,
            "channels": list(channels),
            "judged": list(judged),
            "registered": list(registered),
            "matched": matched,
            "spacing": spacing,
            "spectral": spectral,
            "norm": norm,
        }
        self.dim, self.spacing = dim, spacing
        self.body = Hourglass(dim, channels, 0, norm=norm)
        self.last = convolution(dim, channels[0], 1)
        self.judge = Judge(dim, 1, judged, spectral)
        self.register = PyramidNetwork(dim, registered, matched, (1,) * len(registered), spacing)
        self.multiple = max(2 ** (len(channels) - 1), self.register.multiple)
        self.taken: Tensor
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))

    def forward(self, images: Tensor) -> Tensor:
        """Pictures `(batch, 1, *shape)` of any scale of intensity to such in the learned contrast, 0 to 1."""
        return torch.sigmoid(self.last(self.body(standardised(images))).float())
