"""Regions: what is known of each, which are stable, and the motions that their centres tell."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.errors import LabelError, OptionError
from coincide.features.regions import of_labels, stable
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms import rotation_matrix, similarity
from test_features_methods import error_px, imaged, moved, real, truth_of

CLAIMED = {"coins": 0.1, "camera": 1.0, "page": 0.5}
"""Mean error in pixels on each picture."""


@pytest.mark.parametrize("dim", [2, 3])
def test_an_ellipsoid_is_described_exactly(dim):
    radii, turn = (
        np.array((14.0, 9.0, 6.0))[:dim],
        rotation_matrix(20) if dim == 2 else rotation_matrix((10, 30, -20)),
    )
    spacing = np.array((0.6, 0.8, 1.0))[:dim]
    grid = Grid.from_spacing(tuple(np.ceil(40 / spacing).astype(int)), spacing, np.full(dim, -19.0))
    local = (grid.points() - 1.5) @ turn / radii
    found = of_labels(np.where((local**2).sum(-1) < 1, 7, 0), grid)
    assert found.name.tolist() == [7]
    np.testing.assert_allclose(found.centre[0], 1.5, atol=0.05)
    # the root mean square extent of an ellipsoid is its radius over √(dim + 2)
    np.testing.assert_allclose(found.radii[0], radii / np.sqrt(dim + 2), rtol=0.01)
    np.testing.assert_allclose(np.abs(found.axes[0].T @ turn), np.eye(dim), atol=0.03)
    assert found.volume[0] == pytest.approx({2: np.pi, 3: 4 / 3 * np.pi}[dim] * radii.prod(), rel=0.01)
    assert abs(found.form[0, -1]) < 0.01
    square = of_labels(np.where((np.abs(local) < 0.7).all(-1), 7, 0), grid)
    assert abs(square.form[0, -1]) > 0.01


def test_specks_and_the_background_are_left_out():
    labels = np.zeros((20, 20), np.int64)
    labels[3:9, 3:9], labels[15, 15] = 614454277, 2
    assert of_labels(labels, Grid.from_spacing((20, 20), 1.0), least=4).name.tolist() == [614454277]


def test_stable_regions_are_the_coins():
    coins = imaged(real("coins")[:300, :300])
    found = stable(coins, 0.001, 0.3)
    bright = found.chosen((found.bright > 0) & (found.volume > 300))
    assert 14 <= len(bright) <= 22
    # round, as coins are, but for some whose shadow sticks to them
    assert np.median(np.abs(bright.form[:, 0])) < 0.1


@pytest.mark.parametrize("transform", ["rigid", "similarity", "affine"])
@pytest.mark.parametrize("name", CLAIMED)
def test_a_known_motion_is_found(name, transform):
    if (name, transform) == ("coins", "affine"):
        pytest.skip("sheared circles are ellipses: nothing says which")
    fixed = imaged(real(name)[:380, :380])
    truth = truth_of(transform, fixed.grid)
    flip = np.array([[0.0, 1.0], [1.0, 0.0]])
    pair = Pair(fixed, moved(fixed, truth, (0.9, 0.75), flip, spoiled=True))
    solution = parse(f"regions:transform={transform}").solve(pair)
    assert solution.status is Status.SUCCEEDED
    assert error_px(solution.transform, truth, fixed) < CLAIMED[name]
    np.testing.assert_allclose(solution.inverse(solution.transform([[3.0, 4.0]])), [[3.0, 4.0]])
    assert solution.evidence["chance_log10"] < -8
    assert len(solution.matches) >= 4


def lumps(world: np.ndarray) -> np.ndarray:
    """Some thirty ellipsoids of many shapes, bright ones and dark ones, in a grey box, at positions `(..., 3)` mm."""
    rng = np.random.default_rng(4)
    total = 0.4 / (1 + np.exp(np.abs(world).max(-1) - 46))
    for centre in np.stack(np.meshgrid((-31, 0, 31), (-31, 0, 31), (-32, 0, 32)), -1).reshape(-1, 3):
        turn, radii = rotation_matrix(rng.uniform(0, 180, 3)), rng.uniform(4, 11, 3)
        apart = np.linalg.norm((world - centre - rng.uniform(-4, 4, 3)) @ turn / radii, axis=-1)
        total = total + rng.choice((-0.3, 0.5)) / (1 + np.exp((apart - 1) * 6))
    return total


def test_a_known_motion_of_a_volume_is_found():
    truth = similarity((50, -35, 120), (6, -9, 4), 1.0, (0, 0, 0))
    images = []
    for grid, back in (
        (Grid.from_spacing((50, 46, 54), (2.2, 2.4, 2.0), (-54, -54, -53)), None),
        (Grid.from_spacing((64, 64, 64), 2.3, (-72, -72, -72)), truth.inverse()),
    ):
        values = lumps(grid.points() if back is None else back(grid.points()))
        noise = 0.01 * np.random.default_rng(1).standard_normal(grid.shape)
        images.append(Image((values + noise).astype(np.float32), grid))
    solution = parse("regions:transform=rigid").solve(Pair(*images))
    assert solution.status is Status.SUCCEEDED
    points = np.random.default_rng(0).uniform(-40, 40, (200, 3))
    assert np.linalg.norm(solution.transform(points) - truth(points), axis=1).mean() < 1.0


@pytest.mark.parametrize(("one", "other"), [("camera", "coins"), ("page", "camera"), ("coins", "page")])
def test_different_things_are_not_registered(one, other):
    pair = Pair(*(imaged(real(name)[:300, :300], name=name) for name in (one, other)))
    for transform in ("rigid", "affine"):
        solution = parse(f"regions:transform={transform}").solve(pair)
        assert solution.status is Status.NO_CORRESPONDENCE
        assert "no more than chance" in solution.decisions[-1]


def test_next_to_nothing_to_see_is_told():
    slope = imaged(np.linspace(0, 1, 90 * 80, dtype=np.float32).reshape(90, 80))
    solution = parse("regions").solve(Pair(slope, slope))
    assert solution.status is Status.NO_INFORMATION
    assert "too few" in solution.decisions[-1]


def spots(grid: Grid, back=None) -> np.ndarray:
    """A label map of spots of several sizes, one of them with a huge label."""
    world, values = grid.points(), np.zeros(grid.shape, np.int64)
    world = world if back is None else back(world)
    for label, centre, radius in (
        (1, (-30, 20), 7), (2, (25, 25), 9), (3, (28, -22), 6), (4, (-20, -25), 10), (614454277, (2, 3), 8),
        (6, (0, 34), 5),
    ):  # fmt: skip
        values[np.linalg.norm(world - np.array(centre), axis=-1) < radius] = label
    return values


@pytest.mark.parametrize("spec", ["regions:source=labels", "regions:use_landmarks=true"])
def test_labels_correspond_by_name(spec):
    truth = similarity(165, (5, -8), 1.2, (0, 0))
    grids = Grid.from_spacing((100, 100), 1.0, (-50, -50)), Grid.from_spacing((120, 120), 1.1, (-60, -72))
    maps = [Image(spots(g, b), g, "label") for g, b in zip(grids, (None, truth.inverse()))]
    pair = Pair(*(Image(np.zeros(g.shape, np.float32), g) for g in grids), *maps)
    solution = parse(spec).solve(pair)
    np.testing.assert_allclose(solution.transform.matrix, truth.matrix, atol=0.1)
    bent = parse(f"{spec},transform=deformable").solve(pair)
    assert np.linalg.norm(bent.transform([[3.0, 4.0]]) - truth([[3.0, 4.0]])) < 0.5
    few = replace(pair, moving_labels=replace(maps[1], data=torch.clamp(maps[1].data, max=1)))
    with pytest.raises(LabelError, match="1 regions in common, expected at least 3"):
        parse(spec).solve(replace(few, fixed_labels=maps[0]))


def test_parts_of_masks_are_matched_by_shape():
    truth = similarity(75, (5, -8), 1.0, (0, 0))
    grids = Grid.from_spacing((220, 220), 0.5, (-55, -55)), Grid.from_spacing((260, 260), 0.5, (-65, -72))
    images = []
    for grid, back in zip(grids, (None, truth.inverse())):
        world = grid.points() if back is None else back(grid.points())
        mask = np.zeros(grid.shape, bool)
        rng = np.random.default_rng(1)
        for x, y in [(x, y) for x in (-32, -11, 11, 32) for y in (-30, 0, 30)]:
            turn, radii = rotation_matrix(rng.uniform(0, 180)), rng.uniform(2.5, 9, 2)
            mask |= (((world - (x, y)) @ turn / radii) ** 2).sum(-1) < 1
        images.append(Image(np.zeros(grid.shape, np.float32), grid, mask=torch.from_numpy(mask)))
    solution = parse("regions:source=mask,transform=rigid").solve(Pair(*images))
    assert solution.status is Status.SUCCEEDED
    assert np.linalg.norm(solution.transform([[30.0, 20.0]]) - truth([[30.0, 20.0]])) < 0.5


def test_regions_grow_from_the_landmarks():
    grid = Grid.from_spacing((100, 100), 1.0, (-50, -50))
    truth = similarity(30, (2, -3), 1.0, (0, 0))
    images = [Image((spots(grid, b) > 0).astype(np.float32), grid) for b in (None, truth.inverse())]
    seeds = np.array([(-32.0, 21), (23, 26), (29, -21), (-18, -24), (3, 1)])
    pair = Pair(*images, fixed_points=Points(seeds), moving_points=Points(truth(seeds + 2)))
    solution = parse("regions:source=grown").solve(pair)
    # the seeds are carelessly placed, the centres of what grows from them are not
    assert np.linalg.norm(solution.transform(seeds) - truth(seeds), axis=1).max() < 0.3


@pytest.mark.parametrize(
    "options", ["transform=bend", "source=points", "smallest=0", "smallest=0.5", "tolerance=1"]
)
def test_odd_options_are_refused(options):
    with pytest.raises(OptionError):
        parse(f"regions:{options}")
