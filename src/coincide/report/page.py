"""The report: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from coincide.io.atomic import whole_file
from coincide.ops._parallel import get_threads
from coincide.registration import Registration
from coincide.report import chart, tables
from coincide.report.layers import closer, comparison, short
from coincide.report.scene import look
from coincide.report.template import embedded, fill

_VERDICTS = {"converged": ("Converged", "✓"), "suspicious": ("Suspicious", "!"), "failed": ("Failed", "✕")}


def write_report(registration: Registration, path: str | os.PathLike, title: str | None = None) -> None:
    """Write a registration's report: verdict, pictures, measures, decisions and provenance on one HTML page.

    The file loads nothing from anywhere, and appears whole or not at all.

    Args:
        registration: what `register()` returned.
        path: the file to write, `….html`.
        title: heading of the page; the images' names where left out.

    Raises:
        OutputError: the file cannot be written.
    """
    write_page(render(registration, title), path)


def write_page(page: str, path: str | os.PathLike) -> None:
    """Write a page that was rendered; errors as `write_report`."""
    with whole_file(os.fspath(path)) as scratch:
        scratch.write_text(page, encoding="utf-8")


def render(registration: Registration, title: str | None = None) -> str:
    """The report's HTML."""
    return fill("report.html.j2", _context(registration, title))


def _context(registration: Registration, title: str | None) -> dict[str, Any]:
    pair, scene = registration.pair, look(registration)
    word, sign = _VERDICTS[registration.verdict.level]
    layers = [*comparison(scene), *closer(scene)]
    with ThreadPoolExecutor(get_threads()) as pool:
        pictures = list(pool.map(lambda layer: embedded(layer, scene.planes), layers))
    return {
        "title": title or f"{short(pair.moving.name)} → {short(pair.fixed.name)}",
        "pair": pair,
        "verdict": registration.verdict,
        "word": word,
        "sign": sign,
        "evidence": tables.evidence(registration),
        "cards": tables.cards(registration),
        "comparison": pictures[:2],
        "layers": pictures[2:],
        "sections": tables.sections(registration),
        "labels": tables.label_rows(registration),
        "landmarks": tables.landmark_rows(registration),
        "charts": chart.charts(registration.trace),
        "chart_size": (chart.WIDTH, chart.HEIGHT),
        "number": tables.number,
        "decisions": registration.decisions,
        "provenance": registration.provenance,
        "points_carried": registration.points,
    }
