"""What turns two images, laid side by side as channels, into features on a coarse lattice: ours, and MONAI's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.errors import MissingPackageError, OptionError, unknown
from coincide.networks.blocks import convolution, normalisation, packed

LIGHT = (24, 48, 96, 128)
"""Channels of the light backbone's lattices, finest first."""
_WIDER = 2
"""By how much a block has more channels inside than outside."""


class Separable(nn.Module):
    """Widened place by place, mixed along space channel by channel, narrowed again; added to what came in if it fits.

    Source: Sandler et al., "MobileNetV2" (2018), doi:10.1109/CVPR.2018.00474.

    Args:
        dim: 2 or 3.
        inward: channels that come in.
        outward: channels that go out.
        stride: 2 halves the lattice.
        norm: one of `blocks.NORMS`.
    """

    def __init__(self, dim: int, inward: int, outward: int, stride: int = 1, norm: str = "group") -> None:
        super().__init__()
        inside = _WIDER * inward
        kind = nn.Conv2d if dim == 2 else nn.Conv3d
        self.wide = convolution(dim, inward, inside, size=1)
        self.along = kind(inside, inside, 3, stride, padding=1, groups=inside, bias=False)
        self.norm = normalisation(norm, dim, inside)
        self.narrow = convolution(dim, inside, outward, size=1)
        self.added = stride == 1 and inward == outward

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inward, *shape)` to `(batch, outward, *shape / stride)`."""
        found = F.leaky_relu(self.wide(x), 0.1)
        # few sums a number: 16 bits save nothing here, and take longer on a processor
        with torch.autocast(x.device.type, enabled=False):
            found = self.along(found.float())
        found = self.narrow(self.norm(F.leaky_relu(found, 0.1).contiguous()))
        return x + found if self.added else found


class Light(nn.Module):
    """Depthwise-separable convolutions on ever coarser lattices, after MobileNet; MONAI has none in 3-D.

    Args:
        dim: 2 or 3.
        inward: channels that come in.
        channels: of the lattices, finest first; the first is half as fine as the images.
        norm: one of `blocks.NORMS`.
    """

    def __init__(self, dim: int, inward: int, channels: Sequence[int] = LIGHT, norm: str = "group") -> None:
        super().__init__()
        self.stem = convolution(dim, inward * 2**dim, channels[0])
        steps: list[nn.Module] = []
        for fine, coarse in pairwise(channels):
            steps += [Separable(dim, fine, fine, norm=norm), Separable(dim, fine, coarse, 2, norm)]
        self.body = nn.Sequential(*steps, Separable(dim, channels[-1], channels[-1], norm=norm))
        self.channels = channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, inward, *shape)` to `(batch, channels, *lattice)`."""
        return self.body(self.stem(packed(images)))


class Residual(nn.Module):
    """A residual network of MONAI's without its head, and with fresh weights.

    Args:
        name: as MONAI calls it, `resnet18` or `resnet50`.
        dim: 2 or 3.
        inward: channels that come in.
        norm: one of `blocks.NORMS`.

    Raises:
        MissingPackageError: MONAI is not installed.
    """

    def __init__(self, name: str, dim: int, inward: int, norm: str) -> None:
        super().__init__()
        make = getattr(_monai(), name)
        self.body = make(spatial_dims=dim, n_input_channels=inward, conv1_t_stride=2, feed_forward=False)
        self.body.avgpool = nn.Flatten()
        _normalise(self.body, norm, dim)
        self.dim, self.channels = dim, self.body.in_planes

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, inward, *shape)`, as long along each axis, to `(batch, channels, *lattice)`."""
        flat = self.body(images)
        side = round((flat.shape[1] / self.channels) ** (1 / self.dim))
        return flat.reshape(len(flat), self.channels, *(side,) * self.dim)


class Efficient(nn.Module):
    """MONAI's EfficientNet-B0 without its head, and with fresh weights.

    Args:
        dim: 2 or 3.
        inward: channels that come in.
        norm: one of `blocks.NORMS`.

    Raises:
        MissingPackageError: MONAI is not installed.
    """

    def __init__(self, dim: int, inward: int, norm: str) -> None:
        super().__init__()
        make = getattr(_monai(), "EfficientNetBNFeatures")  # noqa: B009 - MONAI does not declare it
        self.body = make("efficientnet-b0", pretrained=False, spatial_dims=dim, in_channels=inward)
        for unused in ("_conv_head", "_bn1", "_fc"):
            setattr(self.body, unused, nn.Identity())
        _normalise(self.body, norm, dim)
        self.channels = 320

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, inward, *shape)` to `(batch, channels, *lattice)`."""
        return self.body(images)[-1]


BACKBONES: dict[str, Callable[[int, int, str], nn.Module]] = {
    "efficientnet": Efficient,
    "light": lambda dim, inward, norm: Light(dim, inward, norm=norm),
    "resnet18": lambda dim, inward, norm: Residual("resnet18", dim, inward, norm),
    "resnet50": lambda dim, inward, norm: Residual("resnet50", dim, inward, norm),
}
"""Backbones by name, made from the dimension, the channels that come in, and the norm; all but `light` are MONAI's."""


def make_backbone(
    name: str, dim: int, inward: int, norm: str, channels: Sequence[int] = ()
) -> tuple[nn.Module, int]:
    """The backbone `name` with fresh weights, and the channels that come out of it.

    Args:
        name: one of `BACKBONES`.
        dim: 2 or 3.
        inward: channels that come in.
        norm: one of `blocks.NORMS`.
        channels: of the light one's lattices, two or more; as it ships where empty.

    Raises:
        OptionError: an unknown backbone or norm, or channels for one that has its own.
        MissingPackageError: MONAI, whose it is, is not installed.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    if not channels:
        made: nn.Module = BACKBONES[name](dim, inward, norm)
    elif name != "light" or len(channels) < 2:
        raise OptionError(
            f"channels are {list(channels)} for the backbone {name}; expected two lattices or more for light, and none "
            "for the others, which have their own."
        )
    else:
        made = Light(dim, inward, channels, norm)
    return made, int(made.channels)  # type: ignore[arg-type] - torch types its attributes as modules


def _normalise(network: nn.Module, norm: str, dim: int) -> None:
    """Put `norm` in the place of every batch norm: MONAI's own option for it does not reach all of them."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(module, name, normalisation(norm, dim, child.num_features))


def _monai():
    """MONAI's networks.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from monai.networks import nets
    except ImportError as error:
        raise MissingPackageError(
            f"the backbones of MONAI need the package monai, which is not installed ({error}). "
            "Run: pip install 'coincide[train]', or take the backbone light."
        ) from error
    return nets
