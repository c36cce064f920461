"""`coincide synthesise` and `coincide inspect-data`."""

import json

import numpy as np
import pytest
from PIL import Image as pil

from coincide.cli import main
from coincide.data import inspect, read_data_set

RECIPE = "anatomies=blobs,shape=24x20,spacing=5x5,motion=motion(rotation=40)"


def test_synthesise_draws_a_sheet_and_writes_a_data_set(tmp_path, capsys):
    sheet, pairs = tmp_path / "sheet.png", tmp_path / "pairs"
    command = [
        "synthesise",
        str(sheet),
        "--recipe",
        RECIPE,
        "--count",
        "2",
        "--seed",
        "5",
        "--pairs",
        str(pairs),
    ]
    assert main(command) == 0
    assert np.asarray(pil.open(sheet)).shape == (2 * 24, 4 * 28, 3)
    data = read_data_set(pairs / "pairs.csv")
    inspect(data).check()
    assert data.subjects == ("blobs-5", "blobs-6")
    assert "seeds 5 to 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sheet.jpg"], 3, "is a PNG"),
        (["sheet.png", "--recipe", "anatomy=head"], 3, "Did you mean 'anatomies'"),
        (["sheet.png", "--recipe", "anatomies=tail"], 3, "Known: blobs"),
        (["sheet.png", "--recipe", "motion=motion(rotation=far)"], 3, "expected a finite number"),
        (["sheet.png", "--count", "0"], 2, "count"),
        (["nowhere/sheet.png", "--recipe", RECIPE], 3, "no folder"),
    ],
)
def test_synthesise_refuses_what_it_cannot_do(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(["synthesise", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_inspect_data_shows_the_images_or_all_that_is_wrong(tmp_path, capsys):
    pairs = tmp_path / "pairs"
    assert (
        main(
            ["synthesise", str(tmp_path / "s.png"), "--recipe", RECIPE, "--count", "1", "--pairs", str(pairs)]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["inspect-data", str(pairs / "pairs.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [image["shape"] for image in found["images"]] == [[24, 20]] * 2
    assert found["problems"] == []
    assert main(["inspect-data", str(pairs / "pairs.csv")]) == 0
    assert "2 images of 1 subjects; nothing is wrong" in capsys.readouterr().out
    (pairs / "0_fixed.nii.gz").write_bytes(b"broken")
    (pairs / "0_moving_labels.nii.gz").unlink()
    assert main(["inspect-data", str(pairs / "pairs.csv")]) == 3
    told = capsys.readouterr().err
    assert "2 things are wrong" in told
    assert "[unreadable]" in told
    assert "[missing]" in told
    assert main(["inspect-data", str(pairs / "pairs.csv"), "--json"]) == 3
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
