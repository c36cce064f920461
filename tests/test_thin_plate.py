"""Thin-plate splines: against scipy, refitted by hand, inverted, and read from files by SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.interpolate import RBFInterpolator

from coincide.errors import DimensionError, PointsError, TransformError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_transform, write_transform
from coincide.ops._parallel import get_threads, set_threads
from coincide.ops.radial import radial_sum, solve
from coincide.transforms import (
    Affine,
    ThinPlate,
    fit_thin_plate,
    identity,
    rigid,
    rotation_matrix,
    translation,
)
from coincide.transforms.resample import resample
from coincide.transforms.thin_plate import left_out

TURN = np.array([-1.0, -1.0, 1.0])
KERNEL = {2: ("thin_plate_spline", 2), 3: ("linear", 1)}


def landmarks(dim: int, number: int = 30, bent: float = 4.0):
    """Landmarks far from the origin, longer one way, and their partners: turned, stretched and bent."""
    source = (
        np.random.default_rng(dim).uniform(-1, 1, (number, dim)) * (60, 40, 25)[:dim] + (90, -150, 40)[:dim]
    )
    turn = rigid((20, -8, 15) if dim == 3 else 20, (12, -7, 5)[:dim], source.mean(0))
    waves = bent * np.stack([np.sin(source[:, (d + 1) % dim] / 25 + d) for d in range(dim)], axis=1)
    return source, turn(source) + waves


def size_of(source: np.ndarray) -> float:
    return float(np.sqrt(((source - source.mean(0)) ** 2).sum(1).mean()))


def by_scipy(source, target, stiffness=0.0):
    kernel, order = KERNEL[source.shape[1]]
    smoothing = stiffness * size_of(source) ** order
    return RBFInterpolator(source, target, kernel=kernel, degree=1, smoothing=smoothing)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("stiffness", [0.0, 0.03, 1.0])
def test_it_is_the_spline_that_scipy_fits(dim, stiffness):
    source, target = landmarks(dim)
    places = np.random.default_rng(0).uniform(-250, 250, (500, dim))
    expected = by_scipy(source, target, stiffness)(places)
    assert np.abs(fit_thin_plate(source, target, stiffness)(places) - expected).max() < 1e-7


@pytest.mark.parametrize("dim", [2, 3])
def test_without_stiffness_it_passes_through_every_landmark(dim):
    source, target = landmarks(dim)
    assert np.abs(fit_thin_plate(source, target)(source) - target).max() < 1e-9


@pytest.mark.parametrize("dim", [2, 3])
def test_stiffness_leads_from_the_landmarks_to_the_affine_fit(dim):
    source, target = landmarks(dim)
    design = np.c_[np.ones(len(source)), source]
    affine = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    splines = [fit_thin_plate(source, target, s)(source) for s in (0, 1e-3, 1e-1, 10, 1e7)]
    missed = [np.linalg.norm(s - target) for s in splines]
    assert missed == sorted(missed)
    assert np.abs(splines[-1] - affine).max() < 1e-3


@pytest.mark.parametrize("dim", [2, 3])
def test_an_affine_motion_needs_no_bending(dim):
    source, _ = landmarks(dim)
    matrix = np.eye(dim + 1)
    matrix[:dim] += np.random.default_rng(1).normal(scale=0.2, size=(dim, dim + 1))
    spline = fit_thin_plate(source, Affine(matrix)(source), 0.0)
    assert np.abs(spline.coefficients).max() < 1e-9
    assert np.abs(spline.matrix - matrix).max() < 1e-9


def test_a_weight_counts_as_that_many_landmarks():
    source, target = landmarks(2)
    target = target + np.random.default_rng(5).normal(size=target.shape)
    twice = np.r_[source, source[:4]], np.r_[target, target[:4]]
    weights = np.where(np.arange(30) < 4, 2.0, 1.0)
    # the price of bending is per mean weight and in the unit of the landmarks' size
    stiffness = 0.1 / weights.mean() * (size_of(twice[0]) / size_of(source)) ** 2
    weighted = fit_thin_plate(source, target, stiffness, weights)
    places = np.random.default_rng(0).uniform(-250, 250, (50, 2))
    assert np.abs(weighted(places) - fit_thin_plate(*twice, 0.1)(places)).max() < 1e-6


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("stiffness", [0.0, 0.1])
def test_leaving_one_out_is_fitting_without_it(dim, stiffness):
    source, target = landmarks(dim, 14)
    errors = left_out(source, target, stiffness)
    for k in range(14):
        rest = np.arange(14) != k
        # scipy's smoothing is in mm, so the frame's size stays that of all landmarks
        kernel, order = KERNEL[dim]
        smoothing = stiffness * size_of(source) ** order
        other = RBFInterpolator(source[rest], target[rest], kernel=kernel, degree=1, smoothing=smoothing)
        assert np.abs(errors[k] - (target[k] - other(source[k : k + 1])[0])).max() < 1e-7


def cover(source: np.ndarray, spacing: float) -> Grid:
    """An oblique grid round the landmarks."""
    dim = source.shape[1]
    turn = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    local = source @ turn
    low, high = local.min(0) - 10, local.max(0) + 10
    return Grid.from_spacing(tuple(np.ceil((high - low) / spacing).astype(int)), spacing, turn @ low, turn)


@pytest.mark.parametrize(("dim", "spacing"), [(2, 1.0), (3, 3.0)])
def test_sampled_it_is_exact_on_its_grid_and_close_between(dim, spacing):
    source, target = landmarks(dim)
    spline, grid = fit_thin_plate(source, target), cover(source, spacing)
    sampled = spline.sampled(grid)
    assert np.abs(sampled(grid.points()) - spline(grid.points())).max() < 1e-4
    between = grid.world(np.random.default_rng(2).uniform(0, np.array(grid.shape) - 1, (2000, dim)))
    assert np.abs(sampled(between) - spline(between)).mean() < 0.02 * spacing
    far = grid.centre + 5000.0
    assert np.allclose(sampled(far), spline.linear(far))


@pytest.mark.parametrize("dim", [2, 3])
def test_the_inverse_undoes_it(dim):
    source, target = landmarks(dim)
    spline = fit_thin_plate(source, target, 0.01)
    inside = np.random.default_rng(3).uniform(source.min(0), source.max(0), (500, dim))
    assert np.abs(spline(inside) - inside).max() > 5
    back = spline.inverse()(spline(inside))
    limit = 0.1 * spline.grid.spacing.mean()
    assert np.linalg.norm(back - inside, axis=1).mean() < limit
    sampled = spline.sampled()
    assert np.linalg.norm(spline.inverse()(sampled(inside)) - inside, axis=1).max() < limit


def test_a_folding_spline_has_no_inverse():
    source, target = landmarks(2)
    with pytest.raises(TransformError, match=r"folds.*exchanged"):
        fit_thin_plate(source, target[np.r_[1, 0, 2:30]] + 0.0).inverse()


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
@pytest.mark.parametrize("dim", [2, 3])
def test_files_hold_what_was_sampled(dim, suffix, tmp_path):
    source, target = landmarks(dim)
    spline = fit_thin_plate(source, target, 0.01, grid=cover(source, 2.0 if dim == 2 else 6.0))
    write_transform(translation((1, 2, 3)[:dim]) @ spline, tmp_path / f"t{suffix}")
    inside = spline.grid.points().reshape(-1, dim)[::37]
    expected = spline(inside) + np.array((1, 2, 3)[:dim])
    assert np.abs(read_transform(tmp_path / f"t{suffix}")(inside) - expected).max() < 1e-4
    theirs, turn = sitk.ReadTransform(str(tmp_path / f"t{suffix}")), TURN[:dim]
    found = np.array([theirs.TransformPoint((turn * p).tolist()) for p in inside]) * turn
    assert np.abs(found - expected).max() < 1e-4


def test_images_are_resampled_through_it():
    source, target = landmarks(2)
    spline = fit_thin_plate(source, target)
    moving = Grid.from_spacing((160, 140), 1.0, target.min(0) - 10)
    ramp = Image(
        moving.points()[..., 0].astype(np.float32) - 0.3 * moving.points()[..., 1].astype(np.float32), moving
    )
    grid = Grid.from_spacing((60, 50), 1.5, source.min(0) + 5)
    where = spline(grid.points())
    warped = resample(ramp, spline, grid).numpy()[0]
    inside = moving.inside(where, 0)
    assert inside.mean() > 0.8
    assert np.abs(warped - (where[..., 0] - 0.3 * where[..., 1]))[inside].max() < 1e-2


def test_the_number_of_threads_changes_no_bit():
    before, found = get_threads(), set()
    source, target = landmarks(3, 200)
    for threads in (1, 2, 3):
        set_threads(threads)
        spline = fit_thin_plate(source, target, 0.01)
        found.add(spline(np.random.default_rng(0).uniform(-99, 99, (5000, 3))).tobytes())
    set_threads(before)
    assert len(found) == 1


LINE = np.outer(np.arange(8.0), (1, 2, -3)) + 50


@pytest.mark.parametrize(
    ("source", "options", "match"),
    [
        (np.zeros((2, 2)), {}, "at least 3"),
        (np.zeros((3, 3)), {}, "at least 4"),
        (LINE[:, :2], {}, "one line"),
        (LINE, {}, "one plane"),
        (np.random.default_rng(0).normal(size=(9, 3)) * (1, 1, 0), {}, "one plane"),
        (landmarks(2)[0], {"stiffness": -1}, "0 or more"),
        (landmarks(2)[0], {"weights": np.zeros(30)}, "above 0"),
        (landmarks(2)[0] * np.nan, {}, "finite"),
        (landmarks(2)[0][np.r_[0, 0:29]], {}, "1 and 2 .* one place"),
    ],
)
def test_landmarks_that_settle_nothing_are_refused(source, options, match):
    with pytest.raises(PointsError, match=match):
        fit_thin_plate(source, source + 1.0, **options)


def test_partners_must_fit():
    with pytest.raises(PointsError, match="partners"):
        fit_thin_plate(landmarks(2)[0], landmarks(2)[1][1:])


def test_twins_are_welcome_with_some_stiffness():
    source, target = (p[np.r_[0, 0:29]] for p in landmarks(2))
    target[0] += 2
    spline = fit_thin_plate(source, target, 0.01)
    assert np.abs(spline(source[:1]) - (target[0] + target[1]) / 2).max() < 0.5


def test_leaving_out_what_others_need_is_refused():
    with pytest.raises(PointsError, match="without one of the landmarks"):
        left_out(np.array([[0, 0], [1, 0], [2, 0], [1, 5.0]]), np.zeros((4, 2)))


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(DimensionError, match="needs centres"):
        ThinPlate(np.zeros((4, 2)), np.zeros((4, 2)), np.eye(4))
    with pytest.raises(DimensionError, match="needs centres"):
        ThinPlate(np.zeros((0, 2)), np.zeros((0, 2)), np.eye(3))
    with pytest.raises(TransformError, match="NaN"):
        ThinPlate(np.zeros((4, 2)), np.full((4, 2), np.nan), np.eye(3))


def test_one_unmoved_landmark_is_the_identity():
    spline = ThinPlate(np.zeros((1, 2)), np.zeros((1, 2)), np.eye(3))
    assert np.array_equal(spline.inverse()([[3.0, 4.0]]), identity(2)([[3.0, 4.0]]))


@pytest.mark.parametrize("dim", [2, 3])
def test_radial_sums_are_what_they_say(dim):
    rng = np.random.default_rng(dim)
    points, centres, weights = (
        rng.normal(size=(700, dim)),
        rng.normal(size=(90, dim)),
        rng.normal(size=(90, 4)),
    )
    apart = np.linalg.norm(points[:, None] - centres, axis=-1)
    thin = apart**2 * np.log(apart) if dim == 2 else -apart
    assert np.allclose(radial_sum(points, centres, weights, "thin_plate"), thin @ weights, atol=1e-10)
    wide = np.exp(-0.5 * (apart / 0.6) ** 2)
    assert np.allclose(radial_sum(points, centres, weights, "gaussian", 0.6), wide @ weights, atol=1e-10)


def test_solve_is_lapacks():
    rng = np.random.default_rng(0)
    matrix, right = rng.normal(size=(60, 60)), rng.normal(size=(60, 2))
    matrix[0, 0] = 0
    assert np.allclose(solve(matrix, right), np.linalg.solve(matrix, right), atol=1e-10)
    with pytest.raises(np.linalg.LinAlgError):
        solve(np.ones((3, 3)), np.ones((3, 1)))
