"""Headers that are moved by known amounts, and what counts as finding the way back."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from coincide.evaluation.reach import attempts, motions, with_moved_header
from coincide.methods import AbstractMethod, Context, Solution
from coincide.transforms import Affine
from phantom import grid_around, known, known_pair


@dataclass(frozen=True)
class Answers(AbstractMethod):
    """Answers with the good header's result, whatever header it sees."""

    truth: Affine

    def solve(self, pair, context=Context()):
        return Solution(self.truth)


def test_motions_are_seeded_rotations_within_their_limits():
    one, other = motions(40, 7, 90, 80), motions(40, 7, 90, 80)
    for (degrees, matrix), (_, again) in zip(one, other):
        assert np.array_equal(matrix, again)
        turn = matrix[:3, :3]
        assert np.allclose(turn @ turn.T, np.eye(3))
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(degrees, abs=1e-6)
        assert np.abs(matrix[:3, 3]).max() <= 80
    assert max(degrees for degrees, _ in one) > 60


def test_only_the_header_moves_and_about_the_middle():
    image = known_pair(grid_around(3, 9.0), grid_around(3, 9.0), known(3)).moving
    matrix = motions(1, 1)[0][1]
    moved, motion = with_moved_header(image, matrix)
    assert moved.data is image.data
    assert np.allclose(motion(image.grid.points()), moved.grid.points())
    assert np.allclose(motion(image.grid.centre[None])[0], image.grid.centre + matrix[:3, 3])


def test_an_answer_that_forgets_the_header_is_as_wrong_as_the_header():
    truth = known(3)
    pair = known_pair(grid_around(3, 9.0), grid_around(3, 9.0), truth)
    shift = np.eye(4)
    shift[:3, 3] = (3, 4, 12)
    found = attempts(pair, Answers(truth), truth, [(0.0, np.eye(4)), (0.0, shift)])
    assert [a.error for a in found] == pytest.approx([0, 13])
    right = attempts(replace(pair), Answers(Affine(shift @ truth.matrix)), truth, [(0.0, shift)])
    assert right[0].error == pytest.approx(0)


def test_a_wrong_answer_is_judged_where_that_is_asked_for():
    truth = known(3)
    pair = known_pair(grid_around(3, 9.0), grid_around(3, 9.0), truth)
    shift = np.eye(4)
    shift[:3, 3] = (30, 40, 50)
    right, wrong = attempts(pair, Answers(truth), truth, [(0.0, np.eye(4)), (0.0, shift)], lambda n, e: e > 2)
    assert right.verdict is None
    assert wrong.verdict == "failed"
