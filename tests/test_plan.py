"""How far a run is and how long it still takes."""

from dataclasses import dataclass

import numpy as np
import pytest

import coincide
from coincide.cli.live import TimeLeft, as_words, live
from coincide.methods import AbstractMethod, Context
from coincide.methods.auto import Auto
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear
from coincide.methods.parts import Part
from coincide.methods.plan import Share, as_time, forecast, plan, seconds
from coincide.optimise.progress import Event
from coincide.similarity import LNCC, MIND

PARTS = (
    Part("start", 0, 1.0),
    Part("deformable", 1, 2.0),
    Part("deformable", 2, 6.0),
    Part("inverse", 0, 1.0),
)


def shares(*events):
    seen = []
    share = Share(seen.append, PARTS)
    for event in events:
        share(event)
    return [round(e.fraction, 6) for e in seen]


def test_shares_follow_the_seconds_of_the_parts():
    assert shares(
        Event("start"),
        Event("deformable", level=1, levels=2, iteration=5, iterations=10),
        Event("deformable", level=2, levels=2, iteration=0, iterations=10),
        Event("deformable", level=2, levels=2, iteration=10, iterations=10),
        Event("inverse"),
    ) == [0.0, 0.2, 0.3, 0.9, 0.9]


def test_what_is_done_stays_done():
    again = Event("start"), Event("never heard of"), Event("deformable", level=1, levels=2)
    assert shares(Event("inverse"), *again) == [0.9] * 4


def test_a_share_that_is_told_is_kept_and_no_plan_adds_none():
    seen = []
    Share(seen.append, PARTS)(Event("start", fraction=0.75))
    Share(seen.append, ())(Event("start"))
    assert [e.fraction for e in seen] == [0.75, None]


def test_a_part_of_all_levels_is_shared_between_them():
    parts = (Part("linear", 0, 4.0),)
    seen = []
    Share(seen.append, parts)(Event("linear", level=2, levels=4, iteration=1, iterations=2))
    assert seen[0].fraction == pytest.approx(0.375)


@pytest.mark.parametrize("method", [Auto(), Auto(transform="rigid"), Deformable(), Linear()])
def test_a_run_goes_through_its_plan(small_pair, method):
    events = []
    coincide.register(*small_pair, method, progress=events.append)
    fractions = [e.fraction for e in events if e.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] > 0.6
    (estimate,) = [e.message for e in events if e.stage == "estimate"]
    assert estimate.startswith("this takes ")


def test_more_work_is_told_to_take_longer():
    # large enough that the finest levels are not among those that are given steps for next to nothing
    grid = coincide.Grid.from_spacing((170, 172, 174), 1.0)
    values = np.random.default_rng(1).random(grid.shape, dtype=np.float32)
    pair = coincide.Pair(coincide.Image(values, grid), coincide.Image(values[::-1].copy(), grid))

    def time(method, threads=1):
        return seconds(plan(method, pair), threads)

    assert time(Linear()) < time(Auto(preset="fast")) < time(Auto()) < time(Auto(preset="accurate"))
    assert time(Deformable(similarity=LNCC())) < time(Deformable(similarity=MIND()))
    assert time(Auto(), threads=2) < time(Auto())
    assert "if the images differ in contrast" in forecast(Auto(preset="accurate"), pair, 1)
    assert "if" not in forecast(Auto(preset="accurate", similarity=MIND()), pair, 1)


@dataclass(frozen=True)
class Other(AbstractMethod):
    """A method that says nothing of how long it takes."""

    def solve(self, pair, context=Context()):
        raise NotImplementedError


def test_nothing_is_told_of_an_unknown_method(small_pair):
    assert forecast(Other(), coincide.Pair(*small_pair), 1) == ""


def test_time_left():
    left = TimeLeft()
    left.update(0.0, None)
    assert left.seconds is None
    left.update(10.0, 0.0)  # nothing of this second counts: kernels were compiled
    left.update(10.1, 0.01)
    assert left.seconds is None
    left.update(20.0, 0.25)
    assert left.seconds == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.2, "less than a second"), (59.4, "59 s"), (80, "1 min 20 s"), (3600, "60 min 00 s")],
)
def test_times_for_people(duration, text):
    assert as_time(duration) == text


def test_events_in_words():
    event = Event("deformable", level=2, levels=3, iteration=17, iterations=50, value=-0.6123456)
    assert as_words(event) == "deformable · level 2/3 · iteration 17/50 · similarity -0.61235"
    assert as_words(Event("start")) == "start"


def test_a_log_gets_a_line_for_each_level(capsys):
    with live() as progress:
        progress(Event("kernels", "compiling kernels, once"))
        for level in (1, 2):
            for iteration in range(1, 50):
                progress(Event("deformable", level=level, levels=2, iteration=iteration, iterations=50))
    said = capsys.readouterr().err.splitlines()
    assert said == ["compiling kernels, once", "deformable · level 1/2", "deformable · level 2/2"]
