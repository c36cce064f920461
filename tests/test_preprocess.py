"""What is done to images before they are registered."""

import numpy as np
import pytest
import torch

from coincide.errors import IntensityError
from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.check import check_registrable
from coincide.preprocess.foreground import bounding_box, foreground_weights, moments
from coincide.preprocess.normalise import normalise, robust_range
from coincide.preprocess.shrink import coarse_grid, resample_smooth, shrink
from coincide.transforms import rigid, rotation_matrix
from phantom import grid_around, head, picture

GRID = grid_around(3, 5.0)


def box_image(shape=(20, 18, 16), low=(3, 4, 5), high=(9, 14, 12)):
    data = np.zeros(shape, np.float32)
    data[tuple(slice(a, b) for a, b in zip(low, high))] = 1.0
    return Image(data, Grid.from_spacing(shape, (1.0, 2.0, 3.0), (5, 6, 7)))


@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (1000, -500), (1e-6, 1e-5)])
def test_normalising_takes_gain_and_offset_away(gain, offset):
    scan = picture(GRID)
    changed = scan.with_data((scan.data.double() * gain + offset).float())
    np.testing.assert_allclose(normalise(changed).data, normalise(scan).data, atol=2e-3)
    found = normalise(scan).data
    assert found.dtype == torch.float32
    assert 0.9 < float(found.max()) <= 1.5
    assert float(found.min()) >= -0.1


def test_outliers_do_not_set_the_range():
    scan = picture(GRID)
    data = scan.data.clone()
    data.view(-1)[::997] = 1e6
    assert robust_range(scan.with_data(data)) == pytest.approx(robust_range(scan), rel=0.05, abs=5)


def test_air_of_one_value_is_left_out():
    scan = picture(GRID, noise=0)
    padded = Image(
        torch.nn.functional.pad(scan.data, [20] * 6), Grid([n + 40 for n in GRID.shape], np.eye(4))
    )
    assert robust_range(padded)[1] == pytest.approx(robust_range(scan)[1], rel=0.05)


def test_only_the_mask_sets_the_range():
    scan = picture(GRID)
    mask = torch.from_numpy(head(GRID.points()) > 0.2)
    garbage = torch.where(mask, scan.data, torch.full_like(scan.data, 1e5))
    assert robust_range(scan.with_data(garbage, mask=mask)) == robust_range(scan.with_mask(mask))


def test_a_lone_structure_between_samples_is_found():
    # every n-th voxel is looked at first; here all of those are the same
    data = torch.zeros((1, 1000, 600))
    data[0, :, 1::3] = 1.0
    low, high = robust_range(Image(data[:, :, : 600 - 600 % 3], Grid((1000, 600), np.eye(3))))
    assert high > low


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_is_refused(value):
    flat = Image(np.full((9, 8, 7), value, np.float32), Grid((9, 8, 7), np.eye(4)), name="flat")
    with pytest.raises(IntensityError, match=r"flat.*same value"):
        robust_range(flat)
    with pytest.raises(IntensityError, match="constant"):
        check_registrable(flat)


def test_no_numbers_are_refused_where_they_count():
    scan = picture(GRID)
    data = scan.data.clone()
    data[0, 3, 4, 5] = float("nan")
    with pytest.raises(IntensityError, match=r"1 of .* NaN"):
        check_registrable(scan.with_data(data))
    mask = torch.isfinite(data[0])
    check_registrable(scan.with_data(data, mask=mask))
    assert bool(torch.isfinite(normalise(scan.with_data(data, mask=mask)).data).all())


def test_next_to_no_voxels_are_refused():
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[3, 3, :5] = True
    with pytest.raises(IntensityError, match="5 voxels inside the mask"):
        check_registrable(picture(GRID).with_mask(mask))


def test_the_box_holds_what_there_is():
    start, stop = bounding_box(box_image().data[0], share=0.0)
    assert start.tolist() == [3, 4, 5]
    assert stop.tolist() == [9, 14, 12]
    start, stop = bounding_box(torch.zeros((5, 4, 3)))
    assert start.tolist() == [0, 0, 0]
    assert stop.tolist() == [5, 4, 3]


def test_moments_are_those_of_numpy():
    image = box_image()
    found = moments(image, image.data[0])
    points = image.grid.points()[image.data[0].bool().numpy()]
    np.testing.assert_allclose(found.centre, points.mean(0))
    np.testing.assert_allclose(found.radii, np.sort(points.std(0))[::-1])
    np.testing.assert_allclose(np.abs(found.axes), np.eye(3)[:, np.argsort(points.std(0))[::-1]], atol=1e-6)
    assert found.size == pytest.approx(np.prod(points.std(0)) ** (1 / 3))


