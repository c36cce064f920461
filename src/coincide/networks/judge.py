"""A network that judges patches of images: how likely each is to be what it was taught to take for real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from coincide.networks.blocks import convolution


class Judge(nn.Module):
    """Convolutions that halve the lattice each, without normalisation; a logit for each patch.

    Args:
        dim: 2 or 3.
        inward: channels that come in.
        channels: of each layer.
        spectral: whether no layer may stretch what it is given (its spectral norm is 1).

    Source: Isola et al. 2017, arXiv:1611.07004 (patches); Miyato et al. 2018, arXiv:1802.05957 (spectral norm).
    """

    def __init__(self, dim: int, inward: int, channels: Sequence[int], spectral: bool) -> None:
        super().__init__()
        wide = [inward, *channels]
        layers = [convolution(dim, a, b, stride=2) for a, b in zip(wide, channels)]
        layers.append(convolution(dim, wide[-1], 1))
        self.layers = nn.ModuleList(spectral_norm(layer) if spectral else layer for layer in layers)

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, inward, *shape)` to logits `(batch, 1, *shape / 2**len(channels))`; above 0 is real."""
        *inner, last = self.layers
        for layer in inner:
            images = F.leaky_relu(layer(images), 0.2)
        return last(images)


@contextmanager
def held(network: nn.Module) -> Iterator[None]:
    """What is computed within teaches everything but `network`."""
    for weight in network.parameters():
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in network.parameters():
            weight.requires_grad_(True)
