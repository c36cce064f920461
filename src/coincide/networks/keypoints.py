"""A network that finds the same places in any picture of a kind of anatomy, whatever its contrast and pose."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from coincide.errors import OptionError
from coincide.networks.blocks import Hourglass, convolution, standardised


class Keypoints(NamedTuple):
    """What the network found in a batch of images.

    Args:
        centres: `(batch, keypoint, dim)` centres of mass, in voxels of the input (centres at integers).
        masses: `(batch, keypoint)` how much of the image belongs to each, in voxels of the output.
        scores: `(batch, keypoint + 1, *output)` logarithms of the shares, less a constant; the first is of none.
    """

    centres: Tensor
    masses: Tensor
    scores: Tensor


class KeypointNetwork(nn.Module):
    """Shares out the voxels of an image among keypoints (and none); a keypoint is where its share has its centre.

    Args:
        dim: 2 or 3.
        keypoints: how many.
        channels: of the lattices, finest first.
        stride: how many voxels of the input an output voxel covers along each axis, a power of 2.
        shape: voxels of the input along each axis.
        spacing: mm of its voxels.
        norm: one of `blocks.NORMS`.

    Raises:
        OptionError: sizes that do not fit each other.
    """

    def __init__(
        self,
        dim: int = 3,
        keypoints: int = 32,
        channels: tuple[int, ...] = (12, 24, 40, 48),
        stride: int = 2,
        shape: int = 48,
        spacing: float = 4.5,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        finest = stride.bit_length() - 1
        if 2**finest != stride or finest >= len(channels):
            raise OptionError(
                f"a stride of {stride} does not fit {len(channels)} levels; expected a power of 2, up to "
                f"{2 ** (len(channels) - 1)}."
            )
        if shape % 2 ** (len(channels) - 1):
            raise OptionError(
                f"an input of {shape} voxels cannot be halved {len(channels) - 1} times; expected a multiple of "
                f"{2 ** (len(channels) - 1)}."
            )
        self.options = {
            "dim": dim,
            "keypoints": keypoints,
            "channels": list(channels),
            "stride": stride,
            "shape": shape,
            "spacing": spacing,
            "norm": norm,
        }
        self.dim, self.stride, self.shape, self.spacing = dim, stride, shape, spacing
        self.body = Hourglass(dim, channels, finest, norm=norm)
        self.head = convolution(dim, channels[finest], keypoints + 1, size=1)

    def forward(self, images: Tensor) -> Keypoints:
        """Find the keypoints of `images`, `(batch, 1, *shape)` of any scale of intensity."""
        scores = self.head(self.body(standardised(images))).float()
        shares = torch.softmax(scores, 1)[:, 1:]
        masses = shares.flatten(2).sum(2)
        centres = torch.stack(
            [self._mean(shares, axis) / masses.clamp(min=1e-6) for axis in range(self.dim)], -1
        )
        return Keypoints(centres, masses, scores)

    def _mean(self, shares: Tensor, axis: int) -> Tensor:
        """Sum of positions along an axis, in voxels of the input, weighted by the shares."""
        others = tuple(a + 2 for a in range(self.dim) if a != axis)
        along = shares.sum(others)
        place = torch.arange(along.shape[-1], dtype=along.dtype, device=along.device) * self.stride
        # an output voxel stands in the middle of the input voxels that its first convolution is centred on
        return (along * place).sum(-1)
