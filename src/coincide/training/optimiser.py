"""How weights are changed: the rule, and its rate as training goes on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from coincide.errors import OptionError


@dataclass(frozen=True)
class Optimiser:
    """The rule by which weights are changed.

    Args:
        kind: `"adam"`, `"adamw"`, `"rmsprop"` or `"sgd"` (with Nesterov's momentum).
        rate: the highest learning rate.
        decay: weight decay; an L2 penalty but for `"adamw"`, where it is decoupled.
        momentum: of `"rmsprop"` and `"sgd"`; the first moment's memory of the others.
        clip: the longest gradient, over all weights; 0 for any.
        sparse: an L1 penalty: by how much, times the rate, every weight is drawn towards 0 in each step.

    Raises:
        OptionError: a number out of range.
    """

    kind: Literal["adam", "adamw", "rmsprop", "sgd"] = "adamw"
    rate: float = 1e-3
    decay: float = 1e-4
    momentum: float = 0.9
    clip: float = 1.0
    sparse: float = 0.0

    def __post_init__(self) -> None:
        if not (
            0 < self.rate < 1e3 and 0 <= self.momentum < 1 and min(self.decay, self.clip, self.sparse) >= 0
        ):
            raise OptionError(
                f"the optimiser has rate {self.rate}, decay {self.decay}, momentum {self.momentum}, clip "
                f"{self.clip} and sparse {self.sparse}; expected a rate above 0, a momentum from 0 to below 1, "
                "the others 0 or more."
            )

    def make(self, weights: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """The torch optimiser of `weights`, or of groups of them as torch has these."""
        given: list[Any] = list(weights)
        betas = (self.momentum, 0.99)
        if self.kind == "sgd":
            return torch.optim.SGD(
                given, self.rate, self.momentum, nesterov=self.momentum > 0, weight_decay=self.decay
            )
        if self.kind == "rmsprop":
            return torch.optim.RMSprop(given, self.rate, momentum=self.momentum, weight_decay=self.decay)
        rule = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return rule(given, self.rate, betas, weight_decay=self.decay)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes from step to step, as a share of the highest.

    Args:
        kind: `"constant"`; `"cosine"`, down to `last` at the end; `"step"`, times `drop` at each of `at`; or
            `"plateau"`, times `drop` after every `wait` looks at pairs kept back that saw no progress.
        warm_up: steps over which it rises from next to nothing.
        last: share that is left at the end of a cosine.
        drop: factor.
        at: shares of all steps.
        wait: looks.

    Raises:
        OptionError: a number out of range.
    """

    kind: Literal["constant", "cosine", "step", "plateau"] = "cosine"
    warm_up: int = 100
    last: float = 0.02
    drop: float = 0.1
    at: tuple[float, ...] = (0.6, 0.85)
    wait: int = 3

    def __post_init__(self) -> None:
        if self.warm_up < 0 or self.wait < 1 or not (0 <= self.last <= 1 and 0 < self.drop <= 1):
            raise OptionError(
                f"the schedule has warm_up {self.warm_up}, last {self.last}, drop {self.drop} and wait {self.wait}; "
                "expected 0 or more, 0 to 1, above 0 to 1, 1 or more."
            )

    def share(self, step: int, steps: int, drops: int = 0) -> float:
        """Share of the highest rate at `step` (from 0) of `steps`, after the rate was dropped `drops` times."""
        rising = min(1.0, (step + 1) / (self.warm_up + 1))
        done = step / max(steps, 1)
        if self.kind == "cosine":
            return rising * (self.last + (1 - self.last) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
        if self.kind == "step":
            return rising * self.drop ** sum(done >= at for at in self.at)
        return rising * self.drop**drops


@torch.no_grad()
def draw_to_zero(rule: torch.optim.Optimizer, penalty: float) -> None:
    """Shrink every weight by `penalty` times its rate, none past 0: the step that an L1 penalty asks for.

    Source: Parikh and Boyd 2014, doi:10.1561/2400000003.
    """
    for group in rule.param_groups:
        for weight in group["params"]:
            weight.copy_(torch.nn.functional.softshrink(weight, group["lr"] * penalty))
