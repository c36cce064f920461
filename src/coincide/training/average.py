"""The running average of weights, which is steadier than the weights themselves."""

from __future__ import annotations

import torch
from torch import nn


class Average:
    """Exponential average of a network's weights; young averages forget faster.

    Args:
        network: what to follow.
        decay: share that is kept at each step in the end.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` (from 1)."""
        kept = min(self.decay, step / (step + 10))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, 1 - kept)
            else:  # counters, as batch norms keep
                self.weights[key].copy_(value)
