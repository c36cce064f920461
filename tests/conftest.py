"""What several tests share: a made-up organ, asymmetric in every way, and a pair of pictures of it."""

from pathlib import Path

import numpy as np
import pytest

from coincide.grid import Grid
from coincide.image import Image
from coincide.transforms.linear import rigid

BLOBS = [  # centre mm, width mm, brightness
    ((0, 0, 0), (22, 27, 18), 100),
    ((9, -8, 4), (6, 9, 5), 80),
    ((-12, 6, -5), (5, 4, 7), -70),
    ((4, 14, 6), (4, 5, 3), 60),
    ((-6, -13, 7), (3, 6, 4), 90),
    ((13, 7, -8), (4, 3, 5), -50),
]


def organ(world: np.ndarray) -> np.ndarray:
    """Brightness of the organ at `world` positions, mm, `(..., dim)`; it has no symmetry."""
    total = np.zeros(world.shape[:-1])
    for centre, width, brightness in BLOBS:
        apart = (world - np.array(centre[: world.shape[-1]])) / np.array(width[: world.shape[-1]])
        total += brightness * np.exp(-((apart**2).sum(-1) ** 2))
    return total


def pictured(grid: Grid, truth=None, name="image", noise=1.0) -> Image:
    """The organ on `grid`, moved by `truth` (fixed-world mm → moving-world mm) where one is given."""
    world = grid.points()
    values = organ(world if truth is None else truth.inverse()(world))
    values = values + noise * np.random.default_rng(len(name)).standard_normal(grid.shape)
    return Image(values.astype(np.float32), grid, name=name)


@pytest.fixture(scope="session")
def small_truth():
    """Fixed-world mm → moving-world mm of `small_pair`."""
    return rigid((4, -6, 8), (3, -2, 1.5), (0, 0, 0))


@pytest.fixture(scope="session")
def small_pair(small_truth):
    """Two 3-D pictures of the organ on grids of their own, about 30 000 voxels each."""
    fixed = Grid.from_spacing((34, 38, 28), (2.0, 2.0, 2.2), origin=(-33, -37, -30))
    moving = Grid.from_spacing((36, 34, 30), (2.1, 2.2, 2.0), origin=(-36, -37, -29))
    return pictured(fixed, name="fixed"), pictured(moving, small_truth, name="moving")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of evaluation data beside the repository; tests that need it are marked `data`."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the evaluation data in {folder}")
    return folder
