"""Which values an option may have: said once, in its type, and checked when the object is made."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any

from coincide.errors import OptionError, unknown


@dataclass(frozen=True)
class Range:
    """The numbers that an option may be; stands in its type: `Annotated[float, Range(0, 1)]`.

    Args:
        low: the least.
        high: the most.
        above: whether `low` itself is too little.
        below: whether `high` itself is too much.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: Any) -> bool:
        enough = value > self.low if self.above else value >= self.low
        return bool(enough and (value < self.high if self.below else value <= self.high))

    def __str__(self) -> str:
        """In words: `"above 0"`, `"from 0 to below 1"`."""
        if not math.isfinite(self.high):
            return f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        start = f"above {self.low:g} and" if self.above else f"from {self.low:g} to"
        end = f"below {self.high:g}" if self.below else f"{'at most ' if self.above else ''}{self.high:g}"
        return f"{start} {end}"


Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
ShareBelowOne = Annotated[float, Range(0, 1, below=True)]
Fraction = Annotated[float, Range(0, 1, above=True, below=True)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]


class Checked:
    """A frozen dataclass of options that is held to its types when it is made.

    Raises:
        OptionError: an option of another type, not finite, or out of the range its type states.
    """

    def __post_init__(self) -> None:
        check(self)


def check(options: Any) -> None:
    """Hold a dataclass of options to its types.

    Raises:
        OptionError: an option of another type, not finite, or out of the range its type states.
    """
    cls = type(options)
    name = getattr(cls, "name", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower())
    usual = {f.name: f.default for f in dataclasses.fields(options)}
    for option, hint in _hints(cls).items():
        value = getattr(options, option)
        if isinstance(value, str) and typing.get_origin(hint) is typing.Literal and _expected(value, hint):
            raise unknown(option, value, map(str, typing.get_args(hint)), f"of {name}")
        default = usual[option]
        plain = default is not dataclasses.MISSING and isinstance(default, bool | int | float | str)
        check_value(
            f"{name}: {option}", value, hint, f" Leave it out for the usual {default}." if plain else ""
        )


def check_value(name: str, value: Any, hint: Any, way: str = "") -> None:
    """Hold one value to a type, such as `Count | None`.

    Args:
        name: what it is, for the message.
        value: it.
        hint: the type.
        way: out of it, for the message.

    Raises:
        OptionError: another type, not finite, or out of the range the type states.
    """
    if expected := _expected(value, hint):
        raise OptionError(f"{name} must be {expected}, found {value!r}.{way}")


def range_of(hint: Any) -> str:
    """The range that a type states, in words; empty where it states none."""
    if typing.get_origin(hint) is Annotated:
        return " and ".join(str(r) for r in hint.__metadata__ if isinstance(r, Range))
    return next(filter(None, map(range_of, typing.get_args(hint))), "")


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError:
        # a method that somebody wrote inside a function names types that can be seen there alone
        return {}
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _expected(value: Any, hint: Any) -> str:
    """What was expected in the place of `value`, in words; empty where `value` will do."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if wrong := _expected(value, arguments[0]):
            return f"{wrong}, {range_of(hint)}"
        ranges = [r for r in hint.__metadata__ if isinstance(r, Range)]
        return "" if all(value in r for r in ranges) else range_of(hint)
    if origin is typing.Literal:
        fine = isinstance(value, bool | int | str) and value in arguments
        return "" if fine else " or ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        wrong = [_expected(value, one) for one in arguments]
        return " or ".join(wrong) if all(wrong) else ""
    if origin is tuple:
        return _expected_of_each(value, arguments)
    return _expected_of_one(value, hint) if isinstance(hint, type) else ""


def _expected_of_each(values: Any, hints: tuple[Any, ...]) -> str:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return "a tuple"
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(values)
    if len(hints) != len(values):
        return f"{len(hints)} values"
    wrong = next(filter(None, map(_expected, values, hints)), "")
    return wrong and f"a tuple of values, each {wrong}"


_NUMBERS = {int: (Integral, "a whole number"), float: (Real, "a finite number")}
_WORDS = {bool: "True or False", str: "text"}


def _expected_of_one(value: Any, kind: type) -> str:
    if kind is type(None):
        return "" if value is None else "none"
    if kind not in _NUMBERS:
        return "" if isinstance(value, kind) else _WORDS.get(kind, f"a {kind.__name__}")
    number, words = _NUMBERS[kind]
    fine = isinstance(value, number) and not isinstance(value, bool)
    return "" if fine and math.isfinite(value) else words
