"""Edges, distance maps and grown regions: where an exact answer or another tool puts them."""

import numpy as np
import pytest
import torch

from coincide.errors import OptionError, PointsError
from coincide.features.distance import distances
from coincide.features.edges import edges, gradient
from coincide.features.regions import grow
from coincide.features.surface import mask_levels
from coincide.grid import Grid
from coincide.image import Image
from coincide.transforms import rotation_matrix

CENTRE, RADIUS = np.array([4.0, -3.0, 2.0]), 18.0


def grid_of(dim: int, kind: str) -> Grid:
    """A grid round the ball, straight, turned with oblong voxels, or sheared."""
    spacing = np.array((1.0, 1.0, 1.0) if kind != "oblong" else (0.8, 1.2, 1.5))[:dim]
    turn = rotation_matrix((12, -25, 33)[: 3 if dim == 3 else 1]) if kind == "oblong" else np.eye(dim)
    linear = turn * spacing
    if kind == "sheared":
        linear = linear @ (np.eye(dim) + 0.3 * np.eye(dim, k=1))
    shape = np.ceil(64 / spacing).astype(int)
    affine = np.eye(dim + 1)
    affine[:dim, :dim] = linear
    affine[:dim, dim] = -linear @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def ball(grid: Grid, softness: float = 1.5, noise: float = 0.0) -> Image:
    """Bright in the ball, dark outside, with a soft rim."""
    apart = np.linalg.norm(grid.points() - CENTRE[: grid.dim], axis=-1) - RADIUS
    values = 1 / (1 + np.exp(apart / (0.4 * softness)))
    values = values + noise * np.random.default_rng(0).standard_normal(grid.shape)
    return Image(values.astype(np.float32), grid)


@pytest.mark.parametrize("kind", ["straight", "oblong", "sheared"])
@pytest.mark.parametrize("dim", [2, 3])
def test_edges_lie_on_the_ball_and_point_outwards(dim, kind):
    found = edges(ball(grid_of(dim, kind)))
    apart = found.points - CENTRE[:dim]
    radius = np.linalg.norm(apart, axis=1)
    assert np.abs(radius - RADIUS).max() < 0.25  # a curved edge is smoothed inwards by σ²/2r
    assert np.einsum("na,na->n", found.normals, apart / radius[:, None]).min() > 0.98
    # all round: in each of the directions of a cube's corners there is one
    corners = np.stack(np.meshgrid(*[(-1, 1)] * dim), -1).reshape(-1, dim)
    assert (np.sign(apart)[:, None] == corners[None]).all(-1).any(0).all()


def test_edges_are_those_of_another_tool():
    from skimage import data
    from skimage.feature import canny

    values = data.camera()[60:300, 100:360].astype(np.float32)
    grid = Grid.from_spacing(values.shape, 1.0)
    ours = edges(Image(values, grid), sigma=2.0, strength=0.15)
    low, high = np.percentile(values, [0.5, 99.5])
    scaled = (values - low) / (high - low)
    steepest = np.percentile(np.linalg.norm(gradient(scaled, grid, 2.0), axis=0), 99.5)
    # its derivatives are those of Sobel, eight times as large
    strong = 8 * 0.15 * steepest
    theirs = np.argwhere(canny(scaled, sigma=2.0, low_threshold=0.4 * strong, high_threshold=strong))
    from scipy.spatial import KDTree

    near = KDTree(theirs).query(ours.points)[0]
    back = KDTree(ours.points).query(theirs)[0]
    assert (near < 1.5).mean() > 0.98
    assert (back < 1.5).mean() > 0.98
    assert len(ours) > 2000


def test_noise_alone_hangs_on_nothing_strong():
    grid = grid_of(2, "straight")
    found = edges(ball(grid, noise=0.08), sigma=2.0)
    radius = np.linalg.norm(found.points - CENTRE[:2], axis=1)
    assert np.abs(radius - RADIUS).max() < 1.5
    assert len(found) > 90


def test_edges_stay_in_the_mask():
    image = ball(grid_of(2, "straight"))
    mask = torch.from_numpy(image.grid.points()[..., 0] > CENTRE[0])
    found = edges(image.with_mask(mask))
    assert len(found) > 30
    assert found.points[:, 0].min() > CENTRE[0] - 1


@pytest.mark.parametrize("options", [{"sigma": -1.0}, {"strength": 0.0}, {"strength": 1.0}])
def test_odd_options_are_refused(options):
    with pytest.raises(OptionError, match="strength between"):
        edges(ball(grid_of(2, "straight")), **options)


@pytest.mark.parametrize("kind", ["oblong", "sheared"])
@pytest.mark.parametrize("dim", [2, 3])
def test_the_gradient_of_a_slope_is_the_slope(dim, kind):
    grid, slope = grid_of(dim, kind), np.array([0.3, -0.5, 0.2])[:dim]
    found = gradient(grid.points() @ slope, grid, 1.0)
    inner = (slice(None), *[slice(8, -8)] * dim)
    np.testing.assert_allclose(
        found[inner], np.broadcast_to(slope.reshape(-1, *[1] * dim), found[inner].shape), atol=1e-9
    )


@pytest.mark.parametrize("kind", ["straight", "oblong", "sheared"])
@pytest.mark.parametrize("dim", [2, 3])
def test_distances_from_a_ball(dim, kind):
    grid = grid_of(dim, kind)
    mask = np.linalg.norm(grid.points() - CENTRE[:dim], axis=-1) < RADIUS
    levels = mask_levels(mask, grid)
    coarse = grid.orthogonalised(2.3)
    truth = RADIUS - np.linalg.norm(coarse.points() - CENTRE[:dim], axis=-1)
    found = distances(levels.surface(), coarse, levels)
    assert np.abs(found - truth).mean() < 0.15
    assert np.abs(found - truth).max() < 0.8
    np.testing.assert_allclose(distances(levels.surface(), coarse), np.abs(found))


@pytest.mark.parametrize("dim", [2, 3])
def test_a_region_grows_as_far_as_it_is_alike(dim):
    image = ball(grid_of(dim, "oblong"), noise=0.02)
    grown = grow(image, CENTRE[:dim], 0.4)
    truth = np.linalg.norm(image.grid.points() - CENTRE[:dim], axis=-1) < RADIUS
    assert 2 * (grown & truth).sum() / (grown.sum() + truth.sum()) > 0.95
    half = torch.from_numpy(image.grid.points()[..., 0] > CENTRE[0] - 2)
    assert not grow(image.with_mask(half), CENTRE[:dim], 0.4)[~half.numpy()].any()
    with pytest.raises(PointsError, match="outside the image or its mask"):
        grow(image, np.full(dim, 500.0), 0.4)
    with pytest.raises(PointsError, match="outside the image or its mask"):
        grow(image.with_mask(half), CENTRE[:dim] - 10 * np.eye(dim)[0], 0.4)
