"""A followed series as a folder of files: frames, transforms, motion, a record, and a page with a film."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coincide import __version__
from coincide.image import Image
from coincide.io import whole_folder, write_image, write_transform
from coincide.io.series import write_frames
from coincide.measures.motion import motion, places_of
from coincide.methods.series import AbstractSeriesMethod, Framewise, Series, SeriesSolution, aligned
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.normalise import normalise, robust_range
from coincide.registration import describe_settings
from coincide.report import paint
from coincide.report.layers import short
from coincide.report.template import fill

ALIGNED, REFERENCE, CURVES, CHART, RECORD, PAGE = (
    "aligned.nii.gz",
    "reference.nii.gz",
    "motion.csv",
    "motion.png",
    "series.json",
    "report.html",
)
_SHOWN, _SIDE = 100, 320
"""Frames of the film, and pixels of its longer side, at most."""
_PLOTS = (
    ("Shift", "mm", ("x_mm", "y_mm", "z_mm")),
    ("Rotation", "°", ("rotation_deg",)),
    ("Scale", "", ("scale",)),
    ("From frame to frame", "mm", ("step_mm", "jitter_mm")),
    ("Mean over the anatomy", "mm", ("anatomy_mm", "bending_mm")),
)


def write_series(
    series: Series,
    reference: Image,
    solution: SeriesSolution,
    method: AbstractSeriesMethod,
    folder: str | os.PathLike,
    argv: Sequence[str] = (),
) -> list[str]:
    """Write what became of a series to `folder`, which is made where it is missing; all files appear together.

    Args:
        series: the frames.
        reference: what they were laid on.
        solution: where they lie.
        method: by which that was found.
        folder: where to.
        argv: the command line, for the record.

    Returns:
        The names of the files; those of the transforms, in the folder `transforms`, as one.

    Raises:
        OutputError: the folder cannot be written to.
    """
    laid = aligned(series, solution)
    courses = motion(solution.transforms, series.grid, _anatomy(reference))
    chart = drawn(courses, solution, series.interval)
    page = rendered(series, reference, solution, method, laid, courses, chart)
    with whole_folder(Path(folder)) as scratch:
        write_frames(laid, scratch / ALIGNED, series.interval)
        write_image(reference, scratch / REFERENCE)
        (scratch / CURVES).write_text(_table(courses, solution, series.interval), encoding="utf-8")
        (scratch / CHART).write_bytes(chart)
        record = _record(series, reference, solution, method, courses, argv)
        (scratch / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (scratch / PAGE).write_text(page, encoding="utf-8")
        (scratch / "transforms").mkdir()
        for n, transform in enumerate(solution.transforms):
            write_transform(transform, scratch / "transforms" / f"frame_{n:04d}.h5")
    return [ALIGNED, REFERENCE, CURVES, CHART, RECORD, PAGE, "transforms/"]


def rendered(
    series: Series,
    reference: Image,
    solution: SeriesSolution,
    method: AbstractSeriesMethod,
    laid: Sequence[Image],
    courses: dict[str, np.ndarray],
    chart: bytes,
) -> str:
    """The page's HTML."""
    told = Counter(solution.frames)
    context = {
        "title": f"Motion in {short(series.name)}",
        "word": f"{len(series)} frames",
        "level": "suspicious" if told["lost"] else "converged",
        "sentence": ", ".join(f"{number} {name}" for name, number in told.items()) + ".",
        "decisions": solution.decisions,
        "film": "data:image/webp;base64," + _encoded(film(series, reference, laid)),
        "chart": "data:image/png;base64," + base64.b64encode(chart).decode("ascii"),
        "rows": _summary(courses),
        "method": method_name(method),
        "seconds": solution.seconds,
    }
    return fill("series.html.j2", context)


