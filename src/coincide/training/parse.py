"""From the tables of a TOML file to frozen dataclasses; what is not known is refused."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from coincide.errors import MissingFileError, OptionError, UnreadableFileError, unknown

T = TypeVar("T")


def read_tables(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml

    try:
        return toml.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such recipe.") from error
    except (toml.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UnreadableFileError(f"{path}: is no recipe in TOML ({error}).") from error


def filled(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table, and those inside it from the tables inside.

    Args:
        cls: the dataclass.
        table: values by field.
        where: what to call the table in messages.

    Raises:
        OptionError: an unknown key (the nearest known one is named), a value of the wrong type, or a field left out
            that has no default.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type] - T is a dataclass
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in fields:
            raise unknown(f"key of {where}", key, fields)
    for name, field in fields.items():
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and name not in table:
            raise OptionError(f"{where}: the key {name!r} is missing.")
    return cls(**{key: _value(hints[key], value, f"{where}, {key}") for key, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise OptionError(f"{where}: expected a table, found {value!r}.")
        return filled(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value not in arguments:
            raise unknown(f"value of {where}", str(value), map(str, arguments))
        return value
    if origin in (typing.Union, types.UnionType):
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise OptionError(f"{where}: expected a list, found {value!r}.")
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise OptionError(f"{where}: expected {len(kinds)} values, found {len(value)}.")
        return tuple(_value(kind, item, where) for kind, item in zip(kinds, value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise OptionError(f"{where}: expected a table, found {value!r}.")
        return dict(value)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise OptionError(f"{where}: expected {hint.__name__}, found {value!r}.")
    return value
