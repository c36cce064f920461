"""Closed outlines and their Fourier descriptors: first point, rotation, scale and reflection; on real outlines too."""

import numpy as np
import pytest
from scipy import ndimage

from coincide.errors import PointsError
from coincide.features.contours import area, closed_contours, even
from coincide.features.fourier import Descriptors, match
from coincide.features.surface import Levels, foreground_levels, mask_levels
from coincide.grid import Grid
from coincide.transforms import rotation_matrix, similarity
from shapes import depth


def odd(number: int = 300, start: float = 0.0) -> np.ndarray:
    """A closed curve with no symmetry, counter-clockwise, mm."""
    t = 2 * np.pi * (start + np.arange(number) / number)
    r = 30 + 6 * np.cos(2 * t + 0.3) + 4 * np.sin(3 * t) + 2 * np.cos(5 * t + 1)
    return np.stack([r * np.cos(t) + 7, r * np.sin(t) - 12], axis=1)


def turn_of(angle: float, found: float) -> float:
    """How far two angles lie apart, degrees."""
    return abs((found - angle + 180) % 360 - 180)


@pytest.mark.parametrize("start", [0.0, 0.3, 0.77])
@pytest.mark.parametrize("angle", [0.0, 35.0, 180.0, -110.0])
def test_rotation_scale_and_first_point_are_found(angle, start):
    truth = similarity(angle, (14, -9), 1.3, (3, 4))
    found = match(Descriptors.of(odd()), Descriptors.of(truth(odd(411, start))))
    assert turn_of(angle, found.rotation) < 0.01
    assert found.scale == pytest.approx(1.3, rel=1e-3)
    assert not found.reflected
    assert found.residual < 0.002 < 0.05 < min(found.mirror, found.other)
    np.testing.assert_allclose(found.matrix, truth.matrix, atol=0.02)
    # the first point of the moving curve is that of the fixed one at the share `start` of its length
    first = Descriptors.of(odd()).curve(1, found.start)[0]
    np.testing.assert_allclose(truth(first), Descriptors.of(truth(odd(411, start))).curve(1)[0], atol=0.1)


def test_the_sense_of_a_curve_does_not_matter():
    once, again = Descriptors.of(odd()), Descriptors.of(odd()[::-1])
    np.testing.assert_allclose(match(once, again).matrix, np.eye(3), atol=0.02)


def test_a_reflection_is_found_and_told_apart():
    flip = np.diag([1.0, -1.0, 1.0])
    truth = similarity(50, (4, 20), 0.8, (0, 0)).matrix @ flip
    moved = odd(500, 0.4) @ truth[:2, :2].T + truth[:2, 2]
    fixed, moving = Descriptors.of(odd()), Descriptors.of(moved)
    found = match(fixed, moving)
    assert found.reflected
    np.testing.assert_allclose(found.matrix, truth, atol=0.02)
    held = match(fixed, moving, reflect=False)
    assert not held.reflected
    assert np.linalg.det(held.matrix) > 0
    assert held.mirror == pytest.approx(found.residual)
    assert held.residual > 0.05


def test_an_ellipse_fits_either_way_round():
    t = 2 * np.pi * np.arange(200) / 200
    ellipse = Descriptors.of(np.stack([30 * np.cos(t), 18 * np.sin(t)], axis=1))
    found = match(ellipse, ellipse)
    assert found.other < 1e-3
    assert found.mirror < 1e-3


def test_shape_is_what_is_left():
    shape = Descriptors.of(odd()).shape
    np.testing.assert_allclose(
        shape, Descriptors.of(similarity(77, (1, 2), 2.5, (0, 0))(odd(500, 0.2))).shape, atol=2e-3
    )
    assert np.abs(shape - Descriptors.of(odd() * (1.5, 1)).shape).max() > 0.02


def test_a_curve_comes_back_from_its_descriptors():
    points = odd(8000)
    apart = np.linalg.norm(Descriptors.of(points, 80).curve(800)[:, None] - points[None], axis=-1).min(1)
    assert apart.max() < 0.05


