"""The network that follows a series, its made-up films and its training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.data.synthesis.series import Films, SyntheticSeries
from coincide.errors import OptionError
from coincide.networks import FlattenedNetwork, SequenceNetwork, make
from coincide.networks.matching import expected, likelihood, middles
from coincide.networks.sequence import Memory, laid
from coincide.training.loop import train
from coincide.training.recipe import Recipe
from coincide.training.sequence import SequenceTask

SMALL = {"channels": (8, 8, 12), "matched": 8, "hidden": 12}
FILMS = Films(shape=32, spacing=(7.0, 8.0), frames=5, anatomies=("blobs", "hand"))
CLEAN = replace(FILMS, noise=0.0, flicker=0.0, missing=0.0, repeated=0.0, bend=0.0, framed=0.0)


def network(dim=2, talkative=True, **options):
    """A small network; its recurrent part says something, as it would once it has learned."""
    torch.manual_seed(0)
    made = SequenceNetwork(dim, **{**SMALL, **options})
    if talkative:
        for head in (made.causal, made.both):
            torch.nn.init.normal_(head.weight, std=0.3)
    return made.eval()


def batch(films=FILMS, number=2):
    series = SyntheticSeries(films)
    items = [series[n] for n in range(number)]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def test_the_same_seed_makes_the_same_film_and_another_one_another():
    one, again, other = (
        SyntheticSeries(FILMS)[3],
        SyntheticSeries(FILMS, first=3)[0],
        SyntheticSeries(FILMS)[4],
    )
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["frames"], other["frames"])


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_the_truth_lays_every_frame_on_the_reference(seed):
    item = SyntheticSeries(replace(CLEAN, shape=64, spacing=(4.0, 4.0), anatomies=("blobs", "knee")))[seed]
    moved = laid(item["frames"], item["matrices"])
    inner = (..., slice(16, -16), slice(16, -16))
    before = (item["frames"] - item["reference"])[inner].square().mean()
    after = (moved - item["reference"])[inner].square().mean()
    assert before > 1e-4
    assert after < 0.2 * before


def test_a_film_has_missing_and_repeated_frames():
    series = SyntheticSeries(replace(FILMS, frames=12, missing=0.6, repeated=0.6, noise=0.0, flicker=0.0))
    items = [series[n] for n in range(8)]
    assert any(not item["seen"].all() for item in items)
    assert all(not item["frames"][~item["seen"]].any() for item in items)
    assert any((item["matrices"].diff(dim=0).abs().amax((1, 2)) == 0).any() for item in items)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"anatomies": ("hnd",)}, "hand"),
        ({"frames": 1}, "two frames"),
        ({"spacing": (3.0, 2.0)}, "in order"),
        ({"missing": 1.5}, "missing"),
        ({"noise": -0.1}, "noise"),
    ],
)
def test_films_that_cannot_be_made_are_refused(change, told):
    with pytest.raises(OptionError, match=told):
        replace(FILMS, **change)


def test_expected_places_are_exact_for_a_clear_match_and_ignore_a_far_rival():
    shape = torch.Size((6, 8))
    places = middles(shape, torch.zeros(1))
    scores = torch.full((1, 1, *shape), -30.0)
    scores[0, 0, 2, 3] = scores[0, 0, 2, 4] = 3.0
    scores[0, 0, 5, 0] = 2.5
    where, share = expected(scores, places)
    assert torch.allclose(where[0, 0], (places[:, 2, 3] + places[:, 2, 4]) / 2, atol=1e-5)
    assert 0.7 < float(share[0, 0]) < 0.8
    # the truth between two places that are equally likely costs less than one elsewhere
    right, wrong = likelihood(scores, where), likelihood(scores, places[:, 0, 0][None, None])
    assert float(right) < 2 < float(wrong)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_gradient_reaches_every_parameter(dim):
    made = network(dim).train()
    shape = (16,) * dim
    torch.manual_seed(1)
    course = made(
        torch.rand(1, 4, 1, *shape), torch.tensor([[True, True, False, True]]), torch.rand(1, 1, *shape)
    )
    (course.causal.square().sum() + course.both.square().sum()).backward()
    silent = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("dim", [2, 3])
def test_a_gradient_reaches_every_parameter_of_the_textbooks_network(dim):
    torch.manual_seed(1)
    made, shape = FlattenedNetwork(dim, side=6, hidden=5), (12,) * dim
    course = made(
        torch.rand(1, 4, 1, *shape), torch.tensor([[True, True, False, True]]), torch.rand(1, 1, *shape)
    )
    course.causal.square().sum().backward()
    silent = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_causal_knows_nothing_of_what_comes_and_both_does():
    made, item = network(), batch(FILMS, 1)
    later = item["frames"].clone()
    later[:, 3:] = later[:, 3:].flip(-1)
    with torch.no_grad():
        one, other = (made(frames, item["seen"], item["reference"]) for frames in (item["frames"], later))
    assert torch.equal(one.causal[:, :3], other.causal[:, :3])
    assert not torch.allclose(one.causal[:, 3:], other.causal[:, 3:])
    assert not torch.allclose(one.both[:, :3], other.both[:, :3])


@pytest.mark.parametrize("length", [1, 2, 17])
def test_any_length_and_any_size_will_do(length):
    made = network()
    with torch.no_grad():
        course = made(
            torch.rand(1, length, 1, 40, 40),
            torch.ones(1, length, dtype=torch.bool),
            torch.rand(1, 1, 40, 40),
        )
    assert course.causal.shape == course.both.shape == (1, length, 3, 3)


def test_what_a_missing_frame_holds_does_not_matter():
    made, item = network(), batch(CLEAN, 1)
    seen = torch.tensor([[False, True, False, True, True]])
    rubbish = torch.where(seen[..., None, None, None], item["frames"], torch.rand_like(item["frames"]))
    with torch.no_grad():
        one, other = (made(frames, seen, item["reference"]) for frames in (item["frames"], rubbish))
    for told in ("causal", "both", "observed"):
        assert torch.equal(getattr(one, told), getattr(other, told))
    assert torch.equal(one.observed[0, 0], torch.eye(3))
    assert torch.equal(one.observed[0, 2], one.observed[0, 1])


def test_frames_one_at_a_time_are_followed_like_all_at_once():
    made, item = network(), batch(CLEAN, 1)
    seen = torch.tensor([[False, True, True, False, True]])
    memory, found = Memory.blank(made), []
    with torch.no_grad():
        whole = made(item["frames"], seen, item["reference"]).causal[0]
        here = made.described(item["reference"])
        for frame, there in zip(item["frames"][0], seen[0]):
            matrix, memory = made.next(frame[None] if there else None, here, memory)
            found.append(matrix[0])
    assert torch.allclose(torch.stack(found), whole, atol=1e-5)


@pytest.mark.parametrize("name", ["sequence", "flattened"])
def test_it_learns_one_series_by_heart(name):
    torch.manual_seed(0)
    made = make(name, SMALL if name == "sequence" else {"side": 8, "hidden": 16})
    task = SequenceTask(CLEAN, "places" if name == "sequence" else "parameters")
    item, rule = batch(CLEAN, 1), torch.optim.Adam(made.parameters(), 5e-3)
    off = []
    for _ in range(30):
        loss, numbers = task.loss(made, made, item)
        off.append(numbers.get("causal", numbers.get("off_px")))
        rule.zero_grad()
        loss.backward()
        rule.step()
    assert off[-1] < 0.6 * off[0]


@pytest.mark.parametrize("name", ["sequence", "flattened"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(name, tmp_path):
    task = {
        "longest": 4,
        "objective": "places" if name == "sequence" else "parameters",
        "data": {"shape": 32, "spacing": [7.0, 8.0], "frames": 4, "anatomies": ["blobs"]},
    }
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in SMALL.items()}
    options = options if name == "sequence" else {"side": 8, "hidden": 16}
    recipe = Recipe(name, options, task, steps=4, batch=1, checkpoint=2, validate=4, kept_back=2)
    recipe = replace(recipe, precision="float32")
    whole = train(recipe, tmp_path / "whole")

    class Stop(Exception):
        pass

    def at_the_end(step, record):
        raise Stop

    with pytest.raises(Stop):
        train(recipe, tmp_path / "parts", notify=at_the_end)
    assert (tmp_path / "parts" / "checkpoint.pt").exists()
    again = train(recipe, tmp_path / "parts", resume=True)
    assert again["score"] == whole["score"]
    assert (tmp_path / "parts" / "last.safetensors").read_bytes() == (
        tmp_path / "whole" / "last.safetensors"
    ).read_bytes()


def test_a_task_refuses_what_does_not_fit():
    with pytest.raises(OptionError, match="multiple of 8"):
        SequenceTask(replace(FILMS, shape=36)).pairs(network(), 0)
    with pytest.raises(OptionError, match="2-D network"):
        SequenceTask(FILMS).pairs(network(3), 0)
    with pytest.raises(OptionError, match="jitter"):
        SequenceTask(FILMS, jitter=-1.0)
    with pytest.raises(OptionError, match="two or more"):
        SequenceNetwork(channels=(8,))


def test_the_textbooks_network_answers_alike():
    torch.manual_seed(0)
    course = FlattenedNetwork(side=8, hidden=8)(
        *(batch(FILMS, 2)[key] for key in ("frames", "seen", "reference"))
    )
    assert course.causal.shape == (2, 5, 3, 3)
    assert np.allclose(course.causal[..., 2, :].detach(), [0, 0, 1])