def film(series: Series, reference: Image, laid: Sequence[Image]) -> list[np.ndarray]:
    """Pictures `(row, column, 3)` bytes: a frame as it is and as it was laid, with the reference's edges."""
    low, high = robust_range(reference)
    edge = paint.edges(_shown(reference, low, high), 2.0)
    every = max(1, -(-len(series) // _SHOWN))
    found = []
    for frame, moved in list(zip(series.frames, laid))[::every]:
        sides = [
            paint.over(paint.grey(_shown(i, low, high)), paint.FIXED, 0.8 * edge) for i in (frame, moved)
        ]
        gap = np.broadcast_to(paint.GROUND, (len(edge), 6, 3))
        picture = np.concatenate([sides[0], gap, sides[1]], axis=1)
        found.append((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    return found


def _anatomy(reference: Image) -> np.ndarray | None:
    """Places of what the reference shows, `(number, dim)` mm; None where it shows too little."""
    found = places_of(foreground_weights(normalise(reference)).numpy() > 0, reference.grid)
    return found if len(found) > reference.dim + 1 else None


def drawn(courses: dict[str, np.ndarray], solution: SeriesSolution, interval: float | None) -> bytes:
    """A PNG of the motion's courses; frames that were not registered are grey bands."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plots = [plot for plot in _PLOTS if any(name in courses for name in plot[2])]
    figure = Figure(figsize=(9, 2 * len(plots)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    time = np.arange(len(solution.frames)) * (interval or 1.0)
    axes = np.atleast_1d(figure.subplots(len(plots), 1, sharex=True))
    for axis, (title, unit, names) in zip(axes, plots):
        for name in names:
            if name in courses:
                axis.plot(time, courses[name], label=name.split("_")[0], linewidth=1.4)
        for n, told in enumerate(solution.frames):
            if told != "registered":
                half = (interval or 1.0) / 2
                axis.axvspan(time[n] - half, time[n] + half, color="0.85", linewidth=0)
        axis.set_ylabel(f"{title}, {unit}" if unit else title)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("seconds" if interval else "frame")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def method_name(method: AbstractSeriesMethod) -> str:
    """A series method as people say it."""
    from coincide.methods.configure import name_of

    return f"{name_of(method.method)}, frame by frame" if isinstance(method, Framewise) else "sequence"


def _shown(image: Image, low: float, high: float) -> np.ndarray:
    """A picture of an image, 0 … 1, upright: a film as it is, of a volume its middle plane across the last axis."""
    values = image.numpy()[0]
    values = values[..., values.shape[2] // 2] if image.dim == 3 else values
    # as a picture has it: x to the right, y down; a volume's plane has y upwards
    values = values.T if image.dim == 2 else values.T[::-1]
    share = _SIDE / max(values.shape)
    rows, columns = (
        np.minimum((np.arange(round(n * share)) / share).astype(int), n - 1) for n in values.shape
    )
    return np.clip((values[np.ix_(rows, columns)] - low) / (high - low), 0, 1)


def _encoded(pictures: list[np.ndarray]) -> str:
    from PIL import Image as Canvas

    stream, frames = io.BytesIO(), [Canvas.fromarray(picture) for picture in pictures]
    options = {"save_all": True, "append_images": frames[1:], "duration": 90, "loop": 0}
    frames[0].save(stream, "WEBP", quality=72, method=2, **options)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _summary(courses: dict[str, np.ndarray]) -> list[tuple[str, str, str]]:
    """Each course's name, and its least and greatest value."""
    return [(name.replace("_", ", "), f"{c.min():.3f}", f"{c.max():.3f}") for name, c in courses.items()]


def _table(courses: dict[str, np.ndarray], solution: SeriesSolution, interval: float | None) -> str:
    """The courses as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["frame", *(["seconds"] if interval else []), "status", *courses])
    for n, told in enumerate(solution.frames):
        time = [f"{n * interval:.6g}"] if interval else []
        table.writerow([n, *time, told, *(f"{course[n]:.5f}" for course in courses.values())])
    return text.getvalue()


def _record(
    series: Series,
    reference: Image,
    solution: SeriesSolution,
    method: AbstractSeriesMethod,
    courses: dict[str, np.ndarray],
    argv: Sequence[str],
) -> dict[str, Any]:
    return {
        "coincide": __version__,
        "argv": list(argv),
        "series": series.name,
        "reference": reference.name,
        "shape": list(series.grid.shape),
        "affine": series.grid.affine.tolist(),
        "interval_seconds": series.interval,
        "method": method_name(method),
        "settings": describe_settings(method),
        "frames": list(solution.frames),
        "decisions": list(solution.decisions),
        "seconds": {name: round(value, 3) for name, value in solution.seconds.items()},
        "motion": {name: [round(float(v), 6) for v in course] for name, course in courses.items()},
    }
