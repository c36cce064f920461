"""A network that sees two images at once and answers with the linear transform between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.errors import OptionError, unknown
from coincide.networks.backbones import make_backbone
from coincide.networks.blocks import standardised
from coincide.networks.matching import middles
from coincide.networks.parametrisation import Model, Pose, Raw

_HEADS = {"pose": Pose, "textbook": Raw}


class Answer(NamedTuple):
    """What the network says of a batch of pairs.

    Args:
        matrices: `(batch, dim+1, dim+1)` float32, fixed → moving. Places are counted from the middle of the field of
            view, in halves of its width.
        numbers: `(batch, size)` what they were made of.
    """

    matrices: Tensor
    numbers: Tensor


class RegressorNetwork(nn.Module):
    """Fixed and moving image as two channels, a backbone, and a head that says the numbers of a linear transform.

    Args:
        dim: 2 or 3.
        backbone: one of `backbones.BACKBONES`; all but `light` need MONAI.
        head: `"pose"` takes mean and first moments of the features over the lattice, whence axes, scales, shears and
            shift; `"textbook"` is fully connected layers on all of the features, whence angles or raw entries. A
            baseline, no more.
        model: `"rigid"` or `"affine"`.
        shape: voxels of the images along each axis, an even number.
        spacing: mm of these.
        norm: one of `blocks.NORMS`.
        channels: of the light backbone's lattices; its own where empty.

    Raises:
        OptionError: an unknown name, or a shape that is not even or too small.
        MissingPackageError: MONAI is not installed.
    """

    def __init__(
        self,
        dim: int = 3,
        backbone: str = "light",
        head: Literal["pose", "textbook"] = "pose",
        model: Model = "affine",
        shape: int = 32,
        spacing: float = 6.0,
        norm: str = "group",
        channels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if head not in _HEADS:
            raise unknown("head", head, _HEADS)
        if model not in ("rigid", "affine"):
            raise unknown("model", model, ("rigid", "affine"))
        if shape % 2 or shape < 8 or spacing <= 0:
            raise OptionError(
                f"the images are of {shape} voxels of {spacing} mm; expected an even number from 8 up, and a positive "
                "size."
            )
        self.options = {
            "dim": dim,
            "backbone": backbone,
            "head": head,
            "model": model,
            "shape": shape,
            "spacing": spacing,
            "norm": norm,
            "channels": list(channels),
        }
        self.dim, self.shape, self.spacing = dim, shape, spacing
        self.parametrisation = _HEADS[head](dim, model)
        self.body, count = make_backbone(backbone, dim, 2, norm, channels)
        self.pooled = head == "pose"
        inward = count * (1 + dim) if self.pooled else count * self._places()
        self.hidden, self.last = nn.Linear(inward, 256), nn.Linear(256, self.parametrisation.size)
        self._begin_still()

    @property
    def half(self) -> float:
        """Half of the width of the field of view, mm."""
        return self.shape * self.spacing / 2

    def forward(self, fixed: Tensor, moving: Tensor) -> Answer:
        """What carries places of `fixed` to those of `moving`, both `(batch, 1, *shape)` of any scale of intensity."""
        found = self.body(torch.cat([standardised(fixed), standardised(moving)], 1))
        features = _moments(found) if self.pooled else found.flatten(1)
        numbers = self.last(F.leaky_relu(self.hidden(features), 0.1)).float()
        # 16 bits would do for the layers, but not for millimetres
        with torch.autocast(numbers.device.type, enabled=False):
            return Answer(self.parametrisation.matrix(numbers), numbers)

    def _places(self) -> int:
        """How many places the lattice of the features has."""
        blank = torch.zeros(1, 2, *(self.shape,) * self.dim)
        with torch.no_grad():
            self.body.eval()
            places = self.body(blank)[0, 0].numel()
            self.body.train()
        return places

    def _begin_still(self) -> None:
        """Begin near the answer that nothing moves."""
        still = torch.eye(self.dim + 1)[None]
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias.copy_(self.parametrisation.numbers(still)[0])


def _moments(features: Tensor) -> Tensor:
    """Mean of each channel over the lattice, and how it leans along each axis, `(batch, channel * (1 + dim))`."""
    places = middles(features.shape[2:], features).flatten(1)
    flat = features.flatten(2)
    leaning = torch.einsum("bcp,dp->bcd", flat, places) / flat.shape[-1]
    return torch.cat([flat.mean(-1, keepdim=True), leaning], -1).flatten(1)
