"""The textbook's recurrent network: an LSTM on flattened frames and a layer of parameters. A baseline, no more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.networks.blocks import standardised
from coincide.networks.sequence import Course


class FlattenedNetwork(nn.Module):
    """Frames and reference made small, flattened, one after the other through an LSTM; its state says the parameters.

    Args:
        dim: 2 or 3.
        side: pixels along each axis to which frames are made small.
        hidden: size of the recurrent state.
    """

    def __init__(self, dim: int = 2, side: int = 24, hidden: int = 128) -> None:
        super().__init__()
        self.options = {"dim": dim, "side": side, "hidden": hidden}
        self.dim, self.side, self.multiple = dim, side, 1
        self.recurrent = nn.LSTM(2 * side**dim, hidden, batch_first=True)
        self.head = nn.Linear(hidden, dim * (dim + 1))

    def forward(self, frames: Tensor, seen: Tensor, reference: Tensor) -> Course:
        """Where the frames lie; arguments and result as of `SequenceNetwork`, of which only the past counts."""
        number, count = frames.shape[:2]
        small = self._small(frames.flatten(0, 1)).reshape(number, count, -1) * seen[..., None]
        beside = self._small(reference)[:, None].expand(-1, count, -1)
        state, _ = self.recurrent(torch.cat([small, beside], -1))
        rows = self.head(state).float().reshape(number, count, self.dim, self.dim + 1)
        still = torch.eye(self.dim + 1, device=frames.device).expand(number, count, -1, -1)
        found = still + F.pad(rows, (0, 0, 0, 1))
        return Course(found, found, found, found, seen.float())

    def _small(self, images: Tensor) -> Tensor:
        pool = F.adaptive_avg_pool2d if self.dim == 2 else F.adaptive_avg_pool3d
        return pool(standardised(images), self.side).flatten(1)
