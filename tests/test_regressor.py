"""The network that answers with a transform: its numbers, its backbones, what it learns from, and its method."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from coincide.data.synthesis import Artefacts, Bend, Motion, Synthesis
from coincide.errors import DimensionError, MissingPackageError, OptionError
from coincide.methods import Status, parse
from coincide.methods.learned import regressor
from coincide.methods.learned.regressor import Regressor, held
from coincide.networks import RegressorNetwork, make, pack, unpack, weights
from coincide.networks.backbones import BACKBONES
from coincide.networks.parametrisation import Pose, Raw
from coincide.networks.regressor import Answer
from coincide.networks.sequence import laid
from coincide.training.loop import train
from coincide.training.parse import filled
from coincide.training.recipe import Recipe
from coincide.training.regressor import RegressorTask
from coincide.transforms import Affine, Displacement, rotation_matrix
from coincide.transforms.linear import about
from phantom import anatomy, error_mm, grid_around, known, known_affine, known_pair

SMALL = {"shape": 16, "spacing": 12.0, "channels": (6, 8, 12)}
CLEAN = Synthesis(
    anatomies=("brain",),
    pose=Motion(0, 0, 0, 0),
    motion=Motion(50, 10, 0.1, 0.05),
    bend=Bend(0),
    artefacts=Artefacts(rate=0),
    alike=1.0,
)
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def small(dim=3, **options):
    torch.manual_seed(3)
    return RegressorNetwork(dim, **{**SMALL, **options})


def batch_of(task, network, seeds=(4,)):
    items = [task.pairs(network, seed)[0] for seed in seeds]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


# --- the numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Pose, Raw])
@pytest.mark.parametrize("model", ["rigid", "affine"])
@pytest.mark.parametrize("dim", [2, 3])
def test_numbers_and_matrices_stand_for_each_other(kind, model, dim):
    numbers = kind(dim, model)
    torch.manual_seed(1)
    still = numbers.numbers(torch.eye(dim + 1)[None])
    torch.testing.assert_close(numbers.matrix(still)[0], torch.eye(dim + 1))
    matrices = numbers.matrix(still + 0.4 * torch.randn(6, numbers.size))
    torch.testing.assert_close(numbers.matrix(numbers.numbers(matrices)), matrices, atol=1e-5, rtol=1e-5)


def test_angles_are_those_of_scipy():
    angles, shift = (0.7, -0.4, 1.9), (0.1, -0.2, 0.3)
    found = Raw(3, "rigid").matrix(torch.tensor([[*angles, *shift]]))[0].numpy()
    np.testing.assert_allclose(found[:3, :3], Rotation.from_euler("XYZ", angles).as_matrix(), atol=1e-6)
    np.testing.assert_allclose(found[:3, 3], shift)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_pose_is_a_rotation_whatever_the_numbers_and_scales_and_shears_come_before_it(dim):
    torch.manual_seed(2)
    rigid = Pose(dim, "rigid")
    rotations = rigid.matrix(3 * torch.randn(20, rigid.size))[:, :dim, :dim]
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(dim).expand(20, -1, -1), atol=1e-5, rtol=0)
    assert bool((torch.linalg.det(rotations) > 0).all())
    turn = Rotation.from_euler("zyx", (170, -60, 95), degrees=True).as_matrix()
    turn = turn if dim == 3 else rotation_matrix(170.0)
    stretch = np.array([[1.2, 0.1, -0.05], [0, 0.9, 0.2], [0, 0, 1.1]])[:dim, :dim]
    matrix = torch.eye(dim + 1)[None]
    matrix[0, :dim, :dim] = torch.from_numpy(turn @ stretch)
    found = Pose(dim, "affine").numbers(matrix)[0].numpy()
    first = dim * (dim - 1)
    np.testing.assert_allclose(found[:first].reshape(-1, dim), turn.T[:-1], atol=1e-6)
    np.testing.assert_allclose(found[first : first + dim], np.log(np.diag(stretch)), atol=1e-6)


# --- the network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dim"),
    [(name, dim) for name in BACKBONES for dim in (2, 3) if (name, dim) != ("resnet50", 2)],
)
def test_every_backbone_answers_and_learns_with_all_of_its_weights(name, dim):
    torch.manual_seed(0)
    side = 40 if name == "efficientnet" else 32  # 40 keeps more than one place on its last lattice
    head = "textbook" if name == "resnet18" else "pose"
    network = RegressorNetwork(dim, name, head, shape=side, spacing=6.0).eval()
    images = torch.rand(2, 2, 1, *(side,) * dim)
    answer = network(*images)
    assert answer.matrices.shape == (2, dim + 1, dim + 1)
    assert float((answer.matrices - torch.eye(dim + 1)).detach().abs().max()) < 0.8, (
        "it begins near nothing moving"
    )
    answer.matrices[:, :dim].square().sum().backward()
    for weight, values in network.named_parameters():
        assert values.grad is not None, weight
        assert bool(values.grad.any()), weight


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
@pytest.mark.parametrize("name", ["light", "resnet18", "efficientnet"])
def test_norms_reach_every_layer(name, norm):
    network = RegressorNetwork(2, name, shape=32, norm=norm)
    batch = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    group = sum(isinstance(m, torch.nn.GroupNorm) for m in network.modules())
    assert (batch == 0) == (norm != "batch")
    assert (group == 0) == (norm == "batch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet81"}, "unknown backbone 'resnet81'. Did you mean 'resnet18'"),
        ({"head": "poses"}, "Did you mean 'pose'"),
        ({"model": "affin"}, "Did you mean 'affine'"),
        ({"norm": "grup"}, "Did you mean 'group'"),
        ({"shape": 33}, "even number"),
        ({"spacing": 0.0}, "positive"),
        ({"channels": [8]}, "two lattices or more"),
        ({"backbone": "resnet18", "channels": [8, 16]}, "which have their own"),
    ],
)
def test_networks_that_cannot_be_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        make("regressor", options)


def test_without_monai_its_backbones_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(MissingPackageError, match=r"coincide\[train\]"):
        RegressorNetwork(2, "resnet18")
    RegressorNetwork(2, "light")


def test_a_network_is_packed_with_its_options():
    network = small(2, head="textbook", model="rigid").eval()
    again, _ = unpack(pack("regressor", network), "here")
    images = torch.rand(2, 1, 1, 16, 16)
    torch.testing.assert_close(again(*images).matrices, network(*images).matrices)


# --- what it learns from ----------------------------------------------------------------------------------------


class Told:
    """Answers as it was told, whatever it is shown."""

    def __init__(self, network, matrices):
        self.answer = Answer(matrices, network.parametrisation.numbers(matrices))

    def __call__(self, fixed, moving):
        return self.answer


@pytest.mark.parametrize("dim", [2, 3])
def test_corners_are_off_by_what_the_shift_is(dim):
    network, task = small(dim), RegressorTask(data=CLEAN)
    batch = batch_of(task, network)
    truth = batch["matrix"].clone()
    truth[:, 0, -1] += 3
    truth[:, 1, -1] -= 4
    truth[:, :-1, -1] /= 96  # half of 16 voxels of 12 mm
    loss, numbers = task.loss(Told(network, truth), network, batch)
    assert numbers["corners_mm"] == pytest.approx(5, rel=1e-4)
    assert float(loss) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("objective", ["corners", "parameters", "similarity"])
@pytest.mark.parametrize("dim", [2, 3])
def test_every_objective_is_best_at_the_truth(dim, objective):
    network, task = small(dim), RegressorTask(data=CLEAN, objective=objective)
    batch = batch_of(task, network, (4, 7))
    truth, losses = batch["matrix"].clone(), []
    truth[:, :-1, -1] /= 96
    for share in (0.0, 0.5, 1.0):
        between = torch.lerp(torch.eye(dim + 1).expand_as(truth), truth, share)
        losses.append(float(task.loss(Told(network, between), network, batch)[0]))
    assert losses[0] > losses[1] > losses[2]
    if objective != "similarity":
        assert losses[2] == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("dim", [2, 3])
def test_further_views_are_the_moving_image_turned_and_the_truth_with_it(dim):
    network = small(dim, shape=32, spacing=6.0)
    task = RegressorTask(data=replace(CLEAN, motion=Motion(70, 4, 0.05, 0.0)), views=4)
    torch.manual_seed(5)
    fixed, moving, truth = task._seen(network, batch_of(task, network, (11,)))
    assert fixed.shape == moving.shape == (4, 1, *(32,) * dim)
    upright = laid(moving, truth).flatten(1)
    for other in range(1, 4):
        alike, apart = (float(torch.corrcoef(x[[0, other]])[0, 1]) for x in (upright, moving.flatten(1)))
        assert alike > 0.9
        assert apart < alike - 0.02, "it is another view"
    turns = Pose(dim, "rigid").matrix(Pose(dim, "rigid").numbers(truth))[1:, :dim, :dim].double()
    if dim == 3:
        assert np.degrees(Rotation.from_matrix(turns.numpy()).magnitude()).max() <= 70.1
    scales = torch.linalg.svdvals(truth[:, :dim, :dim])
    torch.testing.assert_close(scales, scales[:1].expand_as(scales), atol=1e-4, rtol=0)


@pytest.mark.parametrize("objective", ["corners", "parameters", "similarity"])
@pytest.mark.parametrize("dim", [2, 3])
def test_one_pair_is_learned_by_heart(dim, objective):
    network = small(dim, head="textbook" if objective == "parameters" else "pose")
    task = RegressorTask(data=CLEAN, objective=objective, similarity="ncc")
    batch = batch_of(task, network, (7,))
    rule, rows = torch.optim.Adam(network.parameters(), 3e-3), []
    for _ in range(80):
        loss, numbers = task.loss(network, network, batch)
        rule.zero_grad()
        loss.backward()
        rule.step()
        rows.append((float(loss.detach()), numbers["corners_mm"]))
    start, end = np.mean(rows[:3], 0), np.mean(rows[-3:], 0)
    # images that are laid on each other well enough tell little more about the truth
    assert end[0] < (0.8 if objective == "similarity" else 0.25) * start[0]
    assert end[1] < (0.9 if objective == "similarity" else 0.4) * start[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"views": 0}, "views is 0"), ({"similarity": "nmii"}, "nmi"), ({"objective": "corner"}, "corners")],
)
def test_tasks_that_cannot_be_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        filled(RegressorTask, options, "task")


class Stopped(Exception):
    pass


def test_a_run_that_stopped_goes_on_bit_for_bit(tmp_path):
    options = {**SMALL, "channels": list(SMALL["channels"])}
    recipe = Recipe(
        "regressor",
        options,
        {"views": 2, "data": {"anatomies": ["brain"]}},
        steps=4,
        batch=1,
        checkpoint=2,
        validate=2,
        kept_back=1,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(recipe, tmp_path / "whole")

    def stop(step, record):
        if "kept_back" in record:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, tmp_path / "parted", notify=stop)
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "parted", resume=True, notify=stop)
    record = train(recipe, tmp_path / "parted", resume=True)
    torch.set_num_threads(threads)
    whole, parted = ((tmp_path / n / "last.safetensors").read_bytes() for n in ("whole", "parted"))
    assert whole == parted
    assert record["start_mm"] > 0


# --- the method -------------------------------------------------------------------------------------------------


class Knowing:
    """Knows where the moving image lies, as it was told, and says how far what it is shown is from there."""

    shape, spacing, half = 32, 6.5, 104.0

    def __init__(self, truth, dim):
        self.truth, self.dim, self.laid, self.pairs = truth, dim, None, []

    def __call__(self, fixed, moving):
        cube, matrix = self.laid
        unit = about(self.half * np.eye(self.dim), cube.centre, np.zeros(self.dim)).matrix
        step = np.linalg.inv(unit) @ np.linalg.inv(matrix) @ self.truth.matrix @ unit
        found = torch.from_numpy(step)[None].float()
        self.pairs.append((fixed[0], laid(moving, found)[0]))
        return Answer(found, found)


@pytest.fixture(params=[2, 3])
def knowing(request, monkeypatch):
    """A pair turned far and stretched, and a network that knows."""
    dim = request.param
    turn = about(
        rotation_matrix((50, -40, 25)) if dim == 3 else rotation_matrix(70.0),
        (30, -20, 15)[:dim],
        np.zeros(dim),
    )
    truth = known_affine(dim) @ turn
    fixed = grid_around(dim, 4.0)
    middle = truth(np.array([[1.0, 5.0, -2.0][:dim]]))[0]
    pair = known_pair(fixed, grid_around(dim, 4.5, centre=middle, extent=(200, 200, 200)), truth)
    network, show = Knowing(truth, dim), regressor.shown

    def shown(image, grid, matrix):
        network.laid = grid, matrix
        return show(image, grid, matrix)

    monkeypatch.setattr(regressor, "shown", shown)
    monkeypatch.setattr(regressor, "chosen", lambda name, path: network)
    return pair, truth, network


def test_what_a_network_answers_is_put_into_both_worlds(knowing):
    pair, truth, network = knowing
    solution = Regressor(alone=True, turns=2, looks=2).solve(pair)
    assert solution.status is Status.SUCCEEDED
    assert error_mm(solution.transform, truth, pair.fixed.grid) < 1e-3
    assert solution.inverse is not None
    assert error_mm(solution.inverse @ truth, Affine(np.eye(pair.dim + 1)), pair.fixed.grid) < 1e-3
    assert len(network.pairs) == 2 * (2 if pair.dim == 2 else 3)
    for fixed, moved in network.pairs:
        # what the answer lays on the fixed image as training does is the fixed image
        assert np.corrcoef(fixed.numpy().ravel(), moved.numpy().ravel())[0, 1] > 0.95


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_answers_are_held_to_the_model_and_refined(knowing, model):
    pair, truth, _ = knowing
    alone = Regressor(model, alone=True, turns=0).solve(pair).transform
    points = anatomy(pair.fixed.grid)
    best = held(truth.matrix, model, points.mean(0))
    assert isinstance(alone, Affine)
    lengths = np.linalg.svd(alone.matrix[:-1, :-1])[1]
    assert np.ptp(lengths) < 1e-6 or model == "affine"
    assert model != "rigid" or lengths[0] == pytest.approx(1)
    assert np.linalg.norm(alone(points) - Affine(best)(points), axis=1).mean() < 1.5
    refined = Regressor(model).solve(pair).transform
    off = error_mm(refined, truth, pair.fixed.grid)
    assert off < (0.5 if model == "affine" else error_mm(alone, truth, pair.fixed.grid) + 1.0)


def test_a_network_that_answers_wrongly_does_no_harm(knowing):
    pair, truth, network = knowing
    near = known(pair.dim)
    pair = known_pair(grid_around(pair.dim, 4.0), grid_around(pair.dim, 4.5), near)
    network.truth = truth @ truth
    solution = Regressor("rigid", turns=2).solve(pair)
    assert error_mm(solution.transform, near, pair.fixed.grid) < 0.5
    assert any("that of the headers won" in line for line in solution.decisions)


def test_the_method_is_named_and_refuses_what_it_cannot_do(monkeypatch):
    assert parse("regressor:alone=true,turns=3") == Regressor(turns=3, alone=True)
    network = small(2).eval()
    monkeypatch.setattr(regressor, "chosen", lambda name, path: network)
    grid = grid_around(3, 20.0)
    with pytest.raises(DimensionError, match="knows 2-D images, found a 3-D pair"):
        Regressor().solve(known_pair(grid, grid, known(3)))
    flat = grid_around(2, 6.0)
    bent = replace(known_pair(flat, flat, known(2)), initial=Displacement(torch.zeros(2, *flat.shape), flat))
    with pytest.raises(OptionError, match="deformable initial"):
        Regressor().solve(bent)


def test_without_weights_it_says_how_to_come_by_some(monkeypatch):
    monkeypatch.delitem(weights.SHIPPED, "regressor", raising=False)
    weights.shipped.cache_clear()
    grid = grid_around(3, 20.0)
    with pytest.raises(OptionError, match=r"coincide train recipes/regressor.toml"):
        Regressor().solve(known_pair(grid, grid, known(3)))
