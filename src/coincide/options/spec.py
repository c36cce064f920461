"""From `name:option=value,…` to a frozen dataclass, and from a dataclass to a description of its options."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from coincide.errors import OptionError, unknown
from coincide.options.ranges import range_of

Family = Mapping[str, type]
"""Frozen dataclasses by the names users type."""


def build(what: str, spec: str, family: Family, families: Mapping[type, Family] | None = None) -> Any:
    """The object that `spec` names.

    Args:
        what: what is being chosen, for messages: `"method"`.
        spec: `name`, `name:option=value,option=value` or `name(option=value,…)`. A sequence is written
            with `x` between its numbers (`100x50x10`); an option that is an object takes the bracket form.
        family: what can be chosen.
        families: for options whose type is an abstract class, what can be chosen there.

    Raises:
        OptionError: an unknown name or option (the nearest known one is named), or a value of the wrong type.
    """
    match = re.fullmatch(r"\s*([\w.-]+)\s*(?::(.*)|\((.*)\))?\s*", spec, re.DOTALL)
    if match is None:
        raise OptionError(f"{what} {spec!r} cannot be read; expected name or name:option=value,option=value.")
    name = match[1].lower().replace("-", "_")
    if name not in family:
        raise unknown(what, match[1], family)
    cls = family[name]
    given = _split(what, match[2] or match[3] or "")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    values = {}
    for key, text in given.items():
        if key not in fields:
            raise unknown("option", key, fields, f"of {what} {name!r}")
        values[key] = _value(f"option {key} of {what} {name!r}", text, hints[key], families or {})
    try:
        return cls(**values)
    except TypeError as error:
        raise OptionError(f"{what} {name!r}: {error}.") from error


def describe(cls: type, families: Mapping[type, Family] | None = None) -> dict[str, Any]:
    """What a dataclass of options is: `summary`, and `options` with `name`, `type`, `range`, `default` and `help`.

    Args:
        cls: the dataclass.
        families: for options whose type is an abstract class, what can be chosen there.
    """
    doc = inspect.getdoc(cls) or ""
    # options that several classes share stand, with their help, in a class that these inherit from
    helps: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        helps |= _argument_docs(inspect.cleandoc(base.__doc__ or ""))
    hints, typed = typing.get_type_hints(cls), typing.get_type_hints(cls, include_extras=True)
    options = [
        {
            "name": f.name,
            "type": type_name(hints[f.name], families),
            "range": range_of(typed[f.name]),
            "default": _default(f),
            "help": helps.get(f.name, ""),
        }
        for f in dataclasses.fields(cls)
        if f.init
    ]
    return {"summary": doc.split("\n\n")[0].replace("\n", " "), "options": options}


def type_name(hint: Any, families: Mapping[type, Family] | None = None) -> str:
    """A type as users read it: `"int"`, `"fast|default|accurate"`, `"int x int x …"`."""
    if isinstance(hint, type) and hint in (families or {}):
        return "|".join((families or {})[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(str(a) for a in arguments)
    if origin in (typing.Union, types.UnionType):
        return "|".join("none" if a is type(None) else type_name(a, families) for a in arguments)
    if origin is tuple:
        names = [type_name(a, families) for a in arguments if a is not Ellipsis]
        return " x ".join([*names, *names, "…"] if Ellipsis in arguments else names)
    return getattr(hint, "__name__", str(hint)).removeprefix("Abstract").lower()


def _split(what: str, text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    depth, part = 0, ""
    for character in text + ",":
        depth += (character == "(") - (character == ")")
        if character != "," or depth:
            part += character
            continue
        if part.strip():
            key, equals, value = part.partition("=")
            if not equals:
                raise OptionError(f"{what}: {part.strip()!r} cannot be read; expected option=value.")
            key = key.strip().replace("-", "_")
            if key in given:
                raise OptionError(f"{what}: option {key} is given twice.")
            given[key] = value.strip()
        part = ""
    if depth:
        raise OptionError(f"{what}: a bracket is not closed in {text!r}.")
    return given


def _value(where: str, text: str, hint: Any, families: Mapping[type, Family]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        for choice in arguments:
            if str(choice).lower() == text.lower():
                return choice
        raise unknown("value", text, map(str, arguments), f"of {where}")
    if origin in (typing.Union, types.UnionType):
        return _one_of(where, text, arguments, families)
    if origin is tuple:
        return _sequence(where, text, hint, families)
    if isinstance(hint, type) and hint in families:
        return build(where, text, families[hint], families)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(where, text, {hint.__name__.lower(): hint}, families)
    return _scalar(where, text, hint)


def _scalar(where: str, text: str, hint: Any) -> Any:
    truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    expected = type_name(hint)
    with suppress(ValueError, KeyError):
        if hint is bool:
            return truth[text.lower()]
        if hint is float:
            expected = "a finite number"
            if math.isfinite(number := float(text)):
                return number
        elif hint in (int, str):
            return hint(text)
    raise OptionError(f"{where}: expected {expected}, found {text!r}.")


def _one_of(where: str, text: str, hints: tuple[Any, ...], families: Mapping[type, Family]) -> Any:
    if type(None) in hints and text.lower() == "none":
        return None
    errors = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _value(where, text, hint, families)
        except OptionError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise OptionError(f"{where}: expected {type_name(typing.Union[hints])}, found {text!r}. {errors[-1]}")  # noqa: UP007


def _sequence(where: str, text: str, hint: Any, families: Mapping[type, Family]) -> tuple:
    hints = typing.get_args(hint)
    parts = re.split(r"[x×]", text)
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(parts)
    if len(hints) != len(parts):
        raise OptionError(f"{where}: expected {type_name(hint)}, found {text!r}.")
    return tuple(_value(where, part.strip(), h, families) for part, h in zip(parts, hints))


def _default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return _plain(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return _plain(field.default_factory())
    return None


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it, written so that `build` reads it back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        usual = {f.name: _default(f) for f in dataclasses.fields(value) if f.init}
        changed = [f"{k}={_plain(v)}" for k, v in own.items() if _plain(v) != usual[k]]
        return type(value).__name__.lower() + (f"({','.join(changed)})" if changed else "")
    if isinstance(value, tuple):
        return "x".join(str(_plain(v)) for v in value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _argument_docs(doc: str) -> dict[str, str]:
    """The entries of a docstring's `Args:` section by name."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc + "\n", re.MULTILINE)
    if section is None:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n" + section[1]).splitlines():
        start = re.match(r"(\w+): (.*)", line)
        if start:
            name, found[start[1]] = start[1], start[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
