"""Closed-form fits with gradients, the keypoint network, and weights that are checked before they are used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from coincide.errors import MissingFileError, OptionError, UnreadableFileError
from coincide.networks import KeypointNetwork, make, pack, shipped, unpack, weights
from coincide.networks.blocks import Hourglass, parameters, standardised
from coincide.networks.fit import fit_weighted, moved, nearest_rotation

FOLDER = Path(weights.__file__).parent / "shipped"
SMALL = {"keypoints": 5, "channels": (4, 6, 8), "shape": 16, "spacing": 12.0}


@pytest.fixture
def clouds():
    """Two sets of points that correspond badly, with uneven weights: nothing about them is special."""
    rng = np.random.default_rng(3)
    source = rng.normal(0, (40, 25, 15), (12, 3))
    turn = Rotation.from_euler("zyx", (70, -40, 110), degrees=True).as_matrix()
    target = source @ turn.T + (30, -12, 8) + rng.normal(0, 6, source.shape)
    return source, target, rng.uniform(0.1, 2, 12)


def as_batch(*arrays):
    return tuple(torch.from_numpy(a)[None] for a in arrays)


def test_a_rigid_fit_is_that_of_scipy(clouds):
    source, target, weight = clouds
    found = fit_weighted(*as_batch(*clouds), "rigid")[0].numpy()
    middle, goal = (np.average(p, axis=0, weights=weight) for p in (source, target))
    expected = Rotation.align_vectors(target - goal, source - middle, weight)[0].as_matrix()
    assert np.allclose(found[:3, :3], expected, atol=1e-9)
    assert np.allclose(found[:3, :3] @ middle + found[:3, 3], goal, atol=1e-9)


def test_an_affine_fit_without_ridge_is_least_squares(clouds):
    source, target, weight = clouds
    found = fit_weighted(*as_batch(*clouds), "affine", ridge=0.0)[0].numpy()
    root = np.sqrt(weight)[:, None]
    expected = np.linalg.lstsq(root * np.c_[source, np.ones(12)], root * target, rcond=None)[0].T
    assert np.allclose(found[:3], expected, atol=1e-8)


def test_an_affine_fit_of_flat_points_is_held_to_the_rigid_one(clouds):
    source = clouds[0] * (1, 1, 0)
    turn = Rotation.from_euler("x", 50, degrees=True).as_matrix()
    found = fit_weighted(*as_batch(source, source @ turn.T, clouds[2]), "affine", ridge=1e-3)[0].numpy()
    assert np.allclose(found[:3, :3], turn, atol=1e-6)


def test_a_rigid_fit_never_reflects(clouds):
    source, _, weight = clouds
    found = fit_weighted(*as_batch(source, source * (-1, 1, 1), weight), "rigid")[0]
    assert float(torch.linalg.det(found[:3, :3])) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_gradients_of_fits_are_those_of_finite_differences(clouds, model):
    inputs = [t.clone().requires_grad_() for t in as_batch(*clouds)]
    points = torch.tensor([[[50.0, -30.0, 20.0]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *sets: moved(fit_weighted(*sets, model, 0.01), points), inputs)


def test_the_gradient_of_a_rotation_is_finite_where_singular_values_are_alike():
    matrix = torch.eye(3, dtype=torch.float64)[None].requires_grad_()
    nearest_rotation(matrix)[0, 0, 1].backward()
    assert matrix.grad is not None
    # half of a turn's worth each way, which a decomposition's own gradient makes NaN of
    assert torch.allclose(matrix.grad[0, 0, 1], torch.tensor(0.5, dtype=torch.float64))
    assert torch.allclose(matrix.grad[0, 1, 0], torch.tensor(-0.5, dtype=torch.float64))


@pytest.mark.parametrize("dim", [2, 3])
def test_shapes_of_what_comes_out(dim):
    network = KeypointNetwork(dim, **SMALL)
    found = network(torch.rand((2, 1) + (16,) * dim))
    assert found.centres.shape == (2, 5, dim)
    assert found.masses.shape == (2, 5)
    assert found.scores.shape == (2, 6) + (8,) * dim
    assert bool(((found.centres >= 0) & (found.centres <= 15)).all())


def test_a_keypoint_is_where_its_share_is():
    network = KeypointNetwork(3, **SMALL)
    scores = torch.zeros(1, 6, 8, 8, 8)
    scores[0, 0] = 30
    scores[0, 2, 5, 1, 6] = 60
    network.head.register_forward_hook(lambda *_: scores)
    found = network(torch.rand(1, 1, 16, 16, 16))
    # an output voxel covers two input voxels, and the first one is its middle
    assert torch.allclose(found.centres[0, 1], torch.tensor([10.0, 2.0, 12.0]), atol=1e-3)
    assert float(found.masses[0, 1]) == pytest.approx(1, abs=1e-3)


def test_scale_and_offset_of_intensities_do_not_matter():
    network = KeypointNetwork(3, **SMALL)
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.allclose(network(image).centres, network(1300 * image - 200).centres, atol=1e-3)


def test_standardised_images_of_one_value_are_zero():
    assert bool((standardised(torch.full((1, 1, 4, 4), 7.0)) == 0).all())


def test_the_usual_network_is_small():
    assert parameters(KeypointNetwork()) <= 300_000


def test_every_weight_is_used():
    network = KeypointNetwork(3, **SMALL)
    found = network(torch.rand(1, 1, 16, 16, 16))
    (found.centres.square().sum() + found.masses.square().sum()).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("options", [{"stride": 3}, {"stride": 8}, {"shape": 18}])
def test_sizes_that_do_not_fit_are_refused(options):
    with pytest.raises(OptionError, match="expected"):
        KeypointNetwork(3, **{**SMALL, **options})


def test_the_hourglass_comes_out_on_the_level_asked_for():
    image = torch.rand(1, 1, 16, 16)
    assert Hourglass(2, (4, 6, 8), 0)(image).shape == (1, 4, 16, 16)
    assert Hourglass(2, (4, 6, 8), 2)(image).shape == (1, 8, 4, 4)


def test_weights_come_back_as_they_were():
    network = KeypointNetwork(3, **SMALL).eval()
    again, notes = unpack(pack("keypoints", network, {"step": "7"}), "here")
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(network(image).centres, again(image).centres)
    assert notes["step"] == "7"
    assert again.spacing == 12.0


def test_broken_weights_are_refused():
    data = pack("keypoints", KeypointNetwork(3, **SMALL))
    for broken in (b"", b"nonsense" * 9, data[:-40], data.replace(b"head.bias", b"tail.bias")):
        with pytest.raises(UnreadableFileError, match="here: holds no network"):
            unpack(broken, "here")


def test_unknown_networks_and_options_are_refused():
    with pytest.raises(OptionError, match="Did you mean 'keypoints'"):
        make("keypoint", {})
    with pytest.raises(OptionError, match="keypoint_number"):
        make("keypoints", {"keypoint_number": 3})
    with pytest.raises(OptionError, match="unknown shipped network"):
        shipped("nothing")


def test_shipped_weights_that_were_lost_are_told_of(monkeypatch):
    shipped.cache_clear()
    monkeypatch.setitem(weights.SHIPPED, "lost", "0" * 64)
    with pytest.raises(MissingFileError, match="Install coincide again"):
        shipped("lost")


MOST = {"keypoints": 300_000, "pyramid": 1_000_000, "recurrent": 138_133}
"""Numbers that networks may have learned; 500 000 where it is not said."""


@pytest.mark.parametrize("name", sorted(weights.SHIPPED))
def test_shipped_weights_are_whole_small_and_described(name):
    shipped.cache_clear()
    network = shipped(name)
    assert parameters(network) < MOST.get(name, 500_000)
    assert not any(p.requires_grad for p in network.parameters())
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for word in ("Data", "Licence", "Recipe", "Commit", "Scores", "Limits"):
        assert f"## {word}" in card
    assert weights.SHIPPED[name] in card


def test_shipped_weights_fit_in_the_wheel():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12e6


def test_shipped_weights_that_were_changed_are_refused(monkeypatch):
    shipped.cache_clear()
    monkeypatch.setitem(weights.SHIPPED, "keypoints", "0" * 64)
    with pytest.raises(UnreadableFileError, match="is not the file that coincide ships"):
        shipped("keypoints")


@pytest.mark.parametrize("kind", ["keypoints", "pyramid"])
def test_norms_are_over_what_they_say(kind):
    networks = {norm: make(kind, {"dim": 2, "norm": norm}) for norm in ("instance", "group", "batch")}
    layers = {norm: network.body.down[0].norm for norm, network in networks.items()}
    x = torch.randn(3, layers["batch"].num_features, 5, 7) * 3 + 1
    found = {norm: layer(x) for norm, layer in layers.items()}
    assert torch.allclose(found["instance"].mean((2, 3)), torch.zeros(()), atol=1e-5)
    assert torch.allclose(found["group"][:, :4].mean((1, 2, 3)), torch.zeros(()), atol=1e-5)
    assert not torch.allclose(found["group"].mean((2, 3)), torch.zeros(()), atol=1e-2)
    assert torch.allclose(found["batch"].mean((0, 2, 3)), torch.zeros(()), atol=1e-5)
    assert not torch.allclose(found["batch"].mean((2, 3)), torch.zeros(()), atol=1e-2)
    with pytest.raises(OptionError, match="Did you mean 'batch'"):
        make(kind, {"norm": "bach"})
