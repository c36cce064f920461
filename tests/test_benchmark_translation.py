"""The table of registration across contrasts."""

import numpy as np
import pytest
import torch
from benchmarks import translation
from benchmarks.cases import Case

from coincide.io import write_image, write_points
from coincide.points import Points
from phantom import grid_around, known, known_pair


@pytest.fixture
def case(tmp_path):
    pair = known_pair(grid_around(3, 5.0), grid_around(3, 5.0), known(3))
    here = np.random.default_rng(0).uniform(-30, 30, (40, 3))
    paths = [tmp_path / name for name in ("f.nii.gz", "m.nii.gz", "f.csv", "m.csv")]
    write_image(pair.fixed, paths[0])
    write_image(pair.moving, paths[1])
    write_points(Points(here), paths[2])
    write_points(Points(known(3)(here)), paths[3])
    return Case(
        "mm_phantom", "multimodal", 3, True, *paths[:2], fixed_points=paths[2], moving_points=paths[3]
    )


class Painter(torch.nn.Module):
    """Paints every picture as it is, or its negative, or stripes."""

    spacing, multiple = 4.0, 4

    def __init__(self, paint):
        super().__init__()
        self.forward = paint


def test_a_picture_is_judged_where_it_truly_lies(case, monkeypatch):
    painters = {"same": "same", "negative": "negative", "noise": "noise"}
    ways = {"same": lambda x: x, "negative": lambda x: 3 - 2 * x, "noise": torch.rand_like}
    monkeypatch.setattr(translation, "chosen", lambda kind, name: Painter(ways[name]))
    rows = {
        row["method"].removeprefix("picture: "): row
        for row in translation.painted(case, painters, ["as it is", "same", "noise"])
    }
    assert rows["as it is"]["ssim"] > 0.8
    assert rows["same"]["ssim"] > 0.6
    assert rows["noise"]["psnr_db"] < rows["as it is"]["psnr_db"] - 5


def test_the_error_is_that_of_the_points_and_the_table_holds_it(case):
    methods = {"start": ""}
    rows = translation.registered(case, methods, ["start"])
    assert rows[0]["tre"] < 1.0
    assert rows[0]["voxels"] == pytest.approx(rows[0]["tre"] / 5)
    table = translation.as_tables(rows, {("mm_phantom", "greedy"): 1.25})
    assert f"| start | {rows[0]['tre']:.2f} ({rows[0]['voxels']:.2f}) |" in table
    assert "| greedy (from records) | 1.25 |" in table
    assert translation.registered(case, methods, []) == []
