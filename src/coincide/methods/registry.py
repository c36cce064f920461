"""Methods by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from coincide.methods.base import AbstractMethod
from coincide.options import build, describe
from coincide.similarity import SIMILARITIES, Similarity


def available() -> dict[str, type[AbstractMethod]]:
    """Every method by the name users type."""
    from coincide.methods import METHODS

    found = {}
    for name, place in METHODS.items():
        module, _, cls = place.partition(":")
        found[name] = getattr(import_module(module), cls)
    return found


def parse(spec: str) -> AbstractMethod:
    """The method that `spec` names.

    Args:
        spec: `name` or `name:option=value,option=value`.

    Raises:
        OptionError: an unknown method, option or value; names the nearest known one.
    """
    return build("method", spec, available(), _families())


def description() -> list[dict[str, Any]]:
    """Every method's `name`, `summary` and `options` (`name`, `type`, `default`, `help`)."""
    return [{"name": name, **describe(cls, _families())} for name, cls in available().items()]


def similarities() -> list[dict[str, Any]]:
    """Every similarity's `name`, `summary` and `options`, as in `description`."""
    return [{"name": name, **describe(cls)} for name, cls in SIMILARITIES.items()]


def _families() -> dict[type, dict[str, type]]:
    return {AbstractMethod: dict(available()), Similarity: dict(SIMILARITIES)}
