"""The pyramid network, its method, and the hybrid that refines what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.data.synthesis import Artefacts, Bend, Motion, Synthesis, draw
from coincide.errors import DimensionError, OptionError
from coincide.methods import Status, parse
from coincide.methods.classical.linear import Linear
from coincide.methods.learned import pyramid
from coincide.methods.learned.hybrid import Hybrid
from coincide.methods.learned.pyramid import Pyramid, predicted, view
from coincide.networks import PyramidNetwork, shipped
from coincide.networks.blocks import packed, parameters
from coincide.networks.flow import refined, strain, to_the_middle, warped
from coincide.ops.field import compose, exponentiate
from coincide.preprocess.normalise import normalise
from coincide.training.pyramid import PyramidTask
from coincide.transforms import Affine, Displacement
from coincide.transforms.displacement import to_world
from phantom import error_mm, grid_around, known, known_pair

SMALL = {"channels": (6, 8), "matched": 4, "rounds": (1, 2), "spacing": 5.0}


def waves(shape, dim=3, height=1.5, batch=1):
    """A smooth field with no symmetry, `(batch, dim, *shape)` in voxels."""
    place = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    rows = [
        height
        * np.sin(
            0.35 * (place * np.roll([1.0, 0.6, -0.4][:dim], d)[(...,) + (None,) * dim]).sum(0) + b + 2 * d
        )
        for b in range(batch)
        for d in range(dim)
    ]
    return torch.from_numpy(np.stack(rows).astype(np.float32)).reshape(batch, dim, *shape)


def stirred(**options):
    """A network whose heads say something, as those of a fresh one have zeros last."""
    torch.manual_seed(2)
    network = PyramidNetwork(**{**SMALL, **options}).eval()
    for weight in network.parameters():
        if not bool(weight.detach().any()):
            torch.nn.init.normal_(weight, 0, 0.3)
    return network


@pytest.mark.parametrize("dim", [2, 3])
def test_warping_with_a_gradient_is_warping_without(dim):
    images, field = torch.rand(2, 3, *(7, 9, 8)[:dim]), waves((7, 9, 8)[:dim], dim, batch=2)
    found = warped(images.requires_grad_(), field)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), warped(images.detach(), field), atol=1e-5, rtol=1e-5)


def test_the_way_over_the_middle_is_the_whole_way():
    velocity = waves((12, 10, 11))
    back, on = to_the_middle(velocity)
    whole = exponentiate(velocity[0])
    torch.testing.assert_close(
        compose(on[0], on[0])[:, 3:-3, 3:-3, 3:-3], whole[:, 3:-3, 3:-3, 3:-3], atol=0.02, rtol=0
    )
    assert float(compose(on[0], back[0])[:, 3:-3, 3:-3, 3:-3].abs().max()) < 0.05


@pytest.mark.parametrize("dim", [2, 3])
def test_refinement_keeps_what_is_linear_in_millimetres(dim):
    shape = (6, 5, 7)[:dim]
    place = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"))
    fine = np.stack(np.meshgrid(*((np.arange(2 * n) + 0.5) / 2 for n in shape), indexing="ij"))
    field, expected = (torch.from_numpy(0.3 * x[:1] - 0.2 * x[1:2] + 1).float()[None] for x in (place, fine))
    inner = (..., *(slice(1, -1),) * dim)
    # twice as many voxels to the millimetre
    torch.testing.assert_close(refined(field)[inner], 2 * expected[inner], atol=1e-5, rtol=0)


def test_strain_has_no_unit():
    place = torch.arange(8.0).reshape(8, 1, 1).expand(8, 8, 8)
    field = torch.stack([0.2 * place, 0.1 * place, 0 * place])[None]
    assert float(strain(field)) == pytest.approx(0.2**2 + 0.1**2, rel=1e-5)


def test_packing_keeps_every_voxel():
    images = torch.arange(2 * 4 * 6 * 2.0).reshape(2, 1, 4, 6, 2)
    found = packed(images)
    assert found.shape == (2, 8, 2, 3, 1)
    assert sorted(found[1, :, 1, 2, 0].tolist()) == sorted(images[1, 0, 2:, 4:].flatten().tolist())


@pytest.mark.parametrize("dim", [2, 3])
def test_swapped_images_give_the_negative(dim):
    network = stirred(dim=dim)
    fixed, moving = torch.rand(2, 2, 1, *(16, 24, 8)[:dim])
    weight = torch.tensor([0.5, 7.0])
    with torch.no_grad():
        there, back = network(fixed, moving, weight), network(moving, fixed, weight)
    assert [v.shape[2:] for v in there] == [
        tuple(n // 4 for n in fixed.shape[2:]),
        tuple(n // 2 for n in fixed.shape[2:]),
    ]
    for one, other in zip(there, back):
        assert float(one.abs().max()) > 0.01
        torch.testing.assert_close(one, -other, atol=1e-5, rtol=0)


def test_one_order_alone_is_another_network_with_the_same_weights():
    both, alone = (stirred(symmetric=way) for way in (True, False))
    fixed, moving = torch.rand(2, 1, 1, 16, 16, 16)
    weight = torch.tensor([1.0])
    with torch.no_grad():
        mean = both(fixed, moving, weight)[0]
        there, back = alone(fixed, moving, weight)[0], alone(moving, fixed, weight)[0]
    assert float((there + back).abs().max()) > 0.01
    torch.testing.assert_close(mean, (there - back) / 2, atol=1e-5, rtol=0)


def test_the_weight_is_heard_and_scales_of_intensity_are_not():
    network = stirred()
    fixed, moving = torch.rand(2, 1, 1, 16, 16, 16)
    with torch.no_grad():
        usual, smooth, scaled = (
            network(f, m, torch.tensor([w]))[-1]
            for f, m, w in (
                (fixed, moving, 1.0),
                (fixed, moving, 20.0),
                (900 * fixed - 30, 0.2 * moving + 4, 1.0),
            )
        )
    assert float((usual - smooth).abs().max()) > 1e-3
    torch.testing.assert_close(usual, scaled, atol=1e-3, rtol=0)


def test_every_number_is_learned():
    network = stirred()
    network(*torch.rand(2, 1, 1, 16, 16, 16), torch.ones(1))[-1].square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert parameters(PyramidNetwork()) < 1_000_000


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match="3 lattices are to be gone through, and the encoder has 2"):
        PyramidNetwork(channels=(4, 4), rounds=(1, 1, 1))


def task(**changes):
    data = Synthesis(
        shape=(16, 16, 16),
        spacing=(5.0, 5.0, 5.0),
        anatomies=("blobs",),
        pose=Motion(5, 5, 0.1, 0.0),
        motion=Motion(2, 2, 0.0, 0.0),
        bend=Bend(5.0, (40.0, 25.0)),
    )
    return PyramidTask(data=data, **changes)


def truth_of(velocity, spacing):
    """A batch whose truth is the flow along `velocity`, `(1, 3, *shape)` in voxels of `spacing` mm."""
    shape = velocity.shape[2:]
    truth = spacing * exponentiate(velocity[0])[None]
    return {
        "fixed": torch.rand(1, 1, *shape),
        "displacement": truth,
        "fixed_labels": torch.ones(1, 1, *shape).long(),
    }


def test_the_error_of_the_truth_is_next_to_none_and_its_gradient_points_to_it():
    network, coarse = PyramidNetwork(**SMALL), 0.6 * waves((10, 10, 10))
    batch = truth_of(refined(coarse), network.spacing)
    right = float(task()._off(network, coarse, batch))
    still = torch.zeros_like(coarse).requires_grad_()
    off = task()._off(network, still, batch)
    assert right < 0.1 * float(off.detach())
    off.sum().backward()
    assert still.grad is not None
    downhill = -still.grad.flatten()
    assert float(torch.nn.functional.cosine_similarity(downhill, coarse.flatten(), 0)) > 0.8


def test_a_few_steps_on_one_pair_are_learned():
    torch.manual_seed(0)
    network, lesson = PyramidNetwork(**SMALL), task(weights=(0.3, 0.4))
    batch = {key: value[None] for key, value in lesson.pairs(network, 3)[0].items()}
    rule, seen = torch.optim.Adam(network.parameters(), 5e-3), []
    for _ in range(30):
        loss, numbers = lesson.loss(network, network, batch)
        rule.zero_grad()
        loss.backward()
        rule.step()
        seen.append(numbers["off_mm"])
    unmoved = float(lesson._off(network, torch.zeros(1, 3, 8, 8, 8), batch))
    assert seen[-1] < 0.6 * unmoved
    score = lesson.score(network.eval(), 3, 1)
    assert score["score"] < 0.7 * score["start_mm"] == pytest.approx(0.7 * unmoved, rel=1e-3)


def test_tasks_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match="two numbers above 0, in order"):
        task(weights=(3.0, 0.1))
    network = PyramidNetwork(**SMALL)
    with pytest.raises(OptionError, match="expected 3 multiples of 4"):
        PyramidTask(data=Synthesis(shape=(16, 18, 16))).pairs(network, 0)
    with pytest.raises(OptionError, match="expected the network's 5\\.0 mm"):
        PyramidTask(data=Synthesis(shape=(16, 16, 16))).pairs(network, 0)


class StandIn(torch.nn.Module):
    """A network that answers with the velocity it was told, in voxels of its lattice, whatever it is shown."""

    spacing, multiple = 4.0, 8

    def __init__(self, height):
        super().__init__()
        self.height, self.shown = height, []

    def forward(self, fixed, moving, weight):
        self.shown.append((fixed, moving, float(weight)))
        return [waves(tuple(n // 2 for n in fixed.shape[2:]), height=self.height)]


@pytest.fixture
def pair():
    """The phantom and its known motion, on lattices of 5 mm; the fixed image's axes lie neither here nor there."""
    turned = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]], float)
    return known_pair(grid_around(3, 5.0, turned), grid_around(3, 5.0), known(3))


