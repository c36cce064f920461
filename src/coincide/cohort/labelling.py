"""`coincide.label`: one image labelled by several atlases, on top of any registration method."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coincide.api import check_device, is_path, open_image
from coincide.cohort.fusion import FUSIONS, AbstractFusion, fuse
from coincide.cohort.shelf import Shelf, Shelved
from coincide.errors import DimensionError, LabelError, OptionError, RegistrationFailedError
from coincide.image import Image
from coincide.measures.overlap import dice, present
from coincide.measures.verdict import Verdict
from coincide.methods import AbstractMethod
from coincide.ops._parallel import get_threads, set_threads
from coincide.optimise.progress import Event, Progress, silent
from coincide.options import build
from coincide.pair import Pair
from coincide.preprocess.normalise import normalise
from coincide.registration import configured, describe_settings, register
from coincide.similarity import Similarity
from coincide.transforms.base import Transform
from coincide.transforms.resample import resample

_UNLIKE = 0.75
"""Share of the atlases' middle Dice with the result below which one is told of."""


@dataclass(frozen=True)
class AtlasRun:
    """How one atlas did.

    Args:
        name: of its image.
        verdict: on its registration.
        used: whether it voted: a registration that was judged failed does not.
        resumed: whether its transform was found on the shelf.
        dice: how far its labels agree with the fused ones: mean Dice over its labels, or None where it did not vote.
        seconds: its registration took; of an earlier run where it was resumed.
    """

    name: str
    verdict: Verdict
    used: bool
    resumed: bool
    dice: float | None
    seconds: float


@dataclass(frozen=True)
class LabelVolume:
    """One label of the target.

    Args:
        label: the number.
        name: what it is called, or the number.
        amount: its volume in millilitres; in 2-D its area in square centimetres.
        voxels: as a number of voxels.
        confidence: mean confidence inside, 0 to 1.
        spread: standard deviation of the volume over the single atlases, in the same unit; None with fewer than two.
    """

    label: int
    name: str
    amount: float
    voxels: int
    confidence: float
    spread: float | None


@dataclass(frozen=True, eq=False)
class Labelling:
    """What `label()` returns.

    Args:
        target: the image that was labelled.
        labels: on the target's grid, in the atlases' integer type.
        confidence: share of the votes that the winning label had, 0 to 1, on the target's grid.
        volumes: of every label, in order.
        atlases: how each atlas did, in the order given.
        decisions: what was decided, and why.
        provenance: settings, seed, times.
    """

    target: Image
    labels: Image
    confidence: Image
    volumes: tuple[LabelVolume, ...]
    atlases: tuple[AtlasRun, ...]
    decisions: tuple[str, ...]
    provenance: dict[str, Any]


