"""Synthetic pairs for a torch DataLoader."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from coincide.data.synthesis.draw import Example, draw
from coincide.data.synthesis.recipe import Synthesis
from coincide.data.tensors import tensors
from coincide.data.workers import one_thread_in_workers
from coincide.transforms.linear import Affine


class SyntheticPairs(Dataset):
    """Item `i` is the example of seed `first + i`, as tensors that batch.

    The same item comes out whichever worker makes it, and after any restart: training resumes by where it was.

    Args:
        recipe: what to synthesise.
        length: how many pairs there are.
        first: seed of the first one; sets whose seeds do not meet share no pair.
    """

    def __init__(self, recipe: Synthesis, length: int = 2**31 - 1, first: int = 0) -> None:
        self.recipe, self.length, self.first = recipe, length, first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        one_thread_in_workers()
        return as_tensors(draw(self.recipe, self.first + index))


def as_tensors(example: Example) -> dict[str, Tensor]:
    """An example as `data.tensors` has it, all of it of the same shape for every example of a recipe.

    Returns:
        `matrix` besides: `(dim + 1, dim + 1)` float32, the linear part of the truth, which comes after the other.
    """
    linear = next(part for part in example.truth.parts() if isinstance(part, Affine))
    return tensors(example.pair, example.truth) | {"matrix": torch.tensor(linear.matrix, dtype=torch.float32)}