@pytest.mark.parametrize(
    "contour", [np.zeros((20, 2)), odd(300)[:5], np.c_[np.arange(20.0), np.arange(20.0)]]
)
def test_what_has_no_shape_is_refused(contour):
    with pytest.raises(PointsError, match="no shape"):
        Descriptors.of(contour)


@pytest.mark.parametrize("flip", [1, -1])
def test_outlines_are_closed_and_counter_clockwise_in_the_world(flip):
    direction = rotation_matrix(20) @ np.diag([1.0, flip])
    grid = Grid.from_spacing((120, 90), (1.0, 1.4), direction @ (-60.0, -63.0 * flip * flip), direction)
    found = closed_contours(mask_levels(depth(grid.points()) > 0, grid))
    assert len(found) == 1
    assert area(found[0]) == pytest.approx((depth(grid.points()) > 0).sum() * 1.4, rel=0.02)
    steps = np.linalg.norm(np.diff(even(found[0], 500), axis=0), axis=1)
    assert steps.max() < 1.05 * np.median(steps)


def test_what_the_border_cuts_is_closed_along_it_and_specks_are_left_out():
    grid = Grid.from_spacing((50, 40), 2.0)
    mask = np.zeros((50, 40), np.float32)
    mask[20:45, 0:30] = 1
    mask[2:4, 35:37] = 1
    found = closed_contours(Levels(mask, grid, 0.5))
    assert len(found) == 1
    assert area(found[0]) == pytest.approx(25 * 29.5 * 4, rel=0.02)


def real_outlines(folder) -> dict:
    """Masks of real anatomy in a plane, and their pixel size, mm."""
    from coincide.api import open_image

    hand = open_image(folder / "hand_xray" / "3167.nii.gz")
    levels = foreground_levels(hand)
    found = {"hand": ((levels.values > levels.level)[::3, ::3], hand.grid.spacing * 3)}
    lungs = open_image(folder / "lung_mr" / "0004_lungs.nii.gz", kind="label")
    brain = open_image(folder / "brain" / "1036_labels.nii.gz", kind="label")
    for name, image, labels, axis in (
        ("lungs", lungs, None, 1),
        ("right ventricle", brain, [51], 0),
        ("left ventricle", brain, [52], 0),
    ):
        values = image.numpy()[0]
        mask = values > 0 if labels is None else np.isin(values, labels)
        others = tuple(a for a in range(3) if a != axis)
        found[name] = np.take(mask, int(mask.sum(others).argmax()), axis), np.delete(image.grid.spacing, axis)
    return {name: (np.pad(mask, 6), spacing) for name, (mask, spacing) in found.items()}


@pytest.mark.data
def test_real_outlines_are_found_to_a_degree_and_a_hundredth_under_noise(shared_data):
    rng = np.random.default_rng(0)
    for name, (mask, spacing) in real_outlines(shared_data).items():
        grid = Grid.from_spacing(mask.shape, spacing)
        fixed = Descriptors.of(closed_contours(Levels(ndimage.gaussian_filter(mask * 1.0, 1), grid, 0.5))[0])
        for angle in (0, 13, 77, 160, -95, -30):
            for scale in (0.7, 1.0, 1.4):
                truth = similarity(angle, (12, -7), scale, (20, 10))
                corners = truth(grid.corners)
                size = spacing * (0.9, 0.8) * scale
                shape = np.ceil(np.ptp(corners, axis=0) / size).astype(int) + 1
                other = Grid.from_spacing(tuple(shape), size, corners.min(0))
                index = np.moveaxis(grid.index(truth.inverse()(other.points())), -1, 0)
                values = ndimage.map_coordinates(mask * 1.0, index, order=1)
                values = values + 0.2 * rng.standard_normal(shape)
                smooth = ndimage.gaussian_filter(values, spacing * scale / size)
                found = match(fixed, Descriptors.of(closed_contours(Levels(smooth, other, 0.5))[0]))
                assert turn_of(angle, found.rotation) < 1.0, name
                assert found.scale == pytest.approx(scale, rel=0.01), name
                assert not found.reflected, name