def use(monkeypatch, network):
    monkeypatch.setattr(pyramid, "chosen", lambda name, path: network)
    return network


def test_the_network_is_shown_both_images_on_each_other(pair):
    network = StandIn(0.0)
    fixed, moving = normalise(pair.fixed), normalise(pair.moving)
    field, grid = predicted(network, fixed, moving, known(3), 5.0)  # type: ignore[arg-type] - stands in
    one, other, weight = network.shown[0]
    assert weight == 5.0
    assert np.allclose(grid.direction, np.eye(3))
    assert all(n % 8 == 0 for n in grid.shape)
    assert np.corrcoef(one.numpy().ravel(), other.numpy().ravel())[0, 1] > 0.98
    assert not bool(field.any())
    # the anatomy is in view
    low, high = grid.index(np.array([(-50, -60, -44), (50, 60, 44)], float))
    assert (low > 0).all()
    assert (high < np.array(grid.shape) - 1).all()


def test_a_small_anatomy_is_shown_larger(pair):
    network = StandIn(0.0)
    network.spacing = 30.0
    assert float(view(pair.fixed, network).spacing.max()) < 5.0  # type: ignore[arg-type] - stands in


def test_the_result_is_the_flow_after_the_linear_part(pair, monkeypatch):
    network = use(monkeypatch, StandIn(0.7))
    pair = replace(pair, initial=known(3))
    found = Pyramid(Linear(iterations=1)).solve(pair)
    assert found.status is Status.SUCCEEDED
    linear = Pyramid(Linear(iterations=1)).linear
    start = linear.solve(pair).transform
    grid = view(normalise(pair.fixed), network)  # type: ignore[arg-type] - stands in
    field = exponentiate(refined(waves(tuple(n // 2 for n in grid.shape), height=0.7))[0])
    at = (slice(None), 9, 14, 8)
    place = grid.world((9, 14, 8))
    assert np.allclose(
        found.transform(place[None]), start((place + grid.spacing * field[at].numpy())[None]), atol=0.02
    )
    points = grid.world(np.array([(9, 14, 8), (6.3, 7.7, 9.1)]))
    assert found.inverse is not None
    assert np.allclose(found.inverse(found.transform(points)), points, atol=0.05)


@pytest.mark.parametrize("method", [Pyramid(), Hybrid()])
def test_what_a_network_cannot_do_is_refused(method, pair):
    with pytest.raises(DimensionError, match="knows volumes"):
        method.solve(known_pair(grid_around(2), grid_around(2), known(2)))
    grid = grid_around(3, 20.0)
    bent = Displacement(torch.zeros(3, *grid.shape), grid)
    with pytest.raises(OptionError, match="linear start"):
        method.solve(replace(pair, initial=bent))


def test_options_are_read_and_those_out_of_range_refused():
    assert parse("pyramid:weight=3") == Pyramid(weight=3.0)
    assert parse("hybrid") == Hybrid()
    with pytest.raises(OptionError, match="weight"):
        Pyramid(weight=0.0)
    with pytest.raises(OptionError, match="no level"):
        Hybrid(iterations=())


@pytest.mark.parametrize("height", [0.0, 2.5])
def test_a_network_that_sees_wrongly_does_no_harm_to_the_hybrid(pair, monkeypatch, height):
    use(monkeypatch, StandIn(height))
    found = Hybrid(iterations=(5,)).solve(pair)
    assert error_mm(found.transform, known(3), pair.fixed.grid) < 1.0
    values = [found.evidence[f"value_{n}"] for n in range(3)]
    assert (values[1] == pytest.approx(values[0])) == (height == 0)
    told = ["linear start", "network's field", "refined field"][int(np.argmin(values))]
    assert any(f"the {told} is the best" in sentence for sentence in found.decisions)


def test_the_optimiser_mends_what_the_network_missed(monkeypatch):
    grid = grid_around(3, 4.0)
    images = known_pair(grid, grid, known(3))
    bend = Displacement(torch.from_numpy(5 * waves(grid.shape)[0].numpy() / 1.5), grid)
    use(monkeypatch, StandIn(0.0))
    pair = known_pair(grid, grid, Affine(np.eye(4)))
    from coincide.transforms.resample import resample

    pair = replace(pair, moving=resample(images.fixed, bend.inverse(), grid))
    found = Hybrid(iterations=(60,)).solve(pair)
    values = [found.evidence[f"value_{n}"] for n in range(3)]
    assert values[2] < values[1]
    assert error_mm(found.transform, bend, grid) < 0.6 * error_mm(Affine(np.eye(4)), bend, grid)


@pytest.mark.parametrize("name", ["pyramid", "recurrent"])
def test_the_shipped_network_finds_how_a_made_up_brain_was_bent(name):
    recipe = Synthesis(
        shape=(64, 80, 64),
        spacing=(2.5, 2.5, 2.5),
        anatomies=("brain",),
        pose=Motion(0, 0, 0.05, 0.0),
        motion=Motion(0, 0, 0.0, 0.0),
        bend=Bend(5.0, (32.0, 16.0)),
        artefacts=Artefacts(rate=0.0),
    )
    network, before, after = shipped(name), [], []
    for seed in range(2):
        example = draw(recipe, 10**6 + seed)
        images = normalise(example.pair.fixed), normalise(example.pair.moving)
        field, grid = predicted(network, *images, Affine(np.eye(4)))
        found = Displacement(to_world(field, grid), grid)
        points = example.pair.fixed_points.world
        right = example.truth(points)
        before.append(np.linalg.norm(points - right, axis=1).mean())
        after.append(np.linalg.norm(found(points) - right, axis=1).mean())
    assert np.mean(after) < 0.7 * np.mean(before)
