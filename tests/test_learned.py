"""The keypoint method: what the network sees, and that a network which sees wrongly does no harm."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.data.synthesis import Artefacts, Bend, Motion, Synthesis, draw
from coincide.errors import DimensionError, OptionError
from coincide.methods import Status, parse
from coincide.methods.learned import keypoints
from coincide.methods.learned.keypoints import Keypoints, look
from coincide.networks import KeypointNetwork, shipped
from coincide.networks import Keypoints as Found
from coincide.preprocess.normalise import normalise
from coincide.transforms import Affine, Displacement, rotation_matrix
from coincide.transforms.linear import about
from phantom import grid_around, head, known, known_pair, picture

PLACES = np.array(
    [(-30, 40, 10), (30, 40, 10), (-35, -40, 0), (35, -40, 0), (0, 0, 50), (0, -20, -45)], float
)
"""Where the stand-in below sees its keypoints in the phantom's own world, mm."""


class StandIn(torch.nn.Module):
    """A network that knows where the anatomy lies in every cube it is shown, as it was told beforehand."""

    shape, spacing = 32, 6.5

    def __init__(self, truth, mass=1.0):
        super().__init__()
        self.truth, self.mass, self.shown, self.origins = truth, mass, [], []

    def forward(self, images):
        self.shown.append(images)
        index = (self.origins.pop(0) - np.zeros(3)) / self.spacing
        return Found(torch.from_numpy(index)[None], torch.full((1, len(PLACES)), self.mass), images)


@pytest.fixture(scope="module")
def pair():
    """Two pictures of the phantom, the moving one turned by 70° about a slanted axis and shifted."""
    turn = about(rotation_matrix((50, -40, 25)), (30, -20, 15), (0, 0, 0))
    truth = known(3) @ turn
    fixed = grid_around(3, 4.0)
    moving = grid_around(3, 4.5, centre=truth(np.array([[1.0, 5.0, -2.0]]))[0], extent=(200, 200, 200))
    return known_pair(fixed, moving, truth), truth


def off(transform, truth) -> float:
    """Mean distance, mm, between where two transforms put the places."""
    return float(np.linalg.norm(transform(PLACES) - truth(PLACES), axis=1).mean())


def test_the_method_is_named_and_refuses_what_it_cannot_do(pair):
    assert parse("keypoints:model=rigid") == Keypoints("rigid")
    with pytest.raises(OptionError, match="looks must be 1 or more, found 0"):
        Keypoints(looks=0)
    with pytest.raises(OptionError, match="unknown model"):
        Keypoints("bent")  # type: ignore[arg-type]
    with pytest.raises(DimensionError, match="heads in 3-D"):
        Keypoints().solve(known_pair(grid_around(2), grid_around(2), known(2)))
    grid = grid_around(3, 20.0)
    bent = Displacement(torch.zeros(3, *grid.shape), grid)
    with pytest.raises(OptionError, match="deformable initial"):
        Keypoints().solve(replace(pair[0], initial=bent))


def test_what_a_network_sees_is_put_into_both_worlds(pair, monkeypatch):
    images, truth = pair
    network = StandIn(truth)

    def find(net, image, cube, matrix):
        # the places where the anatomy lies in this cube, seen through the matrix
        here = PLACES if image.name == "fixed" else Affine(matrix).inverse()(truth(PLACES))
        net.origins.append(here - cube.origin)
        return found(net, image, cube, matrix)

    found = keypoints._find
    monkeypatch.setattr(keypoints, "_find", find)
    seen = look(network, normalise(images.fixed), normalise(images.moving), looks=3)
    (view,) = seen.found
    assert np.allclose(view.fixed, PLACES, atol=1e-4)
    assert np.allclose(view.moving, truth(PLACES), atol=1e-4)
    assert np.allclose(view.weight, 1)
    # the truth here is a rigid motion, so a rigid fit is exact
    assert off(Affine(view.matrix), truth) < 1e-3
    # the second look shows the moving image as the fixed one stands
    here, turned, again, _ = (shown[0, 0].numpy().ravel() for shown in network.shown)
    assert np.corrcoef(here, turned)[0, 1] < 0.95 < 0.99 < np.corrcoef(here, again)[0, 1]


