"""What a map of standard deviations says of landmarks, in which world."""

import numpy as np
import pytest
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.uncertainty import measure_uncertainty
from coincide.points import Points
from coincide.transforms import Affine


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_errors_of_landmarks_are_seen_along_the_axes_of_the_fixed_world(factor):
    grid = Grid.from_spacing((20, 20), 5.0)
    deviations = torch.stack([torch.full(grid.shape, 0.2), torch.full(grid.shape, 2.0)])
    rng = np.random.default_rng(3)
    here = rng.uniform(10, 80, (400, 2))
    # a quarter turn and a scale: what is badly known lies along the other axis of the moving world
    transform = Affine(np.array([[0.0, -factor, 7.0], [factor, 0.0, -3.0], [0.0, 0.0, 1.0]]))
    there = transform(here + rng.normal(size=here.shape) * (0.2, 2.0))
    found = measure_uncertainty(
        Image(deviations, grid), grid, None, (Points(here), Points(there)), transform.inverse()
    )
    assert found["landmarks_within_percent"] == pytest.approx(95, abs=3)
    assert found["mean_mm"] == pytest.approx(np.hypot(0.2, 2.0))
