"""Points followed in blocks: kernels against their reference and NumPy, whole routes against the transform."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from coincide.grid import Grid
from coincide.measures.lattice import lattice
from coincide.ops import _parallel, follow
from coincide.ops.blocks import BLOCK, over_blocks
from coincide.ops.interleave import interleaved
from coincide.ops.structure import structural_similarities
from coincide.transforms import Affine, BSpline, Displacement, Velocity, chain, rigid, translation
from coincide.transforms.resample import positions, resample
from coincide.transforms.route import route
from phantom import grid_around, picture


def field_on(shape: tuple[int, ...], longest: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(len(shape))
    return (longest * rng.standard_normal((len(shape), *shape))).astype(np.float32)


def parts_of(dim: int) -> list:
    """A part of every kind, on grids that are turned against the world."""
    turn = rigid((4, -7, 12)[:dim] if dim == 3 else (12,), np.zeros(dim), np.zeros(dim)).matrix[:-1, :-1]
    grid = grid_around(dim, 11.0, turn)
    waves = torch.from_numpy(field_on(grid.shape))
    return [
        rigid((7, -11, 5)[:dim] if dim == 3 else (7,), (6, -4, 3)[:dim], (3, -5, 4)[:dim]),
        Displacement(waves, grid),
        Velocity(waves, grid),
        BSpline(waves.double(), grid),
        Affine(np.diag([*(1.1, 0.9, 1.05)[:dim], 1.0])),
    ]


@pytest.mark.parametrize("number", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
def test_blocks_cover_all_and_come_in_order(number):
    spans = over_blocks(number, lambda low, high: (low, high))
    assert spans[0][0] == 0
    assert spans[-1][1] == number
    assert all(a[1] == b[0] and a[1] - a[0] == BLOCK for a, b in pairwise(spans))


@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 6), (40, 1), (3, 50, 1)])
def test_voxels_are_counted_as_numpy_counts(shape):
    size, low = int(np.prod(shape)), 3
    points = np.full((3, size - low), np.nan)
    follow.voxels(low, shape, points)
    expected = np.zeros_like(points)
    expected[: len(shape)] = np.unravel_index(np.arange(low, size), shape)
    np.testing.assert_array_equal(points, expected)
    flat = np.random.default_rng(0).permutation(size)[: size - low]
    follow.chosen_voxels(flat, shape, points)
    expected[: len(shape)] = np.unravel_index(flat, shape)
    np.testing.assert_array_equal(points, expected)


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 7), (1, 12, 7), (9, 1)])
def test_displacing_equals_its_reference(shape):
    rng = np.random.default_rng(1)
    dim, field = len(shape), field_on(shape)
    points = np.zeros((3, 4000))
    points[:dim] = rng.uniform(-1.5, 0.5 + np.reshape(shape, (dim, 1)), (dim, 4000))
    points[:dim, :5] = np.reshape([-0.5, -0.5 - 1e-9, 0, np.nan, np.inf], (1, 5))
    matrix = follow.padded(rng.standard_normal((dim, dim)), dim)
    ours, theirs = points.copy(), points.copy()
    inside, expected = np.ones((2, 4000), dtype=bool)
    follow.displace(ours, field, matrix, inside)
    follow.displace_reference(theirs, field, matrix, expected)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.array_equal(inside, expected)
    assert 0 < inside.mean() < 1
    assert inside[0] == (min(shape) > 0)
    assert not inside[1:2].any()
    assert not inside[3:5].any()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_nearest_takes_the_nearest_of_any_type(kind):
    image = np.arange(2 * 5 * 6 * 4).reshape(2, 5, 6, 4).astype(kind) - np.array(3).astype(kind)
    points = np.array([[1.49, 1.5, -0.5, -0.51, 4.49, 4.5, np.nan], [2.0] * 7, [3.0] * 7])
    out = np.full((2, 7), 99).astype(kind)
    follow.nearest(image, points, out)
    at = image[:, [1, 2, 0, 0, 4, 0, 0], 2, 3]
    at[:, [3, 5, 6]] = 0
    np.testing.assert_array_equal(out, at)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 0, 1), (3, 4, 2), (0, 4), (), (1, 1), (0, 1, 2, 3, 4)])
def test_a_route_leads_where_the_transform_does(dim, order):
    transform = chain(*(parts_of(dim)[n] for n in order)) if order else translation(np.zeros(dim))
    start = grid_around(dim, (9.0, 7.0, 8.0)[:dim])
    end = Grid(start.shape, transform.parts()[-1].grid.affine if order[-1:] == (1,) else start.affine)
    world = transform(start.points())
    found = positions(transform, start, 0, start.shape[0]).numpy()
    np.testing.assert_allclose(np.moveaxis(found, 0, -1), world, atol=1e-5)
    index = positions(transform, start, 1, start.shape[0], end).numpy()
    np.testing.assert_allclose(np.moveaxis(index, 0, -1), end.index(world[1:]), atol=2e-6)


def test_a_route_tells_what_left_a_field():
    grid = grid_around(2, 9.0)
    away = translation((0.4 * np.ptp(grid.corners[:, 0]), 0))
    field = Displacement(torch.zeros((2, *grid.shape)), grid)
    points, inside = np.empty((3, grid.size)), np.ones(grid.size, dtype=bool)
    follow.voxels(0, grid.shape, points)
    route((field, away), grid)(points, inside)
    assert np.array_equal(inside.reshape(grid.shape), grid.inside(away(grid.points())))
    assert 0 < inside.mean() < 1


def test_the_number_of_threads_does_not_show():
    grid = Grid.from_spacing((70, 61, 53), 2.0, (-70, -61, -53))
    transform = chain(*(parts_of(3)[n] for n in (0, 1, 4, 2)))
    scan = picture(grid_around(3, 5.0))
    seen = []
    for threads in (1, 2, 5):
        _parallel.set_threads(threads)
        try:
            found = lattice(transform, grid)
            images = [resample(scan, transform, grid, how).numpy() for how in ("linear", "nearest")]
            seen.append(
                [found.field.numpy(), np.array(found.longest()), found.inside(scan.grid).numpy(), *images]
            )
        finally:
            _parallel.set_threads(None)
    assert grid.size > 4 * BLOCK
    for other in seen[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(seen[0], other))


def test_what_is_not_finite_stands_for_the_mean_in_a_window():
    rng = np.random.default_rng(3)
    a, b = rng.normal(5, 1, (2, 9, 9)).astype(np.float32)
    counted = np.zeros(a.shape, dtype=bool)
    counted[4, 4] = True
    box, widths = (slice(4, 5), slice(4, 5)), [7, 7]
    hole = b.copy()
    hole[2, 2] = 5.0
    expected = structural_similarities(a, hole, counted, box, widths, 1, 5.0, 4.0)
    for value in (np.nan, np.inf, -np.inf):
        hole[2, 2] = value
        assert structural_similarities(a, hole, counted, box, widths, 1, 5.0, 4.0) == expected
    assert expected[1] == 1


@pytest.mark.parametrize("shape", [(5, 7), (19, 6, 35), (16, 3, 16), (1, 4, 17)])
def test_fields_are_turned_round_as_numpy_would(shape):
    field = np.random.default_rng(0).standard_normal((len(shape), *shape)).astype(np.float32)
    signs = np.array([-1, -1, 1][: len(shape)], np.float32)
    found = np.concatenate([part.copy() for part in interleaved(field, signs)])
    np.testing.assert_array_equal(found.reshape(*shape[::-1], -1), field.T * signs)
