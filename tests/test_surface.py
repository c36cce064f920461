"""Surface points: on the surface, pointing outwards, however the grid is turned, stretched or sheared."""

import numpy as np
import pytest
import torch

from coincide.features.surface import bare, foreground_surface, joined, label_surfaces, mask_surface
from coincide.grid import Grid
from coincide.image import Image
from coincide.transforms import rotation_matrix

CENTRE = np.array([12.0, -31.0, 8.0])
RADII = np.array([30.0, 21.0, 15.0])


def grid_of(dim: int, kind: str) -> Grid:
    """A grid that holds the ellipsoid whole."""
    spacing = np.array((1.0, 1.0, 1.0) if kind != "anisotropic" else (0.8, 1.1, 2.5))[:dim]
    turn = rotation_matrix((12, -25, 33)[: 3 if dim == 3 else 1]) if kind != "straight" else np.eye(dim)
    linear = turn * spacing
    if kind == "sheared":
        linear = linear @ (np.eye(dim) + 0.4 * np.eye(dim, k=1))
    if kind == "flipped":
        linear[:, 0] *= -1
    shape = np.ceil(2.9 * RADII[0] / np.linalg.norm(linear, axis=0)).astype(int) + 6
    affine = np.eye(dim + 1)
    affine[:dim, :dim] = linear
    affine[:dim, dim] = CENTRE[:dim] - linear @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def height(points: np.ndarray) -> np.ndarray:
    """1 on the ellipsoid, less inside."""
    dim = points.shape[-1]
    return np.linalg.norm((points - CENTRE[:dim]) / RADII[:dim], axis=-1)


def off(points: np.ndarray) -> np.ndarray:
    """About how far points lie from the ellipsoid, mm, positive outside."""
    dim = points.shape[-1]
    local = (points - CENTRE[:dim]) / RADII[:dim]
    length = np.linalg.norm(local, axis=1)
    return (length - 1) * length / np.linalg.norm(local / RADII[:dim], axis=1)


def true_normals(points: np.ndarray) -> np.ndarray:
    dim = points.shape[-1]
    slope = (points - CENTRE[:dim]) / RADII[:dim] ** 2
    return slope / np.linalg.norm(slope, axis=1, keepdims=True)


KINDS = ["straight", "oblique", "anisotropic", "sheared", "flipped"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 3])
def test_a_masks_surface_lies_on_it_and_points_outwards(dim, kind):
    grid = grid_of(dim, kind)
    surface = mask_surface(height(grid.points()) < 1, grid)
    assert np.abs(off(surface.points)).mean() < 0.3 * grid.spacing.max()
    assert abs(off(surface.points).mean()) < 0.1 * grid.spacing.max()
    upright = (surface.normals * true_normals(surface.points)).sum(1)
    assert upright.min() > 0.5
    assert upright.mean() > 0.97
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 3])
def test_grey_values_place_it_between_voxels(dim, kind):
    grid = grid_of(dim, kind)
    values = 400 * np.clip(3 * (1.2 - height(grid.points())), 0, 1.2)
    values[height(grid.points()) < 0.3] = 0  # a hole, as ventricles are
    values[tuple(slice(0, 3) for _ in grid.shape)] = 380  # a speck in a corner
    surface = foreground_surface(Image(values.astype(np.float32), grid), threshold=0.5)
    level = np.median(height(surface.points))
    assert 0.9 < level < 1.2
    assert np.ptp(height(surface.points)) * RADII[:dim].min() < 0.25 * grid.spacing.max()
    assert (surface.normals * true_normals(surface.points)).sum(1).mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_areas_add_up(kind):
    grid = grid_of(3, kind)
    surface = mask_surface(height(grid.points()) < 1, grid)
    a, b, c = RADII**1.6075
    expected = 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075)  # Thomsen's formula, good to 1 %
    assert abs(surface.areas.sum() / expected - 1) < 0.04
    outline = mask_surface(height(grid_of(2, kind).points()) < 1, grid_of(2, kind))
    a, b = RADII[:2]
    length = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))  # Ramanujan's
    assert abs(outline.areas.sum() / length - 1) < 0.04


