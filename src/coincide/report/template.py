"""Pages of one house: filling a template, with the style they share."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

from coincide.report.layers import Layer
from coincide.report.pictures import encode, sheet
from coincide.report.planes import Plane


def fill(template: str, context: dict[str, Any]) -> str:
    """The HTML of a template beside this file; a page loads nothing from anywhere."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    house = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = Markup(_text("style.css"))
    return house.from_string(_text(template)).render(context, style=style)


def embedded(layer: Layer, planes: tuple[Plane, ...]) -> dict[str, Any]:
    """A layer as a template shows it, its picture inside."""
    canvas = sheet(layer, planes)
    source = "data:image/jpeg;base64," + base64.b64encode(encode(canvas, "jpeg")).decode("ascii")
    return {
        "name": layer.name,
        "title": layer.title,
        "caption": layer.caption,
        "legend": layer.legend,
        "source": source,
        "width": canvas.shape[1],
        "height": canvas.shape[0],
    }


def _text(name: str) -> str:
    return resources.files("coincide.report").joinpath(name).read_text(encoding="utf-8")
