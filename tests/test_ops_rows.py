"""Stretches of rows: what counts is within, and what is near it once they have grown."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from coincide.ops import rows


def inside(stretch, size):
    k = np.arange(size)
    return (k >= stretch[0][..., None]) & (k < stretch[1][..., None])


@pytest.fixture
def volume():
    found = np.zeros((12, 11, 13), np.float32)
    found[3:6, 4:9, 2:8] = np.random.default_rng(0).random((3, 5, 6))
    found[9, 2, 12], found[0, 10, 0] = 1, 1
    return found


def test_where_is_the_hull_of_each_row(volume):
    stretch = rows.where(volume, 0.5)
    for i, j in np.ndindex(volume.shape[:2]):
        at = np.flatnonzero(volume[i, j] > 0.5)
        expected = (at[0], at[-1] + 1) if len(at) else None
        first, last = stretch[:, i, j]
        assert (first == last) if expected is None else ((first, last) == expected)


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_grown_holds_all_that_is_near(volume, radius):
    stretch = rows.where(volume, 0.5)
    near = binary_dilation(volume > 0.5, np.ones((2 * radius + 1,) * 3))
    grown = inside(rows.grown(stretch, radius, volume.shape[2]), volume.shape[2])
    assert not (near & ~grown).any()
    # and no more than the hulls of the rows need
    hull = binary_dilation(inside(stretch, volume.shape[2]), np.ones((2 * radius + 1,) * 3))
    assert (grown.any(-1) == hull.any(-1)).all()
