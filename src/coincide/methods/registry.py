"""Methods by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from coincide.methods.base import AbstractMethod
from coincide.options import build, describe
from coincide.similarity import SIMILARITIES, Similarity


def available() -> Mapping[str, type[AbstractMethod]]:
    """Every method by the name users type; each is imported when it is looked up."""
    from coincide.methods import METHODS

    return _Places(METHODS)


class _Places(Mapping[str, type[AbstractMethod]]):
    """Classes by name, from `module:class`: who asks for one method need not wait for what the others import."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[AbstractMethod]:
        module, _, cls = self._places[name].partition(":")
        return getattr(import_module(module), cls)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


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


def _families() -> dict[type, Mapping[str, type]]:
    return {AbstractMethod: available(), Similarity: dict(SIMILARITIES)}
