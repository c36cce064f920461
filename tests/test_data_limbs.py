"""Made-up hands and knees in three dimensions, and what else their radiographs show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.data.synthesis import acquisition
from coincide.data.synthesis._ray_kernels import project
from coincide.data.synthesis.film import Rays, radiograph
from coincide.data.synthesis.limbs import STILL, Bearing, limb
from coincide.data.synthesis.series import Films, SyntheticSeries
from coincide.data.synthesis.structures import STRUCTURES
from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.ops.sample import sample

GRID = Grid.from_spacing((64, 64), 2.0)
ALL = Rays(solid=1.0, bent=1.0, implants=1.0, scatter=1.0, collimated=1.0)
CLEAN = Films(
    shape=96, spacing=(2.5, 2.5), frames=5, anatomies=("hand", "knee"), bend=0.0, flicker=0.0, noise=0.0
)


def thickness(*rods, shape=(41, 31), step=0.5):
    """Millimetres of matter along rays through a picture about the origin."""
    spans, labels = np.zeros((*shape, 8, 2), np.float32), np.zeros(shape, np.int16)
    origin, steps = -(np.array(shape) - 1) / 2 * step, np.full(2, step)
    names = np.arange(1, len(rods) + 1).astype(np.int16)
    rows, still = np.array(rods, float), np.zeros(shape, np.float32)
    project(spans, labels, np.full(shape, 1e9), origin, steps, still, rows, names, 0.0)
    return np.maximum(spans[..., 1] - spans[..., 0], 0).sum(-1), labels


def test_a_ray_meets_as_much_of_a_round_cone_as_geometry_says():
    x = (np.arange(41) - 20) * 0.5
    ball, _ = thickness((0, 0, 5, 0, 0, 5, 6, 6))
    assert ball[:, 15] == pytest.approx(2 * np.sqrt(np.maximum(36 - x**2, 0)), abs=1e-4)
    # a rod that leans against the rays is crossed slantwise
    for lean in (0.0, 30.0, 60.0):
        c, s = 40 * np.cos(np.deg2rad(lean)), 40 * np.sin(np.deg2rad(lean))
        found, _ = thickness((0, -c, -s, 0, c, s, 4, 4))
        expected = 2 * np.sqrt(np.maximum(16 - x**2, 0)) / np.cos(np.deg2rad(lean))
        assert found[:, 15] == pytest.approx(expected, abs=1e-3)
    # along the rays: its whole length, and half a ball at either end
    assert thickness((0, 0, -7, 0, 0, 7, 3, 3))[0][20, 15] == pytest.approx(20)
    # a cone, against many thin slices of it
    cone = (0.0, -6, -3, 0, 6, 5, 5, 2)
    share = np.linspace(0, 1, 20001)[:, None]
    centres, radii = np.array(cone[:3]) + share * np.subtract(cone[3:6], cone[:3]), 5 - 3 * share[:, 0]
    for i, j in ((20, 15), (24, 9), (17, 22)):
        place = np.array([(i - 20) * 0.5, (j - 15) * 0.5])
        left = radii**2 - ((centres[:, :2] - place) ** 2).sum(1)
        half = np.sqrt(np.maximum(left, 0))[left > 0]
        z = centres[left > 0, 2]
        truth = (z + half).max() - (z - half).min()
        # the cone's mantle is measured across its axis: a little less than balls along it fill
        assert truth * 0.93 < thickness(cone)[0][i, j] <= truth + 1e-3


def test_stretches_of_a_ray_are_joined_where_they_meet_and_added_where_not():
    one, far, near = (0, 0, 0, 0, 0, 0, 3, 3), (0, 0, 20, 0, 0, 20, 2, 2), (0, 0, 4, 0, 0, 4, 3, 3)
    total, labels = thickness(far, one)
    assert total[20, 15] == pytest.approx(10)
    assert labels[20, 15] == 2  # what is nearer to the viewer
    assert thickness(one, near)[0][20, 15] == pytest.approx(10)
    # one that bridges the gap between two
    assert thickness(one, far, (0, 0, 2, 0, 0, 19, 1, 1))[0][20, 15] == pytest.approx(25)


@pytest.mark.parametrize("name", ["hand", "knee"])
def test_joints_bend_and_the_rest_of_the_limb_keeps_still(name):
    told = [STRUCTURES[part].label for part in STILL[name]]
    straight, bent = (
        limb(np.random.default_rng(3), GRID, name, Bearing(share), False) for share in (0.0, 0.9)
    )
    assert straight.labels.shape == bent.labels.shape
    both = np.isin(straight.labels, told) & np.isin(bent.labels, told)
    assert both.sum() > 0.6 * np.isin(straight.labels, told).sum()
    assert (straight.labels[both] == bent.labels[both]).mean() > 0.98
    moved = [STRUCTURES[n].label for n in ("distal phalanx 3", "tibia")]
    first, second = (np.argwhere(np.isin(a.labels, moved)).mean(0) for a in (straight, bent))
    assert np.linalg.norm(first - second) > 10


def test_metal_is_there_where_it_is_asked_for_and_nothing_else_is_drawn_anew():
    for seed in range(4):
        plain, metal = (
            limb(np.random.default_rng(seed), GRID, "knee", Bearing(0.2), m) for m in (False, True)
        )
        assert plain.layers is not None
        assert metal.layers is not None
        assert plain.layers[3].max() == 0
        assert 2 < metal.layers[3].max() < 200
        assert np.array_equal(plain.layers[0], metal.layers[0])


def test_scatter_takes_contrast_away_around_what_is_dense():
    layers = np.zeros((1, 80, 80), np.float32)
    layers[0, 30:50, 30:50] = 40
    detail = np.zeros((80, 80), np.float32)
    plain, foggy = (
        radiograph(np.random.default_rng(1), layers, ("soft",), detail, scatter, 8.0) for scatter in (0, 1.0)
    )
    apart = [abs(p[40, 40] - p[5, 5]) for p in (plain, foggy)]
    assert 0.4 * apart[0] < apart[1] < 0.85 * apart[0]


def test_a_diaphragm_is_open_in_the_middle_and_shut_at_the_edge():
    kinds = [acquisition.diaphragm(np.random.default_rng(seed), (60, 60), 0.25) for seed in range(20)]
    assert all(k.min() >= 0 and k.max() == 1 for k in kinds)
    assert np.mean([k[30, 30] for k in kinds]) > 0.95
    assert 0.3 < np.mean(kinds) < 0.95
    assert sum(0 < k.mean() < 1 for k in kinds) == 20


def test_rays_that_show_nothing_more_change_no_series():
    films = Films(shape=32, spacing=(7.0, 8.0), frames=3, anatomies=("hand",))
    plain, other = (SyntheticSeries(f)[5] for f in (films, replace(films, rays=Rays(bent=1.0))))
    assert all(torch.equal(plain[key], other[key]) for key in plain)
    full = SyntheticSeries(replace(films, rays=ALL))[5]
    assert not torch.equal(plain["frames"], full["frames"])
    assert torch.equal(full["frames"], SyntheticSeries(replace(films, rays=ALL))[5]["frames"])


@pytest.mark.parametrize("seed", [1, 2, 6])
def test_what_keeps_still_lies_where_the_truth_says(seed):
    films = replace(
        CLEAN, missing=0.0, repeated=0.0, framed=0.0, rays=Rays(solid=1.0, bent=1.0, implants=1.0)
    )
    item = SyntheticSeries(films, points=200)[seed]
    number = int((item["matrices"] - torch.eye(3)).abs().amax((1, 2)).argmax())
    here = torch.cat([item["points"], torch.ones(200, 1)], 1)
    there = here @ item["matrices"][number].T

    def seen(image, places):
        index = (places[:, :2].T * 48 + 47.5).double().contiguous()
        return sample(image, index, "linear", "edge")[0]

    frame = item["frames"][number]
    right, wrong = (
        float((seen(frame, p) - seen(item["reference"], here)).abs().median()) for p in (there, here)
    )
    assert right < 0.04
    assert right < wrong


@pytest.mark.parametrize("options", [{"solid": 1.5}, {"scatter": -1.0}, {"bent": -0.1}])
def test_rays_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError, match="of the rays"):
        Rays(**options)
