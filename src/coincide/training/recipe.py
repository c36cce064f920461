"""A recipe: everything that a training run follows from, as a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coincide.errors import OptionError, unknown
from coincide.training.adversarial import AdversarialTask
from coincide.training.keypoints import KeypointTask
from coincide.training.objective import Objective
from coincide.training.optimiser import Optimiser, Schedule
from coincide.training.own import OwnData
from coincide.training.parse import filled, read_tables
from coincide.training.pyramid import PyramidTask
from coincide.training.regressor import RegressorTask
from coincide.training.sequence import SequenceTask
from coincide.training.start import Start
from coincide.training.translate import TranslateTask

Task = AdversarialTask | KeypointTask | PyramidTask | RegressorTask | SequenceTask | TranslateTask

TASKS: dict[str, type[Task]] = {
    "adversarial": AdversarialTask,
    "flattened": SequenceTask,
    "keypoints": KeypointTask,
    "pyramid": PyramidTask,
    "recurrent": PyramidTask,
    "regressor": RegressorTask,
    "sequence": SequenceTask,
    "translate": TranslateTask,
}
"""What can be learned, by the name of the network that learns it."""


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Args:
        network: kind of network, as in `networks.NETWORKS`.
        options: of the network.
        task: what it learns from, by the network's kind.
        data: images of one's own to learn from; made-up pairs alone where left out.
        objective: what is made small on these.
        start: the weights to begin with, and which of them change; fresh ones where left out.
        steps: how many changes of the weights.
        batch: pairs a step, for each device.
        seed: of the first weights and of the data.
        optimiser: the rule by which weights change.
        schedule: of the learning rate.
        average: memory of the averaged weights, which are what is kept in the end.
        precision: `"bf16"` computes convolutions in 16 bits.
        checkpoint: steps between checkpoints.
        validate: steps between looks at pairs kept back.
        kept_back: how many of those.
        patience: looks without progress after which training stops; 0 for never.

    Raises:
        OptionError: a number out of range.
    """

    network: str
    options: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    data: OwnData = field(default_factory=OwnData)
    objective: Objective = field(default_factory=Objective)
    start: Start = field(default_factory=Start)
    steps: int = 10_000
    batch: int = 4
    seed: int = 0
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    average: float = 0.998
    precision: Literal["bf16", "float32"] = "bf16"
    checkpoint: int = 100
    validate: int = 500
    kept_back: int = 32
    patience: int = 0

    def __post_init__(self) -> None:
        if self.network not in TASKS:
            raise unknown("network", self.network, TASKS)
        for name in ("steps", "batch", "checkpoint", "validate", "kept_back"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}, expected 1 or more.")
        if not 0 <= self.average < 1 or self.patience < 0 or self.seed < 0:
            raise OptionError(
                f"average is {self.average}, patience {self.patience} and seed {self.seed}; "
                "expected 0 to below 1, and 0 or more."
            )
        self.learned()
        if self.data.source and not hasattr(TASKS[self.network], "fields"):
            raise OptionError(
                f"the network {self.network} learns from made-up anatomies alone, whose parts are known; found "
                f"data.source {self.data.source!r}. Take it away, or train pyramid."
            )

    def learned(self) -> Any:
        """What the network learns from."""
        return filled(TASKS[self.network], self.task, "task")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it is no TOML.
        OptionError: unknown keys (the nearest known one is named), or values that will not do.
    """
    return filled(Recipe, read_tables(path), f"the recipe {path.name}")
