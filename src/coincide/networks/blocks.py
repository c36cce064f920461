"""What the networks are built of, in 2-D and 3-D alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.errors import unknown

NORMS = ("instance", "group", "batch")
"""What channels are normalised over: each by itself, fours of them together, or each over the whole batch."""


def convolution(dim: int, inward: int, outward: int, size: int = 3, stride: int = 1) -> nn.Module:
    """A convolution that keeps the middle of the lattice in its place."""
    kind = nn.Conv2d if dim == 2 else nn.Conv3d
    return kind(inward, outward, size, stride, padding=size // 2)


def normalisation(kind: str, dim: int, channels: int) -> nn.Module:
    """The layer that brings channels to mean 0 and variance 1, and then to a mean and variance that are learned.

    Raises:
        OptionError: an unknown kind.
    """
    if kind not in NORMS:
        raise unknown("norm", kind, NORMS)
    if kind == "batch":
        return nn.BatchNorm2d(channels) if dim == 2 else nn.BatchNorm3d(channels)
    return nn.GroupNorm(channels if kind == "instance" else channels // math.gcd(4, channels), channels)


class Block(nn.Module):
    """Convolution, normalisation, leaky ramp.

    Args:
        dim: 2 or 3.
        inward: channels that come in.
        outward: channels that go out.
        stride: 2 halves the lattice.
        norm: one of `NORMS`.
    """

    def __init__(self, dim: int, inward: int, outward: int, stride: int = 1, norm: str = "instance") -> None:
        super().__init__()
        self.convolution = convolution(dim, inward, outward, stride=stride)
        self.norm = normalisation(norm, dim, outward)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inward, *shape)` to `(batch, outward, *shape / stride)`."""
        # where channels come last, the gradient of the norm takes longer than all the rest
        return F.leaky_relu(self.norm(self.convolution(x).contiguous()), 0.1)


class Hourglass(nn.Module):
    """Down to a coarse lattice and part of the way back, with sums across (a light U-Net).

    Args:
        dim: 2 or 3.
        channels: on each lattice, finest first; each is half as fine as the one before.
        finest: the level, counted from 0, on which the features come out.
        inward: channels that come in.
        norm: one of `NORMS`.
    """

    def __init__(
        self, dim: int, channels: Sequence[int], finest: int, inward: int = 1, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.mode = "bilinear" if dim == 2 else "trilinear"
        down: list[nn.Module] = [Block(dim, inward, channels[0], norm=norm)]
        for level, (coarse, fine) in enumerate(zip(channels[1:], channels[:-1]), start=1):
            own = Block(dim, coarse, coarse, norm=norm) if level >= finest else nn.Identity()
            down.append(nn.Sequential(Block(dim, fine, coarse, stride=2, norm=norm), own))
        steps = [(channels[n + 1], channels[n]) for n in reversed(range(finest, len(channels) - 1))]
        self.down = nn.ModuleList(down)
        self.narrow = nn.ModuleList(convolution(dim, coarse, fine, size=1) for coarse, fine in steps)
        self.up = nn.ModuleList(Block(dim, fine, fine, norm=norm) for _, fine in steps)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inward, *shape)` to `(batch, channels[finest], *shape / 2**finest)`."""
        return self.levels(x)[-1]

    def levels(self, x: Tensor) -> list[Tensor]:
        """What comes out on every lattice, coarse to fine; the last is that of `forward`."""
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
        x = kept.pop()
        found = [x]
        for narrow, block in zip(self.narrow, self.up):
            across = kept.pop()
            wide = F.interpolate(narrow(x), size=across.shape[2:], mode=self.mode, align_corners=False)
            x = block(across + wide)
            found.append(x)
        return found


def packed(images: Tensor) -> Tensor:
    """Each 2 × 2 (× 2) voxels as one: `(batch, channel, *shape)` to `(batch, 2**dim * channel, *shape / 2)`."""
    for axis in range(2, images.ndim):
        every = (slice(None),) * axis
        images = torch.cat([images[(*every, slice(start, None, 2))] for start in (0, 1)], 1)
    return images


def mean(x: Tensor) -> Tensor:
    """Means over windows of 3 voxels an axis, of what there is of them; `(batch, channel, *shape)`."""
    for axis in range(2, x.ndim):
        size, beyond = x.shape[axis], x.ndim - 1 - axis
        # sums of shifted copies take a quarter of the time that torch's pooling does
        wide = F.pad(x, (0, 0) * beyond + (1, 1))
        number = torch.full((size,), 3.0, device=x.device)
        number[0] -= 1
        number[-1] -= 1
        total = wide.narrow(axis, 0, size) + wide.narrow(axis, 1, size) + wide.narrow(axis, 2, size)
        x = total / number.reshape(-1, *[1] * beyond)
    return x


def parameters(network: nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(p.numel() for p in network.parameters())


def standardised(images: Tensor) -> Tensor:
    """Images `(batch, channel, *shape)` at zero mean and unit variance each, float32."""
    images = images.float()
    axes = tuple(range(1, images.ndim))
    mean = images.mean(axes, keepdim=True)
    spread = (images - mean).square().mean(axes, keepdim=True).sqrt()
    return (images - mean) / torch.clamp(spread, min=1e-6)
