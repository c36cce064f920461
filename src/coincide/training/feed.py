"""What a run learns from in each step: made-up pairs, images of one's own, or the two in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from coincide.training.objective import overlap
from coincide.training.own import Own, own_pairs
from coincide.training.recipe import Recipe

KEPT_BACK = 2**40
"""Seed of the first pair kept back: training never gets there."""
_APART = 2**32
"""Seeds between the pairs of two runs."""


class Feed(Dataset):
    """Pairs by `(own, number)`: whether it is a pair of one's own images, and which one.

    Args:
        recipe: of the run.
        task: what its network learns from.
        network: without what wraps it.
        folder: of the run.
        tell: told in a sentence what takes its time.

    Raises:
        InputError: images of one's own that will not do.
    """

    def __init__(
        self, recipe: Recipe, task: Any, network: Any, folder: Path, tell: Callable[[str], None]
    ) -> None:
        self.recipe, self.task, self.network = recipe, task, network
        self.own: Own | None = None
        if recipe.data.source:
            self.own = own_pairs(recipe.data, network, folder, recipe.seed, tell)
        made_up = self.own is None or recipe.data.share < 1
        self.made_up = task.pairs(network, recipe.seed * _APART) if made_up else None

    def __getitem__(self, key: tuple[bool, int]) -> dict[str, Tensor]:
        own, number = key
        if own:
            assert self.own is not None, "items names none else"
            return self.own.train[number]
        assert self.made_up is not None, "items names none else"
        return self.made_up[number]

    def items(self, step: int, rank: int, ranks: int) -> list[tuple[bool, int]]:
        """What a process of number `rank` takes in a step; it follows from the step alone."""
        size, own = self.recipe.batch, self._own_step(step)
        return [(own, (step * ranks + rank) * size + n) for n in range(size)]

    def loss(
        self, network: nn.Module, batch: Mapping[str, Tensor], step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step's batch, and its parts as numbers for the log.

        Args:
            network: to call.
            batch: of the items of this step.
            step: its number.
        """
        if not self._own_step(step):
            return self.task.loss(network, self.network, batch)
        return self.recipe.objective.loss(self.task.fields(network, batch), batch)

    @torch.no_grad()
    def score(self, network: Any) -> dict[str, float]:
        """How `network` does on pairs kept back; `score` is what to judge it by, lower is better.

        Pairs of one's own are judged by the objective, at most as many as the recipe keeps back; `dice` tells beside it
        how labels overlap, where there are any.
        """
        if self.own is None:
            return self.task.score(network, KEPT_BACK, self.recipe.kept_back)
        kept = self.own.kept_back
        number = min(self.recipe.kept_back, len(kept))
        losses, dices = [], []
        for n in np.linspace(0, len(kept) - 1, number).round().astype(int):
            batch = {key: value[None] for key, value in kept[int(n)].items()}
            fields = self.task.fields(network, batch, 1.0)
            torch.manual_seed(0)  # labels are drawn
            losses.append(self.recipe.objective.loss(fields, batch)[1])
            dices.append(overlap(fields.there[0], {key: value[0] for key, value in batch.items()}))
        known = [dice for dice in dices if dice is not None]
        parts = {key: float(np.mean([loss.get(key, 0.0) for loss in losses])) for key in losses[0]}
        return {"score": sum(parts.values()), **parts, **({"dice": float(np.mean(known))} if known else {})}

    def sample(self) -> dict[str, Tensor]:
        """A pair kept back, always the same."""
        return self.own.kept_back[0] if self.own is not None else self.task.pairs(self.network, KEPT_BACK)[0]

    def _own_step(self, step: int) -> bool:
        if self.own is None:
            return False
        draw = np.random.default_rng((self.recipe.seed, step)).random()
        return bool(draw < self.recipe.data.share)
