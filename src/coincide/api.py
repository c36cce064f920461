"""`coincide.register`: opens paths and foreign images, then calls the one that never touches a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from coincide.checksum import describe_file
from coincide.errors import OptionError
from coincide.image import Image, Kind
from coincide.io import as_image, as_mask, read_points, read_transform
from coincide.io.declared import existing
from coincide.io.images import check_time_index, count_voxels
from coincide.io.notes import gathered, warn
from coincide.methods import AbstractMethod
from coincide.methods.configure import check_lesions, check_run, check_steering, configured
from coincide.optimise.progress import Event, Progress, silent
from coincide.options import check_value
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import Registration, check_memory
from coincide.registration import register as register_pair
from coincide.similarity import Similarity
from coincide.transforms.base import Transform

Source = Any
"""A path, a nibabel image, a SimpleITK image, or an `Image`."""


def register(
    fixed: Source,
    moving: Source,
    method: AbstractMethod | str = "auto",
    *,
    transform: str | None = None,
    preset: str | None = None,
    similarity: Similarity | str | None = None,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    fixed_lesion: Source | None = None,
    moving_lesion: Source | None = None,
    fixed_labels: Source | None = None,
    moving_labels: Source | None = None,
    fixed_points: Any = None,
    moving_points: Any = None,
    use_landmarks: bool = False,
    init: Transform | str | os.PathLike | None = None,
    time_index: int | None = None,
    threads: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    found: Callable[[Transform, Transform], None] | None = None,
    throw: bool = False,
) -> Registration:
    """Find the transform that carries the fixed world (mm) onto the moving world (mm).

    Args:
        fixed: the image that stays: a path, a nibabel image, a SimpleITK image, or an `Image`.
        moving: the image that is warped onto the fixed one; likewise.
        method: a method, or its SPEC: `name` or `name:option=value,…`; `coincide methods` lists them.
        transform: how far to go: `"translation"` (not `auto`), `"rigid"`, `"similarity"`, `"affine"` or
            `"deformable"`; the method's own where left out, which for `auto` is deformable.
        preset: time against accuracy: `"fast"`, `"default"` or `"accurate"`.
        similarity: what to compare by, or its SPEC (`"lncc:radius=3"`); decided from the images where left
            out.
        fixed_mask: voxels of the fixed image that count (0.5 and above), on its grid.
        moving_mask: voxels of the moving image that count (0.5 and above), on its grid.
        fixed_lesion: voxels of the fixed image (0.5 and above), on its grid, that have no counterpart in the moving
            one, as those of a tumour: they are not compared, and the deformation is carried over them.
        moving_lesion: voxels of the moving image, likewise; either may be left out.
        fixed_labels: label map of the fixed image; scores the result.
        moving_labels: label map of the moving image; is carried onto the fixed grid.
        fixed_points: landmarks in fixed-world mm: a CSV `name,x,y[,z]`, `Points`, or an array
            `(number, dim)`.
        moving_points: the same landmarks in moving-world mm; they correspond by name.
        use_landmarks: let landmarks steer, not only score: how a deformation bends, or where `icp` and `cpd` lay
            the one image on the other. Labels steer `icp`, `cpd`, `boundary` and `regions` alone.
        init: where to start, fixed-world mm to moving-world mm: a `Transform` or a file.
        time_index: which volume of a 4-D image, from 0; never chosen silently, and for 4-D images alone.
        threads: how many; every core where left out. The result is the same for any number.
        seed: of the randomness.
        device: where to compute: `"cpu"`, `"cuda"`, …
        progress: called with an `Event` often; raise from it to stop the work.
        found: called with the transform and its inverse as soon as there are any, before they are measured.
        throw: raise when the result is judged failed, instead of returning it with its verdict.

    Raises:
        InputError: something handed in cannot be used; nothing was computed.
        ResourceError: memory would not suffice.
        RegistrationFailedError: judged failed, with `throw`.
    """
    report = progress or silent
    sources = {
        "fixed": fixed,
        "moving": moving,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
        "fixed_lesion": fixed_lesion,
        "moving_lesion": moving_lesion,
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "fixed_points": fixed_points,
        "moving_points": moving_points,
        "init": init,
    }
    # Names are checked before files are opened, as that takes no time.
    check_run(seed, threads, device)
    chosen = configured(method, transform, preset, similarity, use_landmarks)
    check_device(device)
    _check_sources(sources, chosen, transform, time_index)
    report(Event("reading"))
    with gathered() as notes:
        pair = open_pair(**sources, time_index=time_index)
    result = register_pair(
        pair,
        chosen,
        progress=report,
        found=found or (lambda transform, inverse: None),
        seed=seed,
        threads=threads,
        device=device,
        throw=throw,
    )
    return _recorded(result, sources, notes)


def _recorded(result: Registration, sources: dict[str, Any], notes: list[str]) -> Registration:
    """`result` with what its record says of the files the inputs came from, and of how they were understood."""
    inputs = dict(result.provenance.get("inputs", {}))
    for role, source in sources.items():
        if is_path(source):
            inputs[role] = {**inputs.get(role, {}), **describe_file(source)}
    return replace(result, provenance={**result.provenance, "inputs": inputs, "notes": notes})


def _check_sources(
    sources: dict[str, Any], chosen: AbstractMethod, transform: str | None, time_index: int | None
) -> None:
    """Refuse what can be seen to be missing or of no use before anything is read."""
    there = {role for role, source in sources.items() if source is not None}
    check_lesions(chosen, bool({"fixed_lesion", "moving_lesion"} & there))
    check_steering(
        chosen,
        landmarks={"fixed_points", "moving_points"} <= there,
        labels={"fixed_labels", "moving_labels"} <= there,
    )
    check_value("init", sources["init"], Transform | str | os.PathLike | None)
    for source in sources.values():
        if is_path(source):
            existing(source)
    images = [_plain(sources[role]) for role in ("fixed", "moving")]
    check_time_index(time_index, *images)
    # Images that the work would have no room for are not read, by what their headers say.
    sizes = [count_voxels(image) for image in images if is_path(image)]
    check_memory(max(sizes, default=0), transform)


def open_pair(
    fixed: Source,
    moving: Source,
    *,
    fixed_mask: Source | None = None,
    moving_mask: Source | None = None,
    fixed_lesion: Source | None = None,
    moving_lesion: Source | None = None,
    fixed_labels: Source | None = None,
    moving_labels: Source | None = None,
    fixed_points: Any = None,
    moving_points: Any = None,
    init: Transform | str | os.PathLike | None = None,
    time_index: int | None = None,
) -> Pair:
    """What `register` is given, opened; arguments and errors as there."""
    one = open_image(fixed, fixed_mask, time_index=time_index)
    other = open_image(moving, moving_mask, time_index=time_index)
    return Pair(
        fixed=one,
        moving=other,
        fixed_labels=_maybe(_open_labels, fixed_labels),
        moving_labels=_maybe(_open_labels, moving_labels),
        fixed_points=_maybe(open_points, fixed_points),
        moving_points=_maybe(open_points, moving_points),
        initial=_maybe(open_transform, init),
        fixed_lesion=_maybe(as_mask, _plain(fixed_lesion), grid=one.grid, name="fixed_lesion"),
        moving_lesion=_maybe(as_mask, _plain(moving_lesion), grid=other.grid, name="moving_lesion"),
    )


def open_image(
    source: Source, mask: Source | None = None, *, kind: Kind = "intensity", time_index: int | None = None
) -> Image:
    """An `Image` from a path, a nibabel or SimpleITK image, or an `Image`, with `mask` on it.

    Args:
        source: what to open.
        mask: likewise; voxels of 0.5 and above count.
        kind: `"intensity"` or `"label"`.
        time_index: which volume of a 4-D image, from 0.

    Raises:
        InputError: it cannot be read, or used as what it is meant for.
        MaskError: the mask is not one, empty, or lies on another grid than the image.
    """
    image = as_image(_plain(source), kind=kind, time_index=time_index)
    if mask is None:
        return image
    inside = as_mask(_plain(mask), image.grid)
    return image.with_mask(inside if image.mask is None else inside & image.mask)


def _open_labels(source: Source) -> Image:
    labels = open_image(source, kind="label")
    if not bool(labels.data.any()):
        warn(f"{labels.name}: holds no label, all {labels.grid.size:,} voxels are 0. Is it the right file?")
    return labels


def open_points(source: Any) -> Points:
    """`Points` from a CSV `name,x,y[,z]`, from `Points`, or from an array `(number, dim)`, world mm."""
    if is_path(source):
        return read_points(source)
    return source if isinstance(source, Points) else Points(source)


def open_transform(source: Transform | str | os.PathLike) -> Transform:
    """A `Transform` from a file, or as it is."""
    return source if isinstance(source, Transform) else read_transform(Path(source))


def check_device(name: str) -> None:
    """Make sure that `name` is a device torch can compute on here.

    Raises:
        OptionError: it is not.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise OptionError(
            f"device {name!r} cannot be used here ({reason}). Leave it out for the CPU."
        ) from error


def is_path(source: Any) -> bool:
    """Whether `source` names a file rather than being what a file holds."""
    return isinstance(source, str | os.PathLike)


def _maybe(opener, source, **options):
    return None if source is None else opener(source, **options)


def _plain(source: Source) -> Source:
    return Path(source) if is_path(source) else source
