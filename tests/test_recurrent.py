"""The recurrent network, what it learns, and its method."""

import pytest
import torch

from coincide.data.synthesis import Bend, Motion, Synthesis
from coincide.errors import OptionError
from coincide.methods import Status, parse
from coincide.methods.classical.linear import Linear
from coincide.methods.learned import pyramid
from coincide.methods.learned.recurrent import Recurrent
from coincide.networks import PyramidNetwork, RecurrentNetwork
from coincide.networks.blocks import parameters
from coincide.networks.recurrent import pull
from coincide.training.loop import train
from coincide.training.parse import filled
from coincide.training.pyramid import PyramidTask
from coincide.training.recipe import Recipe
from phantom import error_mm, grid_around, known, known_pair


@pytest.fixture(autouse=True)
def threads():
    """One thread: exactness asks for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL = {"hidden": 6, "channels": 6, "matched": 4, "steps": (1, 2), "spacing": 5.0}
DATA = {
    "shape": [16, 16, 16],
    "spacing": [5.0, 5.0, 5.0],
    "anatomies": ["blobs"],
    "motion": {"rotation": 2, "shift": 2, "scale": 0.0, "shear": 0.0},
}


def stirred(**changes):
    """A small network whose every part has a say, last layers included."""
    torch.manual_seed(3)
    network = RecurrentNetwork(**{**SMALL, **changes})
    for layer in (network.unit.last, network.unit.tuned[-1]):
        torch.nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type] - has both
        torch.nn.init.normal_(layer.bias, std=0.1)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize("dim", [2, 3])
def test_swapped_images_give_the_negative_after_every_step(dim):
    network = stirred(dim=dim)
    fixed, moving = torch.rand(2, 2, 1, *(16, 24, 8)[:dim])
    weight = torch.tensor([0.5, 7.0])
    with torch.no_grad():
        there, back = network(fixed, moving, weight), network(moving, fixed, weight)
    assert [v.shape[2] for v in there] == [4, 8, 8]
    for one, other in zip(there, back):
        assert float(one.abs().max()) > 0.01
        torch.testing.assert_close(one, -other, atol=1e-5, rtol=0)


def test_the_weight_is_heard_and_so_is_what_was_tried_before():
    network = stirred()
    fixed, moving = torch.rand(2, 1, 1, 16, 16, 16)
    with torch.no_grad():
        usual, smooth = (network(fixed, moving, torch.tensor([w]))[-1] for w in (1.0, 20.0))
        # a unit that keeps nothing of its state, nor looks at it, proposes otherwise
        torch.nn.init.constant_(network.unit.gates.bias, -50)  # type: ignore[arg-type] - has one
        forgetful = network(fixed, moving, torch.ones(1))[-1]
    assert float((usual - smooth).abs().max()) > 1e-3
    assert float((usual - forgetful).abs().max()) > 1e-3


def test_every_number_is_learned_and_there_are_few():
    network = stirred()
    network(*torch.rand(2, 1, 1, 16, 16, 16), torch.ones(1))[-1].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
    assert parameters(RecurrentNetwork()) <= parameters(PyramidNetwork()) / 3
    assert len(RecurrentNetwork().steps) == 3
    assert 6 <= sum(RecurrentNetwork().steps) <= 8


@pytest.mark.parametrize("dim", [2, 3])
def test_the_pull_points_from_one_image_to_the_other(dim):
    at = torch.stack(torch.meshgrid(*[torch.arange(24.0)] * dim, indexing="ij"))
    shift = torch.tensor([0.6, -0.3, 0.2][:dim])

    def wave(by):
        moved = at - by[(...,) + (None,) * dim]
        return torch.stack([torch.sin(0.5 * moved[d]) for d in range(dim)])[None]

    # other(x) = one(x − shift): the flow from one to the other is the shift
    found = pull(wave(-shift / 2), wave(shift / 2))
    inner = (slice(None), slice(None), *[slice(3, -3)] * dim)
    step = found[inner].mean(tuple(range(2, 2 + dim)))[0]
    assert float(torch.nn.functional.cosine_similarity(step, shift, 0)) > 0.99
    assert 0.25 < float(step.norm() / shift.norm()) < 1
    assert torch.equal(found, -pull(wave(shift / 2), wave(-shift / 2)))


def test_steps_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match="one or more on each lattice"):
        RecurrentNetwork(steps=(2, 0))


def test_a_few_steps_on_one_pair_are_learned():
    torch.manual_seed(0)
    data = Synthesis(
        shape=(16, 16, 16),
        spacing=(5.0, 5.0, 5.0),
        anatomies=("blobs",),
        pose=Motion(5, 5, 0.1, 0.0),
        motion=Motion(2, 2, 0.0, 0.0),
        bend=Bend(5.0, (40.0, 25.0)),
    )
    network, lesson = RecurrentNetwork(**SMALL), PyramidTask(data=data, weights=(0.3, 0.4))
    batch = {key: value[None] for key, value in lesson.pairs(network, 3)[0].items()}
    rule, seen = torch.optim.Adam(network.parameters(), 1e-2), []
    for _ in range(40):
        loss, numbers = lesson.loss(network, network, batch)
        rule.zero_grad()
        loss.backward()
        rule.step()
        seen.append(numbers["off_mm"])
    unmoved = float(lesson._off(network, torch.zeros(1, 3, 8, 8, 8), batch))
    assert seen[-1] < 0.6 * unmoved


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_run_that_was_stopped_goes_on_exactly(tmp_path):
    options = {**SMALL, "steps": [1, 2]}
    tables = {"network": "recurrent", "options": options, "task": {"data": DATA}, "steps": 4, "batch": 1}
    recipe = filled(Recipe, {**tables, "checkpoint": 2, "validate": 4, "kept_back": 1}, "here")

    class Stopped(Exception):
        pass

    def look(network, first, number):
        raise Stopped

    train(recipe, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PyramidTask, "score", lambda self, *given: look(*given))
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "stopped")
    train(recipe, tmp_path / "stopped", resume=True)
    whole, stopped = (tmp_path / name / "last.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()


def test_the_method_asks_its_own_network(monkeypatch):
    asked = []

    class StandIn(torch.nn.Module):
        spacing, multiple = 4.0, 8

        def forward(self, fixed, moving, weight):
            return [torch.zeros(1, 3, *(n // 2 for n in fixed.shape[2:]))]

    monkeypatch.setattr(pyramid, "chosen", lambda name, path: asked.append((name, path)) or StandIn())
    pair = known_pair(grid_around(3, 5.0), grid_around(3, 5.0), known(3))
    found = Recurrent(Linear(iterations=20), weights="a+b").solve(pair)
    assert asked == [("recurrent", "a"), ("recurrent", "b")]
    assert found.status is Status.SUCCEEDED
    assert found.uncertainty is not None
    assert error_mm(found.transform, known(3), pair.fixed.grid) < 1.0
    assert parse("recurrent:weight=3") == Recurrent(weight=3.0)
