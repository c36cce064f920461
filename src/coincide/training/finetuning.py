"""A recipe for going on with weights that somebody has trained already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coincide.errors import OptionError
from coincide.networks import NETWORKS, chosen
from coincide.networks.weights import opened
from coincide.training.objective import Objective
from coincide.training.optimiser import Optimiser, Schedule
from coincide.training.recipe import Recipe, read_recipe
from coincide.training.start import Start


def finetuning(
    weights: str, recipe: Path | None = None, freeze: tuple[str, ...] = (), steps: int | None = None
) -> Recipe:
    """How to go on with `weights`.

    Args:
        weights: the name of a network that comes with coincide, or a file that a run wrote.
        recipe: how; where left out, 200 steps of one pair at half the rate that recipes start with.
            Similarity counts ten times there: the weights learned to weigh smoothness against errors of millimetres,
            and LNCC is below 1.
        freeze: patterns of the names of weights that stay as they are.
        steps: instead of the recipe's.

    Raises:
        InputError: no such weights or recipe.
        OptionError: a recipe for another kind of network.
    """
    file = "shipped" if weights in NETWORKS else weights
    name, network = (weights, chosen(weights)) if file == "shipped" else opened(weights)
    read = _short(name) if recipe is None else read_recipe(recipe)
    if read.network != name:
        raise OptionError(f"{recipe}: is a recipe for {read.network}, but {weights} is a {name}.")
    start = replace(read.start, weights=file, freeze=(*read.start.freeze, *freeze))
    return replace(read, options=dict(network.options), start=start, steps=steps or read.steps)


def _short(name: str) -> Recipe:
    return Recipe(
        name,
        steps=200,
        batch=1,
        objective=Objective(images={"lncc": 10.0}),
        start=Start(),
        optimiser=Optimiser(rate=5e-4),
        schedule=Schedule(warm_up=10),
        average=0.95,
        checkpoint=10,
        validate=50,
        kept_back=8,
    )
