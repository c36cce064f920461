"""Synthetic pairs for a torch DataLoader."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coincide.data.synthesis.draw import Example, draw
from coincide.data.synthesis.recipe import Synthesis
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
        return as_tensors(draw(self.recipe, self.first + index))


def as_tensors(example: Example) -> dict[str, Tensor]:
    """An example as tensors of the same shapes for every one of a recipe.

    Returns:
        `fixed`, `moving`: `(1, *shape)` float32. `fixed_labels`, `moving_labels`: `(1, *shape)` int64.
        `fixed_points`, `moving_points`: `(number, dim)` float32, world mm. `matrix`: `(dim + 1, dim + 1)` float32, the
        linear part of the truth, which comes after the other. `displacement`: `(dim, *shape)` float32, mm: the
        truth less the place itself, at every voxel of the fixed image.
    """
    pair, truth = example.pair, example.truth
    assert pair.fixed_labels is not None, "draw makes them"
    assert pair.moving_labels is not None, "draw makes them"
    places = pair.fixed.grid.points()
    linear = next(part for part in truth.parts() if isinstance(part, Affine))
    found = {
        "fixed": pair.fixed.data,
        "moving": pair.moving.data,
        "fixed_labels": pair.fixed_labels.data.long(),
        "moving_labels": pair.moving_labels.data.long(),
        "matrix": torch.tensor(linear.matrix, dtype=torch.float32),
        "displacement": torch.from_numpy(np.moveaxis(truth(places) - places, -1, 0).astype(np.float32)),
    }
    if pair.fixed_points is not None and pair.moving_points is not None:
        found["fixed_points"] = torch.tensor(pair.fixed_points.world, dtype=torch.float32)
        found["moving_points"] = torch.tensor(pair.moving_points.world, dtype=torch.float32)
    return found
