"""`coincide register` from end to end, and what the other commands make of its files."""

import hashlib
import json

import numpy as np
import pytest
import torch

import coincide
from coincide.cli import main
from coincide.image import Image

FILES = {"warped.nii.gz", "transform.h5", "inverse.h5", "registration.json", "report.html", "labels.nii.gz"}
LANDMARKS = np.random.default_rng(2).uniform(-15, 15, (9, 3))


@pytest.fixture(scope="module")
def done(tmp_path_factory, small_pair, small_truth):
    """A folder with inputs and, in `out`, the results of a rigid registration of them."""
    folder = tmp_path_factory.mktemp("register")
    for name, image in zip(("fixed", "moving"), small_pair):
        coincide.write_image(image, folder / f"{name}.nii.gz")
        labels = Image((image.data > 40).to(torch.int32) * 70_001, image.grid, "label")
        coincide.write_image(labels, folder / f"{name}_labels.nii.gz")
        coincide.write_image(
            Image((image.data > 3).to(torch.uint8), image.grid, "label"), folder / f"{name}_mask.nii"
        )
    coincide.write_points(coincide.Points(LANDMARKS), folder / "fixed.csv")
    coincide.write_points(coincide.Points(small_truth(LANDMARKS)), folder / "moving.csv")
    aids = []
    for kind, suffix in (("mask", "_mask.nii"), ("labels", "_labels.nii.gz"), ("points", ".csv")):
        for name in ("fixed", "moving"):
            aids += [f"--{name}-{kind}", str(folder / f"{name}{suffix}")]
    images = [str(folder / f"{name}.nii.gz") for name in ("fixed", "moving")]
    code = main(
        ["register", *images, "--out", str(folder / "out"), "--transform", "rigid", "--seed", "4", *aids]
    )
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def record(done):
    return json.loads((done / "out" / "registration.json").read_text())


def test_the_files_of_the_contract(done):
    assert {p.name for p in (done / "out").iterdir()} == FILES


def test_the_record(done, record):
    assert record["verdict"]["level"] == "converged"
    assert record["seed"] == 4
    assert record["argv"][:2] == ["coincide", "register"]
    assert {"--fixed-mask", "--seed", "4"} < set(record["argv"])
    for role, name in (
        ("fixed", "fixed.nii.gz"),
        ("moving_labels", "moving_labels.nii.gz"),
        ("fixed_points", "fixed.csv"),
    ):
        assert record["inputs"][role]["sha256"] == hashlib.sha256((done / name).read_bytes()).hexdigest()
    for name, about in record["files"].items():
        assert about["sha256"] == hashlib.sha256((done / "out" / name).read_bytes()).hexdigest()
    assert set(record["files"]) == FILES - {"registration.json", "report.html"}
    assert record["measures"]["labels"]["per_label"]["70001"]["dice"] > 0.95
    assert (
        record["measures"]["points"]["after"]["tre_mean_mm"]
        < 0.25
        < record["measures"]["points"]["before"]["tre_mean_mm"]
    )
    assert record["peak_memory_bytes"] > 10**8
    assert {"start", "linear", "measure"} <= set(record["seconds"])


def test_apply_gives_the_warped_image_again(done):
    out = done / "out"
    common = ["--transform", str(out / "transform.h5"), "--reference", str(done / "fixed.nii.gz")]
    assert (
        main(["apply", *common, "--moving", str(done / "moving.nii.gz"), "--out", str(done / "again.nii.gz")])
        == 0
    )
    warped, again = (coincide.read_image(p).numpy() for p in (out / "warped.nii.gz", done / "again.nii.gz"))
    assert np.abs(warped - again).max() < 1e-3
    labels = [
        "--moving",
        str(done / "moving_labels.nii.gz"),
        "--interp",
        "label",
        "--out",
        str(done / "l.nii.gz"),
    ]
    assert main(["apply", *common, *labels]) == 0
    carried, again = (
        coincide.read_image(p, kind="label").numpy() for p in (out / "labels.nii.gz", done / "l.nii.gz")
    )
    assert set(np.unique(carried)) == {0, 70_001}
    assert (carried != again).mean() < 1e-4


def test_points_go_where_the_truth_has_them(done, small_truth):
    there = ["--points", str(done / "fixed.csv"), "--out", str(done / "there.csv")]
    assert main(["points", "--transform", str(done / "out" / "transform.h5"), *there]) == 0
    found = coincide.read_points(done / "there.csv").world
    assert np.linalg.norm(found - small_truth(LANDMARKS), axis=1).max() < 0.25
    back = ["--points", str(done / "there.csv"), "--out", str(done / "back.csv")]
    assert main(["points", "--transform", str(done / "out" / "inverse.h5"), *back]) == 0
    assert np.abs(coincide.read_points(done / "back.csv").world - LANDMARKS).max() < 1e-3


def test_measure_finds_the_numbers_of_the_record(done, record, capsys):
    both = [
        "--fixed-labels",
        str(done / "fixed_labels.nii.gz"),
        "--moving-labels",
        str(done / "moving_labels.nii.gz"),
    ]
    assert main(["measure", *both, "--transform", str(done / "out" / "transform.h5"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"]["dice_mean"] == pytest.approx(record["measures"]["labels"]["dice_mean"], abs=1e-6)


def test_a_failed_result_is_written_and_has_its_own_code(done, tmp_path, capsys):
    image = coincide.read_image(done / "fixed.nii.gz")
    noise = np.random.default_rng(5).standard_normal(image.grid.shape).astype(np.float32)
    coincide.write_image(Image(noise, image.grid), tmp_path / "noise.nii.gz")
    images = [str(done / "fixed.nii.gz"), str(tmp_path / "noise.nii.gz")]
    code = main(["register", *images, "--out", str(tmp_path / "out"), "--transform", "rigid"])
    said = capsys.readouterr().out
    assert code == 4
    assert said.startswith("failed")
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES - {"labels.nii.gz"}


def test_an_input_in_the_folder_of_results_is_not_overwritten(done, capsys):
    code = main(
        [
            "register",
            str(done / "fixed.nii.gz"),
            str(done / "out" / "warped.nii.gz"),
            "--out",
            str(done / "out"),
        ]
    )
    assert code == 3
    assert "overwrite this input" in capsys.readouterr().err