@pytest.mark.parametrize("dim", [2, 3])
def test_thinning_keeps_the_number_the_area_and_the_spread(dim):
    grid = grid_of(dim, "oblique")
    whole = mask_surface(height(grid.points()) < 1, grid)
    number = 60 if dim == 2 else 400
    thin = whole.thinned(number)
    assert 0.6 * number < len(thin) <= number
    assert np.isclose(thin.areas.sum(), whole.areas.sum())
    assert np.linalg.norm(thin.centre - whole.centre) < 0.5
    from scipy.spatial import KDTree

    nearest = KDTree(thin.points).query(thin.points, 2)[0][:, 1]
    gaps = KDTree(thin.points).query(whole.points)[0]
    assert gaps.max() < 2.5 * np.median(nearest)
    assert whole.thinned(10**6) is whole


def test_labels_keep_their_names_and_only_those_wanted_come():
    grid = grid_of(3, "anisotropic")
    labels = np.zeros(grid.shape, np.int64)
    labels[height(grid.points()) < 1] = 614454277
    labels[height(grid.points()) < 0.5] = 7
    labels[2, 2, 2] = 9
    image = Image(labels, grid, "label")
    found = label_surfaces(image, [7, 614454277, 5, 9])
    assert set(found) == {7, 9, 614454277}
    assert set(found[614454277].group) == {614454277}
    assert abs(np.median(height(found[7].points)) - 0.5) < 0.02
    # the outer label has two sides: the ellipsoid and the inner label, where it points inwards
    inner = height(found[614454277].points) < 0.75
    across = (found[614454277].normals * true_normals(found[614454277].points)).sum(1)
    assert across[inner].mean() < -0.9
    assert across[~inner].mean() > 0.9
    assert len(joined(list(found.values()))) == sum(map(len, found.values()))


def test_a_mask_cut_by_the_border_is_left_open():
    grid = Grid.from_spacing((40, 40), 1.0)
    mask = np.zeros(grid.shape, bool)
    mask[:20, 10:30] = True
    surface = mask_surface(mask, grid)
    assert surface.points[:, 0].min() < 0.6
    assert (np.abs(surface.normals[:, 0]) < 0.3)[surface.points[:, 0] < 15].all()
    assert abs(surface.areas.sum() - 60) < 3


@pytest.mark.parametrize("dim", [2, 3])
def test_nothing_has_no_surface(dim):
    grid = Grid.from_spacing((9, 8, 7)[:dim], 1.0)
    assert len(mask_surface(np.zeros(grid.shape, bool), grid)) == 0
    assert len(mask_surface(np.ones(grid.shape, bool), grid)) == 0
    lone = np.zeros(grid.shape, bool)
    lone[(4,) * dim] = True
    assert np.allclose(mask_surface(lone, grid).centre, grid.world([4] * dim))
    assert len(label_surfaces(Image(np.zeros(grid.shape, np.uint8), grid, "label"), [1])) == 0


def test_bare_points_have_no_direction():
    cloud = bare(np.arange(12.0).reshape(4, 3))
    assert not cloud.normals.any()
    assert np.allclose(cloud.centre, cloud.points.mean(0))


@pytest.mark.parametrize("dim", [2, 3])
def test_what_is_masked_out_changes_nothing(dim):
    grid = Grid.from_spacing((48,) * dim, 1.0, (-24.0,) * dim)
    apart = np.linalg.norm(grid.points(), axis=-1)
    values = np.clip(14.5 - apart, 0, 1) * 100 + np.random.default_rng(1).normal(0, 2, grid.shape)
    bright = np.zeros(grid.shape, bool)
    bright[(slice(0, 7),) * dim] = True
    mask = torch.from_numpy(~bright)
    clean = Image(values.astype(np.float32), grid).with_mask(mask)
    disturbed = Image(np.where(bright, 4000, values).astype(np.float32), grid).with_mask(mask)
    one, other = foreground_surface(clean), foreground_surface(disturbed)
    assert np.abs(np.linalg.norm(one.points, axis=1) - 14).max() < 1
    assert len(one) == len(other)
    assert np.allclose(one.points, other.points)
