"""Methods by name."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from coincide.methods.base import AbstractMethod
from coincide.options import build, describe
from coincide.options.places import Places
from coincide.similarity import SIMILARITIES, Similarity


def available() -> Mapping[str, type[AbstractMethod]]:
    """Every method by the name users type; each is imported when it is looked up."""
    from coincide.methods import METHODS

    return Places(METHODS)


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
    return [{"name": name, **describe(cls)} for name, cls in known_similarities().items()]


def known_similarities() -> Mapping[str, type[Similarity]]:
    """Every similarity by the name users type; those that are learned are imported when they are looked up."""
    from coincide.methods import LEARNED_SIMILARITIES

    learned = Places(LEARNED_SIMILARITIES)
    return ChainMap(dict(SIMILARITIES), learned)  # type: ignore[arg-type] - it is only read


def _families() -> dict[type, Mapping[str, type]]:
    return {AbstractMethod: available(), Similarity: known_similarities()}