def label(
    target: Any,
    atlases: Sequence[tuple[Any, Any]],
    method: AbstractMethod | str = "auto",
    fusion: AbstractFusion | str = "joint",
    *,
    transform: str | None = None,
    preset: str | None = None,
    similarity: Similarity | str | None = None,
    target_mask: Any = None,
    names: dict[int, str] | None = None,
    shelf: str | Path | None = None,
    threads: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Labelling:
    """Label an image by several atlases: each is registered to it, and where their labels differ they vote.

    One atlas is in memory at a time; what was carried over waits on the disk for the vote.

    Args:
        target: the image to label: a path, a nibabel image, a SimpleITK image, or an `Image`.
        atlases: pairs of an image and its label map, likewise.
        method: that registers each atlas (moving) to the target (fixed), or its SPEC.
        fusion: how they vote, or its SPEC: `"joint"`, `"local"` or `"majority"`, with options in the manner of
            `"joint:radius=2"`.
        transform: how far the method is to go, as in `register`.
        preset: time against accuracy, as in `register`.
        similarity: what the method is to compare by, as in `register`.
        target_mask: voxels of the target that count for the registrations, on its grid.
        names: what labels are called.
        shelf: folder where the transforms are kept, so that a run that was interrupted goes on, and one with another
            fusion or more atlases does not register again; nowhere where left out.
        threads: how many; every core where left out. The result is the same for any number.
        seed: of the randomness.
        device: for methods that run networks.
        progress: called with an `Event` often; raise from it to stop the work.

    Raises:
        InputError: something handed in cannot be used.
        OutputError: the shelf cannot be written to.
        RegistrationFailedError: no atlas came to lie on the target.
    """
    report, begun = progress or silent, time.perf_counter()
    chosen = configured(method, transform, preset, similarity)
    rule = build("fusion", fusion, FUSIONS) if isinstance(fusion, str) else fusion
    check_device(device)
    if not atlases:
        raise OptionError("no atlas was given; expected one pair of an image and its labels, or more.")
    _check_apart([source for source, _ in atlases])
    fixed = open_image(target, target_mask)
    for atlas in atlases:  # before the first registration, which takes longer than reading them all
        _opened(fixed, atlas)
    runs: list[AtlasRun] = []
    with Shelf(shelf, fixed, chosen, seed) as kept:
        for number, atlas in enumerate(atlases, start=1):
            report(Event("atlas", f"atlas {number} of {len(atlases)}"))
            runs.append(_carry(fixed, atlas, chosen, kept, report, seed, threads, device))
        voters = kept.carried
        if not voters:
            reasons = "; ".join(f"{run.name}: {run.verdict.sentence}" for run in runs)
            raise RegistrationFailedError(
                f"none of the {len(runs)} atlases came to lie on {fixed.name}, so there are no labels. {reasons}"
            )
        report(Event("fusion", f"fusing {len(voters)} atlases"))
        winner, share = _fused(fixed, voters, rule, threads)
        runs = _agreements(runs, voters, winner)
        volumes = _volumes(fixed, winner, share, voters, names or {})
    labels = Image(torch.from_numpy(winner)[None], fixed.grid, "label", name="labels")
    confidence = Image(torch.from_numpy(share)[None], fixed.grid, name="confidence")
    provenance = {
        "method": describe_settings(chosen),
        "fusion": describe_settings(rule),
        "seed": seed,
        "threads": threads or get_threads(),
        "seconds": round(time.perf_counter() - begun, 3),
    }
    return Labelling(
        fixed, labels, confidence, volumes, tuple(runs), _told(runs, share, winner, volumes), provenance
    )


def _check_apart(sources: Sequence[Any]) -> None:
    files = [Path(source).resolve() for source in sources if is_path(source)]
    twice = next((file for number, file in enumerate(files) if file in files[:number]), None)
    if twice is not None:
        raise OptionError(f"the atlas {twice} is given twice, and would have two votes. Name it once.")


def _opened(fixed: Image, atlas: tuple[Any, Any]) -> tuple[Image, Image]:
    """An atlas's image and labels, which fit each other and the target.

    Raises:
        InputError: they do not, or cannot be read.
    """
    source, label_source = atlas
    image, labels = open_image(source), open_image(label_source, kind="label")
    if not image.dim == labels.dim == fixed.dim:
        raise DimensionError(
            f"{image.name} is {image.dim}-D, {labels.name} {labels.dim}-D and {fixed.name} {fixed.dim}-D; all must "
            "have the same number of dimensions."
        )
    if not labels.grid.matches(image.grid, tolerance=0.1):
        raise LabelError(
            f"{labels.name} lies on another grid than {image.name} ({labels.grid.shape} voxels beside "
            f"{image.grid.shape}). Do they belong together? If they do, resample the labels onto the image first."
        )
    if not bool((labels.data != 0).any()):
        raise LabelError(f"{labels.name}: holds no label but 0. Check that it belongs to {image.name}.")
    return image, labels


def _carry(fixed: Image, atlas, method, shelf: Shelf, report: Progress, seed, threads, device) -> AtlasRun:
    """Register one atlas, or take its transform from the shelf, and put its image and labels on the target's grid."""
    image, labels = _opened(fixed, atlas)
    found = shelf.find(image)
    resumed = found is not None
    if found is None:
        begun = time.perf_counter()
        result = register(
            Pair(fixed, image), method, progress=report, seed=seed, threads=threads, device=device
        )
        seconds = round(time.perf_counter() - begun, 3)
        found = Shelved(result.transform, result.verdict, seconds)
        shelf.keep(image, found)
    used = found.verdict.level != "failed"
    if used:
        shelf.carry(*_on_target(fixed, image, labels, found.transform))
    return AtlasRun(image.name, found.verdict, used, resumed, None, found.seconds)


def _on_target(fixed: Image, image: Image, labels: Image, transform: Transform):
    """The atlas's grey values, labels and field of view on the target's grid."""
    grey = resample(normalise(image), transform, fixed.grid).numpy()[0]
    inside = Image(torch.ones((1, *labels.grid.shape), dtype=torch.uint8), labels.grid, "label")
    return (
        grey.astype(np.float32, copy=False),
        resample(labels, transform, fixed.grid, "nearest").numpy()[0],
        resample(inside, transform, fixed.grid, "nearest").numpy()[0] > 0,
    )


def _fused(fixed: Image, voters, rule: AbstractFusion, threads: int | None) -> tuple[np.ndarray, np.ndarray]:
    before = get_threads()
    set_threads(threads or before)
    try:
        values = normalise(fixed).data[0].numpy()
        greys, labels, known = (list(layer) for layer in zip(*voters))
        return fuse(values, greys, labels, known, rule)
    finally:
        set_threads(before)


def _agreements(runs: list[AtlasRun], voters, winner: np.ndarray) -> list[AtlasRun]:
    layers = iter(voters)
    found = []
    for run in runs:
        agreed = None
        if run.used:
            scores = dice(winner, np.asarray(next(layers)[1]))
            agreed = float(np.mean(list(scores.values()))) if scores else 0.0
        found.append(replace(run, dice=agreed))
    return found


def _volumes(fixed: Image, winner, share, voters, names: dict[int, str]) -> tuple[LabelVolume, ...]:
    # a label that every atlas has and none could win a voxel for is one that somebody will look for
    labels = np.unique(
        np.concatenate([present(winner), *(present(np.asarray(layer[1])) for layer in voters)])
    )
    # a square centimetre holds a hundred square millimetres, a millilitre a thousand cubic ones
    unit = fixed.grid.voxel_volume / 10**fixed.dim
    place = np.searchsorted(labels, winner).clip(max=max(len(labels) - 1, 0))
    held = winner != 0
    counts = np.bincount(place[held], minlength=len(labels))
    sure = np.bincount(place[held], weights=share[held], minlength=len(labels)) / np.maximum(counts, 1)
    alone = np.stack([_counts(np.asarray(layer[1]), labels) for layer in voters]) * unit
    spread = alone.std(0, ddof=1) if len(voters) > 1 else [None] * len(labels)
    return tuple(
        LabelVolume(
            int(name),
            names.get(int(name), str(name)),
            float(count * unit),
            int(count),
            float(mean),
            None if sd is None else float(sd),
        )
        for name, count, mean, sd in zip(labels, counts, sure, spread)
    )


def _counts(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    names, numbers = np.unique(values, return_counts=True)
    known = dict(zip(names.tolist(), numbers.tolist()))
    return np.array([known.get(int(name), 0) for name in labels])


def _told(
    runs: list[AtlasRun], share: np.ndarray, winner: np.ndarray, volumes: tuple[LabelVolume, ...]
) -> tuple[str, ...]:
    used = [run for run in runs if run.used]
    mean = float(share[winner != 0].mean()) if (winner != 0).any() else 0.0
    told = [
        f"{len(used)} of {len(runs)} atlases voted; inside the labels the winner had {100 * mean:.0f} % of the votes."
    ]
    told += [f"{run.name} did not vote: {run.verdict.sentence}" for run in runs if not run.used]
    told += [
        f"{run.name} voted, though: {run.verdict.sentence}"
        for run in used
        if run.verdict.level == "suspicious"
    ]
    middle = float(np.median([run.dice or 0.0 for run in used]))
    told += [
        f"{run.name} agrees with the result far less than the others (Dice {run.dice:.2f}, their middle {middle:.2f}): "
        "check that its labels belong to its image and mean the same."
        for run in used
        if len(used) > 2 and (run.dice or 0.0) < _UNLIKE * middle
    ]
    lost = [volume.name for volume in volumes if not volume.voxels]
    if lost:
        told.append(f"Labels that atlases have and that won no voxel: {', '.join(lost)}.")
    if len(used) == 1:
        told.append(
            "With one atlas there is no vote: its labels are taken as they are, and nothing checks them."
        )
    return tuple(told)
