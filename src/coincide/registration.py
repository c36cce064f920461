"""The one verb, below the floor of files: images in, a `Registration` out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from coincide.errors import IntensityError, OverlapError, RegistrationFailedError
from coincide.features.matches import Matches
from coincide.image import Image
from coincide.measures.summary import measure
from coincide.measures.verdict import Verdict, judge
from coincide.methods import AbstractMethod, Context, Solution, Step
from coincide.methods.configure import check_lesions, check_run, check_steering, configured, name_of
from coincide.methods.plan import foreseen
from coincide.ops._parallel import get_threads, on_compile, set_threads
from coincide.ops.memory import DEFORMED, peak, require
from coincide.optimise.progress import Event, Progress, silent
from coincide.pair import Pair
from coincide.points import Points
from coincide.preprocess.check import check_registrable
from coincide.similarity import Similarity
from coincide.transforms.base import Transform
from coincide.transforms.resample import resample


@dataclass(frozen=True, eq=False)
class Registration:
    """What `register()` returns.

    Args:
        pair: what was registered.
        transform: fixed-world mm → moving-world mm. Resamples the moving image; carries points fixed → moving.
        inverse: moving-world mm → fixed-world mm. Carries points moving → fixed.
        warped: the moving image on the fixed grid, resampled once through the whole transform.
        labels: the moving labels on the fixed grid, with the smooth label interpolation, or None.
        points: the fixed landmarks carried into the moving world, or None.
        measures: nested dictionary of numbers: `before` and `after` (`mse`, `mae`, `ncc`, `nmi`, `ssim`),
            `field` (`folding_forward_percent`, `folding_central_percent`, `folding_any_percent`, `min_jacobian`,
            `sd_log_jacobian`, `max_displacement_mm`), `inverse` (`mean_mm`, `p999_mm`, `max_mm`, and the same in
            voxels), `labels` (`dice_mean`, `hd95_mean_mm`, `assd_mean_mm`, `per_label`), `points` (`before`,
            `after`, each with `tre_mean_mm`, `tre_median_mm`, `tre_p90_mm`), `uncertainty` (`mean_mm`, `median_mm`,
            `p95_mm`, `max_mm`, and `landmarks_within_percent`). Sections without data are absent.
        verdict: whether to trust it.
        trace: the recorded iterations.
        decisions: what `auto` and the method decided, and why.
        provenance: versions, resolved settings, geometry of the inputs, seed, threads, timings, peak memory.
        matches: the pairs of points the method worked with, and which of them bear the result; None without any.
        uncertainty: standard deviation of where each fixed point goes, along each axis of the fixed world, mm: a
            channel an axis, on a grid of its own; None where the method does not tell.
    """

    pair: Pair
    transform: Transform
    inverse: Transform
    warped: Image
    labels: Image | None
    points: Points | None
    measures: dict[str, Any]
    verdict: Verdict
    trace: tuple[Step, ...]
    decisions: tuple[str, ...]
    provenance: dict[str, Any]
    matches: Matches | None = None
    uncertainty: Image | None = None


_BYTES_PER_VOXEL = {"linear": 60, "deformable": DEFORMED}
"""Peak memory of a run beyond the images, per voxel of the fixed image, measured on brains of 5 to 8 M voxels."""


def register(
    pair: Pair,
    method: AbstractMethod | str = "auto",
    *,
    transform: str | None = None,
    preset: str | None = None,
    similarity: Similarity | str | None = None,
    use_landmarks: bool = False,
    progress: Progress = silent,
    found: Callable[[Transform, Transform], None] = lambda transform, inverse: None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    throw: bool = False,
) -> Registration:
    """Find the transform of `pair`, resample once, measure and judge. Touches no file and prints nothing.

    Args:
        pair: fixed and moving image, and whatever aids there are.
        method: a method, or its SPEC.
        transform: `"translation"` (not auto), `"rigid"`, `"similarity"`, `"affine"` or `"deformable"`; the method's own
            where left out.
        preset: `"fast"`, `"default"` or `"accurate"`, for `auto`.
        similarity: a similarity or its SPEC (`"lncc:radius=3"`), in the place of the method's own.
        use_landmarks: let the pair's landmarks steer; with a method that labels steer, let these.
        progress: told about every step; may raise to stop.
        found: given the transform and its inverse as soon as there are any, before they are measured and judged.
        seed: of the randomness, for methods that have any.
        threads: of the kernels; the result does not depend on it.
        device: for methods that run networks.
        throw: raise a verdict of "failed".

    Raises:
        InputError: the pair or an option cannot be used.
        ResourceError: memory would not suffice.
        RegistrationFailedError: judged failed, and `throw` was asked for.
    """
    check_run(seed, threads, device)
    chosen = configured(method, transform, preset, similarity, use_landmarks)
    check_steering(
        chosen,
        landmarks=pair.landmarks is not None,
        labels=pair.fixed_labels is not None and pair.moving_labels is not None,
    )
    check_lesions(chosen, pair.has_lesion)
    check_memory(max(pair.fixed.grid.size, pair.moving.grid.size), transform)
    check_pair(pair)
    progress = foreseen(progress, chosen, pair, threads or get_threads())
    begun = time.perf_counter()
    with _threads(threads), on_compile(_compile_notice(progress)):
        solution = chosen.solve(pair, Context(progress, seed, device))
        inverse = solution.transform.inverse() if solution.inverse is None else solution.inverse
        solved = time.perf_counter()
        found(solution.transform, inverse)
        begun_again = time.perf_counter()
        result = _finish(pair, solution, inverse, progress)
    seconds = {**solution.seconds, "solve": solved - begun, "measure": time.perf_counter() - begun_again}
    provenance = _provenance(chosen, solution.ran or chosen, pair, seed, threads, device, seconds)
    result = replace(result, provenance=provenance)
    if throw and result.verdict.level == "failed":
        raise RegistrationFailedError(result.verdict.sentence)
    return result


def check_pair(pair: Pair) -> None:
    """Refuse a pair that cannot be registered, before any work.

    Raises:
        IntensityError: an image has several channels, is constant, or holds next to nothing.
        OverlapError: the two fields of view share no space where the headers (and the initial transform) put them.
    """
    for image in (pair.fixed, pair.moving):
        if image.channels != 1:
            raise IntensityError(
                f"{image.name}: {image.channels} channels, expected one. Pick a channel, or take their mean."
            )
        check_registrable(image)
    corners = pair.fixed.grid.corners if pair.initial is None else pair.initial(pair.fixed.grid.corners)
    index = pair.moving.grid.index(corners)
    if (index.max(0) < -0.5).any() or (index.min(0) > np.asarray(pair.moving.grid.shape) - 0.5).any():
        distance = np.linalg.norm(corners.mean(0) - pair.moving.grid.centre)
        raise OverlapError(
            f"{pair.fixed.name} and {pair.moving.name} share no space: their fields of view lie {distance:.0f} mm "
            "apart, centre to centre. Check that they belong together; if the headers are known to be wrong, give an "
            "initial transform (--init) that lays one on the other."
        )


def check_memory(voxels: int, transform: str | None = None) -> None:
    """Refuse to register images of so many `voxels` (the larger one's) where the memory would not suffice.

    Raises:
        ResourceError: with the estimate, and what can be had.
    """
    require(
        voxels * _BYTES_PER_VOXEL["deformable" if transform in (None, "deformable") else "linear"],
        f"registering {voxels:,} voxels",
        "Resample the images to larger voxels first, or crop them to the anatomy.",
    )


def _finish(pair: Pair, solution: Solution, inverse: Transform, progress: Progress) -> Registration:
    progress(Event("measure", "resampling and measuring"))
    transform = solution.transform
    warped = resample(pair.moving, transform, pair.fixed.grid)
    labels = None if pair.moving_labels is None else resample(pair.moving_labels, transform, pair.fixed.grid)
    points = None if pair.fixed_points is None else pair.fixed_points.mapped(transform)
    measures = measure(pair, transform, inverse, warped, solution.uncertainty)
    verdict = judge(pair, solution, measures)
    return Registration(
        pair,
        transform,
        inverse,
        warped,
        labels,
        points,
        measures,
        verdict,
        solution.trace,
        (*solution.decisions, *_paired(pair, measures)),
        {},
        solution.matches,
        solution.uncertainty,
    )


def _paired(pair: Pair, measures: dict[str, Any]) -> tuple[str, ...]:
    """What to say of labels and landmarks that only one of the images has; nothing where both have all."""
    none = measures.get("labels", {}).get("labels") == 0
    labels = ("The two label maps have no value in common: none is scored.",) if none else ()
    return (*labels, *_landmarks_paired(pair))


def _landmarks_paired(pair: Pair) -> tuple[str, ...]:
    if pair.landmarks is None or pair.fixed_points is None or pair.moving_points is None:
        return ()
    if (
        pair.fixed_points.named
        and pair.moving_points.named
        and not (set(pair.fixed_points.names) & set(pair.moving_points.names))
    ):
        return (
            f"The {len(pair.fixed_points)} fixed and moving landmarks share no name: they are taken row by row.",
        )
    number, given = len(pair.landmarks[0]), (len(pair.fixed_points), len(pair.moving_points))
    if number == max(given):
        return ()
    return (
        f"Of {given[0]} fixed and {given[1]} moving landmarks {number} have a name in common; the others are left out.",
    )


@contextmanager
def _threads(number: int | None):
    import torch

    before, torch_before = get_threads(), torch.get_num_threads()
    if number is not None:
        set_threads(number)
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number is not None:
            set_threads(before)
            torch.set_num_threads(torch_before)


def _compile_notice(progress: Progress):
    told = []

    def notify(name: str) -> None:
        if not told:
            told.append(name)
            progress(
                Event("kernels", "compiling kernels, once, which comes on top; later runs start at once")
            )

    return notify


def _provenance(
    asked, ran, pair: Pair, seed: int, threads: int | None, device: str, seconds
) -> dict[str, Any]:
    return {
        "method": name_of(asked),
        "asked": describe_settings(asked),
        "settings": describe_settings(ran),
        "seed": seed,
        "threads": threads or get_threads(),
        "device": device,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "peak_memory_bytes": peak(),
        "inputs": {
            role: {"name": image.name, "shape": list(image.grid.shape), "affine": image.grid.affine.tolist()}
            for role, image in (("fixed", pair.fixed), ("moving", pair.moving))
        },
    }


def describe_settings(options: Any) -> Any:
    """A frozen dataclass of options as plain nested values, each object with its kind."""
    if is_dataclass(options) and not isinstance(options, type):
        inner = {f.name: describe_settings(getattr(options, f.name)) for f in fields(options)}
        return {"kind": type(options).__name__, **inner}
    return list(options) if isinstance(options, tuple) else options
