"""From a SPEC to a frozen dataclass."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest

from coincide.errors import OptionError
from coincide.options import (
    Checked,
    Count,
    NotNegative,
    Positive,
    Range,
    Share,
    Whole,
    build,
    check,
    describe,
    type_name,
)


class Shape:
    pass


@dataclass(frozen=True)
class Ball(Shape):
    """A ball."""

    radius: float = 1.0


@dataclass(frozen=True)
class Mill:
    """Grinds grain.

    A longer story that no table needs.

    Args:
        stones: how many stones turn,
            counted from one.
        speed: `"slow"` or `"fast"`.
        wet: whether it runs on water.

    Raises:
        OptionError: never.
    """

    stones: int = 2
    speed: Literal["slow", "fast"] = "slow"
    wet: bool = True
    sizes: tuple[int, ...] = (4, 2, 1)
    window: tuple[float, float] = (0.0, 1.0)
    owner: str | None = None
    load: float | Literal["auto"] = "auto"
    shape: Shape | None = None
    wheel: Ball = Ball(3.0)


@dataclass(frozen=True)
class SawMill(Mill):
    """Saws wood.

    Args:
        blades: how many.
        wet: whether the wood floats in.
    """

    blades: int = 1


FAMILY = {"mill": Mill, "tide_mill": Mill}
SHAPES = {Shape: {"ball": Ball}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mill", Mill()),
        ("Mill:", Mill()),
        ("tide-mill:stones=3", Mill(stones=3)),
        ("mill(stones=3, wet=no)", Mill(stones=3, wet=False)),
        ("mill:speed=FAST,sizes=100x50x10", Mill(speed="fast", sizes=(100, 50, 10))),
        ("mill:sizes=7", Mill(sizes=(7,))),
        ("mill:window=-1.5x2e3", Mill(window=(-1.5, 2000.0))),
        ("mill:owner=Ann,load=0.5", Mill(owner="Ann", load=0.5)),
        ("mill:owner=none,load=auto", Mill()),
        ("mill:shape=ball(radius=2.5),stones=1", Mill(shape=Ball(2.5), stones=1)),
        ("mill:wheel=ball", Mill(wheel=Ball())),
    ],
)
def test_specs_that_can_be_read(spec, expected):
    assert build("machine", spec, FAMILY, SHAPES) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mil", "unknown machine 'mil'. Did you mean 'mill'"),
        ("mill:stone=3", "unknown option 'stone' of machine 'mill'. Did you mean 'stones'"),
        ("mill:speed=fats", "unknown value 'fats' of option speed of machine 'mill'. Did you mean 'fast'"),
        ("mill:stones=many", "option stones of machine 'mill': expected int, found 'many'"),
        ("mill:stones=2.5", "expected int"),
        ("mill:wet=perhaps", "expected bool"),
        ("mill:window=1x2x3", "expected float x float, found '1x2x3'"),
        ("mill:load=heavy", "option load"),
        ("mill:load=nan", "option load of machine 'mill': expected float|auto, found 'nan'"),
        ("mill:window=0xinf", "expected a finite number, found 'inf'"),
        ("mill:shape=ball(radius=-inf)", "expected a finite number, found '-inf'"),
        ("mill:stones", "expected option=value"),
        ("mill:stones=1,stones=2", "given twice"),
        ("mill:shape=ball(radius=2", "bracket"),
        ("mill:shape=ball(radis=2)", "Did you mean 'radius'"),
        ("mill stones", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_specs_that_cannot(spec, message):
    with pytest.raises(OptionError) as error:
        build("machine", spec, FAMILY, SHAPES)
    assert message in str(error.value)


def test_description_is_plain_and_takes_help_from_the_docstring():
    told = describe(Mill)
    json.dumps(told)
    assert told["summary"] == "Grinds grain."
    options = {o["name"]: o for o in told["options"]}
    assert options["stones"] == {
        "name": "stones",
        "type": "int",
        "range": "",
        "default": 2,
        "help": "how many stones turn, counted from one.",
    }
    assert options["sizes"]["default"] == "4x2x1"
    assert options["wet"]["help"] == "whether it runs on water."
    assert options["owner"]["help"] == ""
    assert options["wheel"]["default"] == "ball(radius=3.0)"


def test_inherited_options_keep_their_help():
    helps = {o["name"]: o["help"] for o in describe(SawMill)["options"]}
    assert helps["blades"] == "how many."
    assert helps["stones"] == "how many stones turn, counted from one."
    assert helps["wet"] == "whether the wood floats in."


def test_defaults_can_be_given_back():
    for option in describe(Mill)["options"]:
        assert build("machine", f"mill:{option['name']}={option['default']}", FAMILY, SHAPES) == Mill()


def test_type_names():
    assert type_name(int | None) == "int|none"
    assert type_name(Literal["a", "b"]) == "a|b"
    assert type_name(tuple[int, ...]) == "int x int x …"


@dataclass(frozen=True)
class Oven(Checked):
    """Bakes bread."""

    loaves: Count = 6
    heat: Positive = 220.0
    steam: Share = 0.5
    crust: NotNegative | None = None
    rests: tuple[Whole, ...] = (30, 0)
    door: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5
    half: Annotated[float, Range(0, 0.5, below=True)] = 0.1
    mode: Literal["gas", "wood"] = "gas"
    lit: bool = False
    baker: str = "Ann"
    shape: Shape | None = None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loaves": 0}, "oven: loaves must be 1 or more, found 0. Leave it out for the usual 6."),
        ({"loaves": 2.0}, "loaves must be a whole number, 1 or more, found 2.0"),
        ({"loaves": True}, "loaves must be a whole number, 1 or more, found True"),
        ({"loaves": "two"}, "found 'two'"),
        ({"heat": 0}, "heat must be above 0, found 0"),
        ({"heat": math.nan}, "heat must be a finite number, above 0, found nan"),
        ({"heat": np.float32(np.inf)}, "heat must be a finite number"),
        ({"steam": 1.01}, "steam must be from 0 to 1"),
        ({"crust": -1}, "crust must be 0 or more or none"),
        ({"rests": (30, -1)}, "rests must be a tuple of values, each 0 or more, found (30, -1)"),
        ({"rests": 30}, "rests must be a tuple"),
        ({"door": 1}, "door must be above 0 and below 1"),
        ({"half": 0.5}, "half must be from 0 to below 0.5"),
        ({"mode": "goss"}, "unknown mode 'goss' of oven. Did you mean 'gas'?"),
        ({"mode": None}, "mode must be gas or wood, found None"),
        ({"lit": 1}, "lit must be True or False"),
        ({"baker": 3}, "baker must be text"),
        ({"shape": 5}, "shape must be a Shape or none, found 5"),
    ],
)
def test_what_is_out_of_range_or_of_another_type_is_refused(given, message):
    with pytest.raises(OptionError) as error:
        Oven(**given)
    assert message in str(error.value)


def test_what_is_in_range_is_taken_as_it_is():
    Oven(np.int64(1), np.float32(0.1), 0, 0, [0, 3], np.float64(0.1), 0.0, "wood", True, "", Ball())
    assert describe(Oven)["options"][0]["range"] == "1 or more"
    assert describe(Oven)["options"][4] | {"help": ""} == {
        **{"name": "rests", "type": "int x int x …", "range": "0 or more"},
        **{"default": "30x0", "help": ""},
    }
    with pytest.raises(OptionError, match="above 0"):
        build("oven", "oven:heat=-5", {"oven": Oven})


def test_types_that_cannot_be_seen_from_outside_are_not_checked():
    class Hidden:
        pass

    @dataclass(frozen=True)
    class Local:
        hidden: Hidden
        number: int = 1

    check(Local(Hidden(), number="any"))