def test_what_lies_outside_the_moving_image_is_dark(pair):
    images, truth = pair
    network = StandIn(truth)
    network.origins = [PLACES, PLACES]
    look(network, normalise(images.fixed), normalise(images.moving.with_data(images.moving.data + 500)))
    shown = network.shown[1][0, 0]
    assert float(shown[0, 0, 0]) == float(shown.min())


@pytest.mark.parametrize("mass", [0.0, 1.0])
def test_a_network_that_sees_wrongly_does_no_harm(monkeypatch, mass):
    small = grid_around(3, 5.0)
    images = known_pair(small, grid_around(3, 5.0), known(3))
    network = StandIn(None, mass)
    wrong = PLACES[::-1] * 0.3
    network.origins = [PLACES, *[wrong + 20 * n for n in range(6)]]
    monkeypatch.setattr(keypoints, "chosen", lambda name, path: network)
    solution = Keypoints("rigid", turns=2).solve(images)
    assert solution.status is Status.SUCCEEDED
    assert off(solution.transform, known(3)) < 1.0
    assert solution.evidence["keypoint_starts"] == (0 if mass == 0 else 3)
    assert (solution.matches is None) == (mass == 0)


def test_an_untrained_network_runs_through():
    network = KeypointNetwork(keypoints=6, shape=32, spacing=6.5).eval()
    image = normalise(picture(grid_around(3, 6.0)))
    (view,) = look(network, image, image).found
    # the same image gives the same keypoints, wherever they are
    assert off(Affine(view.matrix), Affine(np.eye(4))) < 1e-3
    assert head(np.zeros(3)) > 0, "the phantom's origin lies inside it"


def test_pairs_that_count_less_are_drawn_paler(pair):
    from coincide.features.matches import Matches
    from coincide.registration import register
    from coincide.report.matches import draw_matches
    from coincide.report.scene import look as set_scene

    images, truth = pair
    scene = set_scene(register(images, Keypoints("rigid", turns=0, looks=1)))
    drawn = []
    for weight in (None, np.ones(len(PLACES)), np.full(len(PLACES), 0.3)):
        matches = Matches(PLACES, truth(PLACES), np.ones(len(PLACES), bool), weight)
        drawn.append(np.concatenate([p.ravel() for p in draw_matches(scene, matches)]))
    bare = np.concatenate(
        [p.ravel() for p in draw_matches(scene, Matches(PLACES[:0], PLACES[:0], np.zeros(0, bool)))]
    )
    assert np.array_equal(drawn[0], drawn[1])
    assert 0 < np.abs(drawn[2] - bare).sum() < 0.6 * np.abs(drawn[0] - bare).sum()


def test_the_shipped_network_sees_where_a_made_up_brain_lies():
    recipe = Synthesis(
        shape=(48, 48, 48),
        spacing=(4.5, 4.5, 4.5),
        anatomies=("brain",),
        pose=Motion(0, 0, 0.05, 0.02),
        motion=Motion(40, 40, 0.05, 0.02),
        bend=Bend(2.0),
        artefacts=Artefacts(rate=0.0),
    )
    before, after = [], []
    for seed in range(6):
        example = draw(recipe, 10**6 + seed)
        images = normalise(example.pair.fixed), normalise(example.pair.moving)
        (view,) = look(shipped("keypoints"), *images, looks=3).found
        points = example.pair.fixed_points.world
        right = example.truth(points)
        # where the middles of both images would be laid on each other: the shift is no feat of the network
        before.append(np.linalg.norm(points - points.mean(0) + right.mean(0) - right, axis=1).mean())
        after.append(np.linalg.norm(Affine(view.matrix)(points) - right, axis=1).mean())
    assert np.mean(after) < 0.6 * np.mean(before)
