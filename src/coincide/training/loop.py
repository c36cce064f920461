"""The training loop. A step follows from the recipe and its number alone, so a run that was killed goes on exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from coincide.errors import MissingPackageError, OptionError, OutputError
from coincide.io.atomic import whole_file
from coincide.networks import make, pack
from coincide.training import checkpoint
from coincide.training.average import Average
from coincide.training.log import Log, Means
from coincide.training.recipe import Recipe

Notify = Callable[[int, dict[str, Any]], None]
"""Told of the step and its record."""
_KEPT_BACK = 2**40
"""Seed of the first pair kept back: training never gets there."""
_APART = 2**32
"""Seeds between the pairs of two runs."""
_LOGGED = 20
"""Steps between lines of the log."""


@dataclass(frozen=True)
class Machine:
    """What a run computes with; the result does not depend on it beyond rounding.

    Args:
        accelerator: as Lightning Fabric names it: `"cpu"`, `"cuda"`, `"auto"`.
        devices: how many of them, each with a batch of its own.
        workers: processes that make data beside each device's; 0 makes them in between.
    """

    accelerator: str = "cpu"
    devices: int = 1
    workers: int = 0


def train(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    machine: Machine = Machine(),
    notify: Notify = lambda step, record: None,
) -> dict[str, Any]:
    """Train a network and keep it in `folder` as `best.safetensors` and `last.safetensors`.

    Args:
        recipe: what to train, and how.
        folder: for checkpoints, weights and the log; made where it is missing.
        resume: go on from the checkpoint in `folder`, if there is one.
        machine: what to compute with.
        notify: told of every line of the log.

    Returns:
        The record of the last look at the pairs kept back, and of the best one's `step` and `score`.

    Raises:
        OptionError: the folder holds a run already, or that of another recipe; or the loss stopped being a number.
        OutputError: something cannot be written.
        MissingPackageError: Lightning Fabric is not installed.
    """
    _claim(folder, resume)
    fabric = _fabric(recipe, machine)
    fabric.launch()
    return Run(recipe, folder, fabric, machine, notify).go()


class Run:
    """One training run on its way.

    Args:
        recipe: what to train, and how.
        folder: for checkpoints, weights and the log.
        fabric: Lightning's, launched.
        machine: what to compute with.
        notify: told of every line of the log.
    """

    def __init__(self, recipe: Recipe, folder: Path, fabric: Any, machine: Machine, notify: Notify) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.fabric, self.machine, self.notify = (
            recipe,
            folder,
            fabric,
            machine,
            notify,
        )
        self.task = recipe.learned()
        self.bare = make(recipe.network, recipe.options)
        layout = torch.channels_last if self.bare.dim == 2 else torch.channels_last_3d
        self.bare = fabric.to_device(self.bare).to(memory_format=layout)
        self.average = Average(self.bare, recipe.average)
        self.network, self.rule = fabric.setup(self.bare, recipe.optimiser.make(self.bare.parameters()))
        self.step, self.best, self.since, self.record = 0, {"step": 0, "score": math.inf}, 0, {}
        self._restore()
        self.log = Log(folder, self.step) if fabric.is_global_zero else None

    def go(self) -> dict[str, Any]:
        """Take all the steps that are left."""
        recipe, means = self.recipe, Means()
        batches, begun = self._batches(), time.perf_counter()
        while self.step < recipe.steps:
            batch = next(batches)
            waited = time.perf_counter() - begun
            means.add(self._change(batch), waited)
            self.step += 1
            self.average.update(self.bare, self.step)
            if self.step % _LOGGED == 0 or self.step == recipe.steps:
                pairs = recipe.batch * self.fabric.world_size
                self._tell({**means.take(pairs), "rate": self.rule.param_groups[0]["lr"]})
            last = self.step == recipe.steps
            if self.step % recipe.validate == 0 or last:
                self._look()
                last = last or (recipe.patience > 0 and self.since >= recipe.patience)
            if self.step % recipe.checkpoint == 0 or last:
                self._keep()
            if last:
                break
            begun = time.perf_counter()
        return {**self.record, "best": self.best}

    def _change(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """One step of the optimiser, and its numbers."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed + self.step)
        for group in self.rule.param_groups:
            group["lr"] = recipe.optimiser.rate * recipe.schedule.share(self.step, recipe.steps)
        loss, numbers = self._loss(batch)
        self.rule.zero_grad()
        self.fabric.backward(loss)
        if recipe.optimiser.clip:
            self.fabric.clip_gradients(self.network, self.rule, max_norm=recipe.optimiser.clip)
        self.rule.step()
        return {"loss": float(loss.detach()), **numbers}

    def _loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        try:
            loss, numbers = self.task.loss(self.network, self.bare, batch)
        except torch.linalg.LinAlgError:  # type: ignore[reportPrivateImportUsage]
            loss, numbers = torch.tensor(math.nan), {}
        if not bool(torch.isfinite(loss)):
            raise OptionError(
                f"the loss of step {self.step} is {float(loss)}. Lower optimiser.rate, or raise schedule.warm_up; the "
                f"last checkpoint in {self.folder} is sound."
            )
        return loss, numbers

    def _batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """The batches from this step on: what a step sees depends on its number alone."""
        recipe, size = self.recipe, self.recipe.batch
        pairs = self.task.pairs(self.bare, recipe.seed * _APART)
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        order = (
            [(step * ranks + rank) * size + n for n in range(size)] for step in range(self.step, recipe.steps)
        )
        loader = DataLoader(
            pairs,
            batch_sampler=order,
            num_workers=self.machine.workers,  # type: ignore[arg-type] - any iterable
        )
        for batch in loader:
            yield self.fabric.to_device(batch)

    def _look(self) -> None:
        """Score the averaged weights on pairs kept back, and keep those that are the best so far."""
        if not self.fabric.is_global_zero:
            return
        network = make(self.recipe.network, self.recipe.options)
        network.load_state_dict(self.average.weights)
        network.eval().to(next(self.bare.parameters()).device)
        self.record = self.task.score(network, _KEPT_BACK, self.recipe.kept_back)
        self._tell({"kept_back": self.record})
        self.since += 1
        notes = {"step": str(self.step), **{key: f"{value:.4f}" for key, value in self.record.items()}}
        names = ["last"]
        if self.record["score"] < self.best["score"]:
            self.best, self.since = {"step": self.step, "score": self.record["score"]}, 0
            names.append("best")
        for name in names:
            with whole_file(self.folder / f"{name}.safetensors") as scratch:
                scratch.write_bytes(pack(self.recipe.network, network, notes))

    def _tell(self, record: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write({"step": self.step, **record})
            self.notify(self.step, record)

    def _keep(self) -> None:
        if self.fabric.is_global_zero:
            state = {
                "step": self.step,
                "recipe": repr(asdict(self.recipe)),
                "network": self.bare.state_dict(),
                "rule": self.rule.state_dict(),
                "average": self.average.weights,
                "best": self.best,
                "since": self.since,
                "record": self.record,
            }
            checkpoint.write(self.folder, state)

    def _restore(self) -> None:
        state = checkpoint.read(self.folder)
        if state is None:
            return
        if state["recipe"] != repr(asdict(self.recipe)):
            raise OptionError(
                f"{self.folder}: holds a run of another recipe; a run goes on with the recipe it began with. Give "
                "another folder, or take back the changes."
            )
        self.bare.load_state_dict(state["network"])
        self.rule.load_state_dict(state["rule"])
        device = next(self.bare.parameters()).device
        self.average.weights = {key: value.to(device) for key, value in state["average"].items()}
        self.step, self.best, self.since, self.record = (
            state[key] for key in ("step", "best", "since", "record")
        )


def _claim(folder: Path, resume: bool) -> None:
    """Make the folder, and see that no other run is lost in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}). Give another folder.") from error
    if not resume and (folder / checkpoint.NAME).exists():
        raise OptionError(
            f"{folder}: holds a training run already. Go on with it by --resume, or give another folder."
        )


def _fabric(recipe: Recipe, machine: Machine) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise MissingPackageError(
            f"training needs the package lightning-fabric, which is not installed ({error}). "
            "Run: pip install 'coincide[train]'"
        ) from error
    precision = "bf16-mixed" if recipe.precision == "bf16" else "32-true"
    return Fabric(accelerator=machine.accelerator, devices=machine.devices, precision=precision)
