"""From a SPEC to a frozen dataclass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from coincide.errors import OptionError
from coincide.options import build, describe, type_name


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
        ("mill:stone=3", "option of machine 'mill' 'stone'. Did you mean 'stones'"),
        ("mill:speed=fats", "'fats'. Did you mean 'fast'"),
        ("mill:stones=many", "option stones of machine 'mill': expected int, found 'many'"),
        ("mill:stones=2.5", "expected int"),
        ("mill:wet=perhaps", "expected bool"),
        ("mill:window=1x2x3", "expected float x float, found '1x2x3'"),
        ("mill:load=heavy", "option load"),
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
