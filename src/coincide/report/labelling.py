"""A labelling as a folder of files: labels, confidence, volumes, a record, and a page to look at."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from coincide import __version__
from coincide.cohort.labelling import Labelling
from coincide.io import whole_folder, write_image
from coincide.preprocess.normalise import normalise
from coincide.report import paint
from coincide.report.layers import Layer, css, short
from coincide.report.pictures import encode, sheet
from coincide.report.planes import Cut, Plane, planes
from coincide.report.template import embedded, fill

LABELS, CONFIDENCE, VOLUMES, RECORD, PAGE = (
    "labels.nii.gz",
    "confidence.nii.gz",
    "volumes.csv",
    "labelling.json",
    "report.html",
)
_GOLDEN = 0.61803398875


def write_labelling(found: Labelling, folder: str | os.PathLike) -> list[str]:
    """Write what `label()` returned to `folder`, which is made where it is missing; all files appear together.

    Returns:
        The names of the files.

    Raises:
        OutputError: the folder cannot be written to.
    """
    page = render_labelling(found)
    with whole_folder(Path(folder)) as scratch:
        write_image(found.labels, scratch / LABELS)
        write_image(found.confidence, scratch / CONFIDENCE)
        (scratch / VOLUMES).write_text(_table(found), encoding="utf-8")
        (scratch / RECORD).write_text(json.dumps(_record(found), indent=2) + "\n", encoding="utf-8")
        (scratch / PAGE).write_text(page, encoding="utf-8")
    return [LABELS, CONFIDENCE, VOLUMES, RECORD, PAGE]


def render_labelling(found: Labelling) -> str:
    """The page's HTML."""
    cuts = planes(found.target)
    used = [run for run in found.atlases if run.used]
    context = {
        "title": f"Labels of {short(found.target.name)}",
        "dim": found.target.dim,
        "word": f"{len(found.volumes)} labels from {len(used)} of {len(found.atlases)} atlases",
        "level": "converged" if len(used) == len(found.atlases) else "suspicious",
        "layers": [embedded(layer, cuts) for layer in _layers(found, cuts)],
        "volumes": found.volumes,
        "atlases": found.atlases,
        "decisions": found.decisions,
        "provenance": found.provenance,
        "unit": "ml" if found.target.dim == 3 else "cm²",
        "short": short,
    }
    return fill("labelling.html.j2", context)


def sheet_of(found: Labelling, names: tuple[str, ...]) -> bytes:
    """A PNG of some of the page's pictures, one below the other (in 2-D side by side)."""
    cuts = planes(found.target)
    layers = {layer.name: layer for layer in _layers(found, cuts)}
    axis = 1 if found.target.dim == 2 else 0
    return encode(np.concatenate([sheet(layers[n], cuts, heading=True) for n in names], axis=axis), "png")


def _layers(found: Labelling, cuts: tuple[Plane, ...]) -> list[Layer]:
    """The labels, their outlines alone, the confidence, and the image by itself."""
    views = [Cut(found.target.grid, plane.points) for plane in cuts]
    values = normalise(found.target.with_mask(None)).data[0]
    greys = [np.clip(view.linear(values), 0, 1) for view in views]
    names = [view.nearest(found.labels.data[0].clone()) for view in views]
    sure = [view.nearest(found.confidence.data[0].clone()) for view in views]
    coloured, lines, doubts = [], [], []
    for grey, name, share in zip(greys, names, sure):
        base, edge = paint.dimmed(grey, 0.9), paint.outlines(name)
        filled = paint.over(base, colours(name), 0.45 * (name != 0))
        coloured.append(paint.over(filled, colours(name), 0.9 * edge * (name != 0)))
        lines.append(paint.over(paint.grey(grey), paint.MOVING, 0.85 * edge))
        inside = (name != 0) | (share < 1)
        doubts.append(np.where(inside[..., None], paint.heat(1 - share), paint.dimmed(grey, 0.5)))
    stops = tuple(
        (css(paint.heat(np.array(1 - s))), f"{100 * s:.0f} % of the votes") for s in (1.0, 0.75, 0.5, 0.0)
    )
    return [
        Layer("labels", "Labels", "Each label in a colour of its own, on the image.", (), tuple(coloured)),
        Layer("outlines", "Outlines", "The labels' borders on the image.", (), tuple(lines)),
        Layer(
            "confidence", "Confidence", "How many of the votes the label had that won.", stops, tuple(doubts)
        ),
        Layer(
            "image",
            "Image",
            f"The image ({short(found.target.name)}) by itself.",
            (),
            tuple(map(paint.grey, greys)),
        ),
    ]


def colours(labels: np.ndarray) -> np.ndarray:
    """A colour for each label, `(…, 3)`, 0 to 1: neighbouring numbers get hues far apart."""
    hue = (np.abs(labels.astype(np.int64)) % 100_003 * _GOLDEN) % 1
    # a wheel of three smooth waves
    waves = np.stack([np.cos(2 * np.pi * (hue - third)) for third in (0, 1 / 3, 2 / 3)], axis=-1)
    return (0.55 + 0.4 * waves).astype(np.float32)


def _table(found: Labelling) -> str:
    """The volumes as CSV."""
    text = io.StringIO()
    unit = "ml" if found.target.dim == 3 else "cm2"
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["label", "name", unit, "voxels", "confidence", f"spread_{unit}"])
    for v in found.volumes:
        spread = "" if v.spread is None else f"{v.spread:.4f}"
        table.writerow([v.label, v.name, f"{v.amount:.4f}", v.voxels, f"{v.confidence:.4f}", spread])
    return text.getvalue()


def _record(found: Labelling) -> dict[str, Any]:
    return {
        "coincide": __version__,
        "target": found.target.name,
        "atlases": [
            {
                "name": run.name,
                "verdict": run.verdict.level,
                "sentence": run.verdict.sentence,
                "voted": run.used,
                "resumed": run.resumed,
                "dice_with_result": run.dice,
                "seconds": run.seconds,
            }
            for run in found.atlases
        ],
        "volumes": [dataclasses.asdict(volume) for volume in found.volumes],
        "decisions": list(found.decisions),
        **found.provenance,
    }
