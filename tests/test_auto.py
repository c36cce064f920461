"""What `auto` decides from the images, and that a start makes no difference to it."""

import pytest
import torch

from coincide.errors import OptionError
from coincide.methods.auto import Auto
from coincide.pair import Pair
from coincide.registration import register
from coincide.transforms import Displacement, translation
from phantom import error_mm, grid_around, known, known_pair, other_contrast


@pytest.fixture(scope="module")
def unlike():
    """A head and the same head moved, seen by another modality."""
    grid = grid_around(3, 4.0)
    return known_pair(grid, grid, known(3), contrast=other_contrast)


def test_the_contrast_is_looked_at_from_a_deformable_start_too(unlike):
    first = register(unlike)
    again = register(Pair(unlike.fixed, unlike.moving, initial=first.transform))
    assert any("differ in contrast" in told for told in again.decisions)
    errors = [error_mm(run.transform, known(3), unlike.fixed.grid) for run in (first, again)]
    assert errors[1] < errors[0] + 0.2


def test_only_a_deformation_starts_from_one(unlike):
    grid = unlike.fixed.grid
    bent = Displacement(torch.zeros((3, *grid.shape)), grid)
    with pytest.raises(OptionError, match="rigid registration cannot start"):
        Auto("rigid").solve(Pair(unlike.fixed, unlike.moving, initial=bent))


@pytest.mark.parametrize(("transform", "chosen"), [("rigid", "NMI"), ("deformable", "MIND")])
def test_frames_of_one_examination_are_told_once_what_they_are_compared_by(transform, chosen):
    grid = grid_around(3, 4.0)
    pair = known_pair(grid, grid, translation((2.0, 1.0, 0.0)))
    told = [d for d in Auto(transform, "fast").solve(pair).decisions if "same contrast" in d]
    assert len(told) == 1
    assert chosen in told[0]
