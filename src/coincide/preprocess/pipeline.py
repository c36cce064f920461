"""Steps one after the other, in the order they are written, with a record of what was done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from coincide.errors import LabelError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample as sample_at
from coincide.options import build, describe
from coincide.options.places import Places
from coincide.preprocess import STEPS
from coincide.preprocess.step import AbstractStep, Sample, labels_on


@dataclass(frozen=True)
class Pipeline:
    """Steps, done in this order.

    Args:
        steps: at least one.

    Raises:
        OptionError: there are none.
    """

    steps: tuple[AbstractStep, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise OptionError(f"a pipeline needs a step. Known: {', '.join(sorted(STEPS))}.")

    @property
    def references(self) -> tuple[str, ...]:
        """The other images that steps ask for by name: files on the command line."""
        return tuple(name for step in self.steps if (name := getattr(step, "reference", "")))

    def __call__(
        self,
        image: Image,
        labels: Image | None = None,
        aids: Mapping[str, Image] | None = None,
        told: Callable[[int, AbstractStep], None] = lambda number, step: None,
    ) -> Processed:
        """Do the steps. Nothing that is handed in is changed.

        Args:
            image: intensities; only the voxels of its mask, where it has one, are looked at and changed.
            labels: on the image's grid; they go where the image goes.
            aids: images that steps name as their `reference`.
            told: called before each step with its number, from 0.

        Raises:
            InputError: a step cannot be done on what it is given.
        """
        if labels is not None and not labels.grid.matches(image.grid):
            raise LabelError(
                f"{labels.name}: the labels lie on {labels.grid!r}, their image on {image.grid!r}. Resample them first."
            )
        stages = [Sample(image, labels)]
        for number, step in enumerate(self.steps):
            told(number, step)
            stages.append(step(stages[-1], aids or {}))
        return Processed(self, tuple(stages))


@dataclass(frozen=True, eq=False)
class Processed:
    """What a pipeline made of an image.

    Args:
        pipeline: what was done.
        stages: the image before the first step, after it, after the second, and so on: to undo the last n steps, take
            `stages[-1 - n]`.
    """

    pipeline: Pipeline
    stages: tuple[Sample, ...]

    @property
    def image(self) -> Image:
        """After the last step."""
        return self.stages[-1].image

    @property
    def labels(self) -> Image | None:
        """After the last step."""
        return self.stages[-1].labels

    @property
    def lost(self) -> tuple[int, ...]:
        """The labels before the first step of which no voxel is left after the last; in order."""
        before, after = self.stages[0].labels, self.stages[-1].labels
        if before is None or after is None:
            return ()
        return tuple(int(v) for v in np.setdiff1d(before.numpy(), [0, *np.unique(after.numpy())]))

    def back(self, found: Image) -> Image:
        """Something that lies in the world after the last step, on the grid before the first one; zero outside."""
        return undo(self.pipeline, [stage.image.grid for stage in self.stages[:-1]], found)

    @property
    def record(self) -> dict[str, Any]:
        """What was done, in which order, with which settings and by which versions, as plain JSON values."""
        steps = [
            {"step": step.name, "options": _settings(step), "before": _placed(stage.image.grid)}
            for step, stage in zip(self.pipeline.steps, self.stages)
        ]
        packages = sorted({"numpy", "torch", *(p for step in self.pipeline.steps for p in step.packages)})
        return {
            "steps": steps,
            "after": _placed(self.image.grid),
            "versions": {p: _version(p) for p in packages},
        }


def parse(text: str) -> Pipeline:
    """The pipeline that `text` names: `n4 | nlm:strength=0.8 | resample:spacing=1`.

    Raises:
        OptionError: an unknown step, option or value; names the nearest known one.
    """
    return Pipeline(tuple(step(part) for part in text.split("|")))


def step(text: str) -> AbstractStep:
    """The step that `text` names: `name` or `name:option=value,option=value`; errors as `parse`."""
    return build("step", text, Places(STEPS))


def description() -> list[dict[str, Any]]:
    """Every step's `name`, `summary` and `options` (`name`, `type`, `range`, `default`, `help`)."""
    return [{"name": name, **describe(cls)} for name, cls in Places(STEPS).items()]


def undo(pipeline: Pipeline, grids: Sequence[Grid], found: Image) -> Image:
    """Something that lies in the world after a pipeline, on the grid it began with; zero outside.

    Args:
        pipeline: what was done.
        grids: of the image before each step.
        found: labels keep their type, by the smooth vote; intensities are interpolated linearly.
    """
    world = grids[0].points()
    for step, before in zip(pipeline.steps, grids):
        world = step.leads_to(world, before)
    if found.kind == "label":
        return labels_on(found, grids[0], world)
    index = torch.from_numpy(np.moveaxis(found.grid.index(world), -1, 0).copy())
    return Image(sample_at(found.data.contiguous(), index), grids[0], name=found.name)


def _settings(step: Any) -> dict[str, Any]:
    return {field.name: getattr(step, field.name) for field in dataclasses.fields(step)}


def _placed(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