@pytest.mark.parametrize("dim", [2, 3])
def test_moments_turn_with_the_image(dim):
    turn = rotation_matrix((20, -30, 40) if dim == 3 else 40)
    motion = rigid((20, -30, 40) if dim == 3 else 40, (10, -5, 8)[:dim], np.zeros(dim))
    grid = grid_around(dim, 4.0, extent=(200, 200, 200))
    still, moved = picture(grid, noise=0), picture(grid, motion.inverse(), noise=0)
    a, b = (moments(i, foreground_weights(normalise(i))) for i in (still, moved))
    np.testing.assert_allclose(b.centre, motion(a.centre), atol=0.5)
    np.testing.assert_allclose(b.radii, a.radii, rtol=0.02)
    lined_up = np.abs((turn @ a.axes * b.axes).sum(0))
    assert lined_up.min() > 0.97


def test_moments_of_nothing_are_those_of_the_field_of_view():
    image = box_image()
    np.testing.assert_allclose(moments(image, torch.zeros(image.grid.shape)).centre, image.grid.centre)


def test_foreground_is_what_is_bright_and_in_the_mask():
    image = normalise(picture(GRID, noise=0))
    weights = foreground_weights(image)
    shown = head(GRID.points())
    assert float(weights[torch.from_numpy(shown < 0.02)].max()) == 0
    assert float(weights[torch.from_numpy(shown > 0.3)].min()) > 0
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[5:9] = True
    assert float(foreground_weights(image.with_mask(mask))[~mask].max()) == 0


@pytest.mark.parametrize("spacing", [5.0, 11.0])
@pytest.mark.parametrize("direction", [np.eye(3), rotation_matrix((12, -25, 33))], ids=["plain", "oblique"])
def test_shrinking_shows_the_same_at_the_same_place(spacing, direction):
    scan = picture(grid_around(3, (3.5, 4.0, 5.0), direction))
    small = shrink(scan, spacing)
    assert (small.grid.spacing >= np.maximum(scan.grid.spacing, spacing) * 0.99).all()
    assert small.grid.inside(scan.grid.corners, margin=1.0).all()
    shown = head(small.grid.points()) * 400
    assert np.corrcoef(small.data[0].ravel(), shown.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(*(moments(i, i.data[0].clamp(min=0)).centre for i in (scan, small)), atol=0.8)


def test_shrinking_never_makes_finer():
    scan = picture(grid_around(3, (2.5, 3.0, 9.0)))
    np.testing.assert_allclose(coarse_grid(scan.grid, 4.0).spacing, (4, 4, 9), rtol=0.01)


def test_shrinking_does_not_alias():
    data = np.indices((40, 40, 40)).sum(0) % 2 * 100.0
    small = shrink(Image(data.astype(np.float32), Grid((40, 40, 40), np.eye(4))), 4.0)
    assert float((small.data - 50).abs()[:, 2:-2, 2:-2, 2:-2].max()) < 3


def test_a_mask_shrinks_along_and_is_never_lost():
    scan = picture(GRID)
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[:12] = True
    small = shrink(scan.with_mask(mask), 12.0)
    inside = small.grid.points()[small.mask.numpy()]
    edge = GRID.world((11.5, 0, 0))[0]
    assert inside[:, 0].max() < edge + 7
    assert small.mask.float().mean() == pytest.approx(float(mask.float().mean()), abs=0.1)
    speck = torch.zeros(GRID.shape, dtype=torch.bool)
    speck[7, 8, 9] = True
    assert bool(shrink(scan.with_mask(speck), 15.0).mask.any())


def test_resampling_through_a_matrix_looks_where_it_points():
    scan, motion = picture(grid_around(3, 3.0), noise=0), rigid((7, -11, 5), (6, -4, 3), (3, -5, 4))
    target = grid_around(3, 6.0)
    found = resample_smooth(scan.data, scan.grid, target, motion.matrix)[0].numpy()
    shown = head(motion(target.points())) * 400
    assert np.corrcoef(found.ravel(), shown.ravel())[0, 1] > 0.985
    assert np.corrcoef(found.ravel(), head(target.points()).ravel())[0, 1] < 0.95
