"""Grids, images, pairs: where voxels lie, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coincide.errors import DimensionError, GeometryError, IntensityError, LabelError, MaskError, PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms import rotation_matrix, translation

OBLIQUE = Grid.from_spacing((9, 7, 5), (1.0, 2.0, 3.5), (-11.0, 4.0, 30.0), rotation_matrix((12, -25, 33)))
SHEAR = np.array([[1.0, 0.2, 0, 5], [0, 1.5, 0.3, -3], [0.1, 0, 2.0, 8], [0, 0, 0, 1]])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_index_and_world_undo_each_other(point):
    np.testing.assert_allclose(OBLIQUE.world(OBLIQUE.index(point)), point, atol=1e-9)


def test_what_a_grid_says_of_itself():
    np.testing.assert_allclose(OBLIQUE.spacing, (1, 2, 3.5))
    np.testing.assert_allclose(OBLIQUE.origin, (-11, 4, 30))
    np.testing.assert_allclose(OBLIQUE.direction, rotation_matrix((12, -25, 33)), atol=1e-12)
    assert OBLIQUE.size == 9 * 7 * 5
    assert OBLIQUE.voxel_volume == pytest.approx(7)
    np.testing.assert_allclose(OBLIQUE.index(OBLIQUE.centre), (4, 3, 2))
    assert OBLIQUE.is_orthogonal
    assert not Grid((3, 3, 3), SHEAR).is_orthogonal
    points = OBLIQUE.points()
    np.testing.assert_allclose(points[2, 3, 1], (OBLIQUE.affine @ [2, 3, 1, 1])[:3])
    np.testing.assert_allclose(points.reshape(-1, 3).mean(0), OBLIQUE.centre)
    assert OBLIQUE.corners.shape == (8, 3)


def test_inside_is_half_a_voxel_past_the_centres():
    at = OBLIQUE.world([[-0.49, 0, 0], [-0.51, 0, 0], [8.49, 6.49, 4.49], [8.49, 6.51, 4.49]])
    assert OBLIQUE.inside(at).tolist() == [True, False, True, False]
    assert OBLIQUE.inside(at, margin=0).tolist() == [False] * 4


def test_cropping_keeps_voxels_where_they_are():
    part = OBLIQUE.cropped((2, -1, 1), (6, 4, 9))
    assert part.shape == (4, 5, 8)
    np.testing.assert_allclose(part.world((1, 2, 0)), OBLIQUE.world((3, 1, 1)))


@pytest.mark.parametrize("spacing", [None, 1.5, (1.0, 2.0, 3.0)])
def test_a_sheared_grid_gets_an_orthogonal_one_that_covers_it(spacing):
    sheared = Grid((9, 8, 7), SHEAR)
    found = sheared.orthogonalised(spacing)
    assert found.is_orthogonal
    np.testing.assert_allclose(
        found.spacing, sheared.spacing if spacing is None else np.broadcast_to(spacing, 3)
    )
    assert found.inside(sheared.corners, margin=1e-6).all()
    # and is none larger than it must be
    assert (np.ptp(found.index(sheared.corners), axis=0) > np.array(found.shape) - 2.01).all()


def test_an_orthogonal_grid_stays_itself():
    assert OBLIQUE.orthogonalised().matches(OBLIQUE)


def test_grids_match_within_a_thousandth_of_a_voxel():
    near, far = OBLIQUE.affine.copy(), OBLIQUE.affine.copy()
    near[0, 3] += 5e-4
    far[0, 3] += 5e-3
    assert OBLIQUE.matches(Grid(OBLIQUE.shape, near))
    assert not OBLIQUE.matches(Grid(OBLIQUE.shape, far))
    assert not OBLIQUE.matches(Grid((9, 7, 6), OBLIQUE.affine))
    assert Grid(OBLIQUE.shape, OBLIQUE.affine) == OBLIQUE
    assert hash(Grid(OBLIQUE.shape, OBLIQUE.affine)) == hash(OBLIQUE)
    assert Grid(OBLIQUE.shape, near) != OBLIQUE


def spoilt(row, column, value):
    affine = np.eye(4)
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "error", "says"),
    [
        ((4,), np.eye(2), DimensionError, "2 or 3 dimensions"),
        ((4, 4, 4, 4), np.eye(5), DimensionError, "2 or 3 dimensions"),
        ((4, 0, 4), np.eye(4), DimensionError, "at least one voxel"),
        ((4, 4), np.eye(4), GeometryError, "3x3 affine"),
        ((4, 4, 4), spoilt(0, 0, np.nan), GeometryError, "NaN"),
        ((4, 4, 4), spoilt(0, 3, np.inf), GeometryError, "infinite"),
        ((4, 4, 4), spoilt(1, 1, 0), GeometryError, "zero"),
        (
            (4, 4, 4),
            np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
            GeometryError,
            "singular",
        ),
        ((4, 4, 4), spoilt(3, 0, 1), GeometryError, "last row"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, error, says):
    with pytest.raises(error, match=says):
        Grid(shape, affine)


def test_a_grid_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        OBLIQUE.affine[0, 0] = 2
    assert "9×7×5" in repr(OBLIQUE)


SQUARE = Grid((4, 3), np.eye(3))


def test_images_turn_integers_into_float_and_keep_labels():
    assert Image(np.ones((4, 3), np.int16), SQUARE).data.dtype == torch.float32
    assert Image(np.ones((4, 3), np.int16), SQUARE).data.shape == (1, 4, 3)
    for kind in (np.uint8, np.uint16, np.uint32, np.int64):
        image = Image(np.full((4, 3), 200, kind), SQUARE, "label")
        assert image.numpy().dtype == kind


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"data": np.ones((3, 4), np.float32)}, DimensionError, "do not fit"),
        ({"data": np.ones((4, 3), np.complex64)}, IntensityError, "complex"),
        ({"data": np.ones((4, 3), np.float32), "kind": "label"}, LabelError, "integers"),
        (
            {"data": np.ones((4, 3), np.float32), "mask": np.ones((3, 3), bool)},
            MaskError,
            "Resample the mask",
        ),
        ({"data": np.ones((4, 3), np.float32), "mask": np.zeros((4, 3), bool)}, MaskError, "empty"),
    ],
)
def test_impossible_images_are_refused(arguments, error, says):
    with pytest.raises(error, match=says) as caught:
        Image(grid=SQUARE, name="there", **arguments)
    assert "there" in str(caught.value)


def blank(dim, kind="intensity"):
    shape = (4, 3, 5)[:dim]
    return Image(
        np.ones(shape, np.int32 if kind == "label" else np.float32), Grid(shape, np.eye(dim + 1)), kind
    )


@pytest.mark.parametrize(
    ("aids", "error", "says"),
    [
        ({"moving": blank(2)}, DimensionError, "3-D and .* 2-D"),
        ({"fixed_labels": blank(2, "label")}, DimensionError, "fixed_labels is 2-D"),
        ({"moving_labels": blank(3)}, LabelError, "kind"),
        ({"initial": translation((1, 2))}, DimensionError, "initial is 2-D"),
        ({"fixed_points": Points(np.ones((2, 2)))}, DimensionError, "fixed_points is 2-D"),
        (
            {"fixed_points": Points(np.ones((2, 3))), "moving_points": Points(np.ones((3, 3)))},
            PointsError,
            "share no names",
        ),
    ],
)
def test_pairs_that_do_not_fit_are_refused(aids, error, says):
    with pytest.raises(error, match=says):
        Pair(**{"fixed": blank(3), "moving": blank(3), **aids})


@pytest.mark.parametrize("world", [np.ones(3), np.ones((2, 4)), np.array([[1, np.nan, 2]])])
def test_impossible_points_are_refused(world):
    with pytest.raises(PointsError):
        Points(world)


def test_points_have_names_and_are_carried():
    points = Points(np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert points.names == ("1", "2")
    moved = Points(points.world, ("a", "b")).mapped(translation((1, -1, 2)))
    np.testing.assert_allclose(moved.world, [[2, 1, 5], [5, 4, 8]])
    assert moved.names == ("a", "b")
    assert len(points) == 2
    with pytest.raises(PointsError, match="names"):
        Points(points.world, ("a",))
