"""What keeps two networks that learn against each other from running away, and how one tells that they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coincide.errors import OptionError

_ALIKE = 0.3
"""Share of the variety that there should be, below which a generator counts as collapsed."""
_SURE = 0.98
"""Share that a judge gets right, from which on its opponent learns nothing from it."""


@dataclass(frozen=True)
class Stability:
    """How the judge and its opponent are kept in balance.

    Two time-scales are `[start.rates]` of a recipe, clipped gradients `optimiser.clip`, the spectral norm an option of
    the network.

    Args:
        smoothing: what the judge is taught to give real patches is this far below certainty.
        r1: weight of the judge's mean squared gradient at real patches. Source: Mescheder et al. 2018,
            arXiv:1801.04406.
        every: the judge's steps for each of its opponent's.

    Raises:
        OptionError: a number out of range.
    """

    smoothing: float = 0.1
    r1: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 0.5 or self.r1 < 0 or self.every < 1:
            raise OptionError(
                f"stability has smoothing {self.smoothing}, r1 {self.r1} and every {self.every}; expected 0 to below "
                "0.5, 0 or more, and 1 or more."
            )

    def real(self, logits: Tensor) -> Tensor:
        """What the judge is to make small where patches are real."""
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 1 - self.smoothing))

    def steepness(self, logits: Tensor, real: Tensor) -> Tensor:
        """The penalty on how steeply `logits` change with `real`, which they were computed from."""
        if self.r1 == 0:
            return torch.zeros(())
        (slope,) = torch.autograd.grad(logits.mean(), real, create_graph=True)
        # per patch, so that it does not depend on the size of the image
        return self.r1 / 2 * logits[0].numel() * slope.square().flatten(1).sum(1).mean()

    def turn(self, taken: Tensor) -> bool:
        """Whether the opponent learns in this step; `taken` counts the steps."""
        taken += 1
        return int(taken) % self.every == 0


def unreal(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """What the judge is to make small where patches are not real; `weights` say how much each counts."""
    loss = F.softplus(logits)
    return loss.mean() if weights is None else (loss * weights).sum() / weights.sum().clamp(min=1e-6)


def doubts(record: Mapping[str, float]) -> list[str]:
    """What is to be said of a pair of opponents, by what was measured on pairs kept back.

    Args:
        record: with `variety`, how much answers differ among each other as a share of what they should, and `told`,
            the share that the judge gets right.
    """
    found = []
    if record["variety"] < _ALIKE:
        found.append(
            f"The answers to different images hardly differ (variety {record['variety']:.2f} of 1): the network has "
            "collapsed. Lower optimiser.rate, raise task.stability.r1, or begin anew with another seed."
        )
    if record["told"] > _SURE:
        found.append(
            f"The judge is right in {100 * record['told']:.0f} % and saturated: its opponent learns nothing from it. "
            "Lower its share in start.rates, or raise task.stability.r1 or task.stability.smoothing."
        )
    return found
