"""The training loop. A step follows from the recipe and its number alone, so a run that was killed goes on exactly."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from coincide.errors import MissingPackageError, OptionError, OutputError
from coincide.io.atomic import whole_file
from coincide.networks import make, pack
from coincide.training import checkpoint
from coincide.training.average import Average
from coincide.training.feed import Feed
from coincide.training.log import Log, Means
from coincide.training.optimiser import draw_to_zero
from coincide.training.recipe import Recipe
from coincide.training.samples import write_sample

Notify = Callable[[int, dict[str, Any]], None]
"""Told of the step and its record."""
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
        folder: for checkpoints, weights, the log and pictures; made where it is missing.
        resume: go on from the checkpoint in `folder`, if there is one.
        machine: what to compute with.
        notify: told of every line of the log.

    Returns:
        The record of the last look at the pairs kept back, and of the best one's `step` and `score`.

    Raises:
        OptionError: the folder holds a run already, or that of another recipe.
        DivergedError: the loss stopped being a number.
        InputError: weights to begin with, or images of one's own, that will not do.
        OutputError: something cannot be written.
        MissingPackageError: Lightning Fabric is not installed.
    """
    _claim(folder, resume)
    fabric = _fabric(recipe, machine)
    fabric.launch()
    run = Run(recipe, folder, fabric, machine, notify)
    try:
        return run.go()
    finally:
        if run.log is not None:
            run.log.close()


class DivergedError(OptionError):
    """The loss is no number any more: the rate was too high for what is learned."""


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
        recipe.start.fill(recipe.network, self.bare)
        layout = torch.channels_last if self.bare.dim == 2 else torch.channels_last_3d
        self.bare = fabric.to_device(self.bare).to(memory_format=layout)
        self.average = Average(self.bare, recipe.average)
        groups, self.groups = recipe.start.groups(self.bare)
        self.network, self.rule = fabric.setup(self.bare, recipe.optimiser.make(groups))
        self.step, self.best, self.since, self.record = 0, {"step": 0, "score": math.inf}, 0, {}
        self.drops = 0
        self._restore()
        self.feed = Feed(recipe, self.task, self.bare, folder, self._say)
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
        rate = recipe.optimiser.rate * recipe.schedule.share(self.step, recipe.steps, self.drops)
        for group, own in zip(self.rule.param_groups, self.groups):
            group["lr"] = rate * recipe.start.share(own, self.step)
        loss, numbers = self._loss(batch)
        self.rule.zero_grad()
        self.fabric.backward(loss)
        if recipe.optimiser.clip:
            self.fabric.clip_gradients(self.network, self.rule, max_norm=recipe.optimiser.clip)
        self.rule.step()
        if recipe.optimiser.sparse:
            draw_to_zero(self.rule, recipe.optimiser.sparse)
        return {"loss": float(loss.detach()), **numbers}

    def _loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        try:
            loss, numbers = self.feed.loss(self.network, batch, self.step)
        except torch.linalg.LinAlgError:  # type: ignore[reportPrivateImportUsage]
            loss, numbers = torch.tensor(math.nan), {}
        if not bool(torch.isfinite(loss)):
            raise DivergedError(
                f"the loss of step {self.step} is {float(loss)}. Lower optimiser.rate, or raise schedule.warm_up; the "
                f"last checkpoint in {self.folder} is sound."
            )
        return loss, numbers

    def _batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """The batches from this step on: what a step sees depends on its number alone."""
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        order = (self.feed.items(step, rank, ranks) for step in range(self.step, self.recipe.steps))
        loader = DataLoader(
            self.feed,
            batch_sampler=order,  # type: ignore[arg-type] - any iterable
            num_workers=self.machine.workers,
        )
        for batch in loader:
            yield self.fabric.to_device(batch)

    def _look(self) -> None:
        """Score the averaged weights on pairs kept back, and tell all processes of it."""
        if self.fabric.is_global_zero:
            self._judge()
        # every process has to stop, and to lower its rate, at the same step
        self.best, self.since, self.record = self.fabric.broadcast((self.best, self.since, self.record))
        schedule = self.recipe.schedule
        if schedule.kind == "plateau" and self.since and self.since % schedule.wait == 0:
            self.drops += 1

    def _judge(self) -> None:
        """Score the averaged weights on pairs kept back, and keep those that are the best so far."""
        network = make(self.recipe.network, self.recipe.options)
        network.load_state_dict(self.average.weights)
        network.eval().to(next(self.bare.parameters()).device)
        self.record = self.feed.score(network)
        self._tell({"kept_back": self.record})
        for sentence in getattr(self.task, "doubts", lambda record: ())(self.record):
            self._say(sentence)
        self.since += 1
        notes = {"step": str(self.step), **{key: f"{value:.4f}" for key, value in self.record.items()}}
        names = ["last"]
        if self.record["score"] < self.best["score"]:
            self.best, self.since = {"step": self.step, "score": self.record["score"]}, 0
            names.append("best")
        for name in names:
            with whole_file(self.folder / f"{name}.safetensors") as scratch:
                scratch.write_bytes(pack(self.recipe.network, network, notes))
        picture = write_sample(self.folder, self.step, self.feed.sample(), self.task, network)
        if self.log is not None:
            self.log.picture(self.step, picture)

    def _tell(self, record: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write({"step": self.step, **record})
            self.notify(self.step, record)

    def _say(self, sentence: str) -> None:
        if self.fabric.is_global_zero:
            self.notify(self.step, {"doing": sentence})

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
                "drops": self.drops,
            }
            checkpoint.write(self.folder, state)

    def _restore(self) -> None:
        state = checkpoint.read(self.folder)
        if state is None:
            return
        if _completed(state["recipe"]) != asdict(self.recipe):
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
        self.drops = state.get("drops", 0)


def _completed(recipe: str) -> dict[str, Any]:
    """A recipe as a checkpoint keeps it; keys that recipes had not yet when it was written have their defaults."""
    kept = ast.literal_eval(recipe)
    blank = Recipe(kept["network"])
    found = {}
    for key, default in asdict(blank).items():
        table = is_dataclass(getattr(blank, key))
        found[key] = {**default, **kept.get(key, {})} if table else kept.get(key, default)
    return found


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
