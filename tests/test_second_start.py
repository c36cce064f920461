"""Pictures get a second start by keypoints, which is kept unless the deformation ends worse from there."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.methods import Context, Status, second_start
from coincide.methods.auto import Auto
from coincide.methods.base import Solution
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import normalised
from coincide.methods.second_start import better_start
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.similarity import LNCC
from coincide.transforms import Affine, similarity, translation
from test_features_methods import imaged, moved, real


@pytest.fixture(scope="module")
def bent() -> tuple[Pair, object]:
    """A picture, and the same bent by waves and turned; with the map between them."""
    fixed = imaged(real("camera", slice(40, 340)))
    wavy = fixed.grid.points() + 4 * np.sin(fixed.grid.points()[..., ::-1] / 35)
    index = torch.from_numpy(np.moveaxis(fixed.grid.index(wavy), -1, 0).copy())
    bent_one = replace(fixed, data=sample(fixed.data, index, "cubic", "edge"))
    truth = similarity(25, (4, -3), 1.0, fixed.grid.centre)
    return Pair(bent_one, moved(fixed, truth, (0.8, 0.8))), lambda x: truth(x + 4 * np.sin(x[..., ::-1] / 35))


def error_of(transform, truth, pair: Pair) -> float:
    points = pair.fixed.grid.points()[40:-40:9, 40:-40:9].reshape(-1, 2)
    return float(np.linalg.norm(transform(points) - truth(points), axis=1).mean())


CHOSEN = Deformable(similarity=LNCC(noise=0.03), trials=1, cubic=False)


def ended_at(transform) -> Solution:
    return Solution(transform, transform.inverse(), decisions=("first",), evidence={"start_margin": 0.5})


def test_a_better_end_is_taken(bent):
    pair, truth = bent
    lost = ended_at(translation((25.0, 40.0)))
    found = better_start(lost, CHOSEN, *normalised(pair, CHOSEN.similarity), pair, Context())
    assert error_of(found.transform, truth, pair) < 0.5
    assert found.decisions[0] == "first"
    assert "starts from keypoints" in found.decisions[-1]
    assert found.evidence["start_margin"] == 0.5
    assert {"keypoints", "deformable"} <= set(found.seconds)


def test_a_worse_end_is_not(bent, monkeypatch):
    pair, truth = bent
    images = normalised(pair, CHOSEN.similarity)
    best = better_start(ended_at(translation((25.0, 40.0))), CHOSEN, *images, pair, Context())
    lost = ended_at(translation((25.0, 40.0)))
    monkeypatch.setattr(Deformable, "solve", lambda self, pair, context: lost)
    assert "pictures agree" in better_start(best, CHOSEN, *images, pair, Context()).decisions[-1]
    monkeypatch.setattr(second_start, "_ALIKE", 1.0)
    again = better_start(best, CHOSEN, *images, pair, Context())
    assert again.transform is best.transform
    assert error_of(again.transform, truth, pair) < 0.5
    assert "ended worse" in again.decisions[-1]


def test_without_agreement_or_package_the_first_stays(bent, monkeypatch):
    pair, _ = bent
    first = ended_at(Affine(np.eye(3)))
    other = Pair(pair.fixed, imaged(real("coins")[:250]))
    found = better_start(first, CHOSEN, *normalised(other, CHOSEN.similarity), other, Context())
    assert found.transform is first.transform
    assert "did not agree" in found.decisions[-1]
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = better_start(first, CHOSEN, *normalised(pair, CHOSEN.similarity), pair, Context())
    assert found.transform is first.transform
    assert "opencv-python-headless" in found.decisions[-1]
    failed = replace(first, status=Status.NO_OVERLAP)
    assert better_start(failed, CHOSEN, pair.fixed, pair.moving, pair, Context()) is failed


def test_auto_tries_it_on_pictures_of_one_contrast(bent, monkeypatch):
    pair, truth = bent
    monkeypatch.setattr(second_start, "_ALIKE", 1.0)  # this picture is one moved and bent: it agrees too well
    told = Auto().solve(pair)
    assert any("keypoints" in d for d in told.decisions)
    assert error_of(told.transform, truth, pair) < 0.5
    assert not any("keypoints" in d for d in Auto(preset="fast").solve(pair).decisions)
