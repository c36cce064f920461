"""The folder of results: whole files, a consistent set, an honest record."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import coincide
from coincide.errors import OutputError
from coincide.image import Image
from coincide.methods import Step
from coincide.registration import Registration, Verdict
from coincide.results import as_plain, check_folder, write_results
from coincide.transforms import translation
from coincide.transforms.displacement import Displacement

ALL = {"transform.h5", "inverse.h5", "warped.nii.gz", "labels.nii.gz", "registration.json"}


def made_up(fixed: Image, moving: Image, shift=(1.0, -2.0, 3.0)) -> Registration:
    """A registration nobody computed."""
    field = torch.zeros(3, *fixed.grid.shape)
    field[:] = torch.tensor(shift)[:, None, None, None]
    return Registration(
        pair=coincide.Pair(fixed, moving),
        transform=Displacement(field, fixed.grid),
        inverse=translation([-s for s in shift]),
        warped=fixed,
        labels=Image((fixed.data > 50).to(torch.uint8), fixed.grid, "label"),
        points=None,
        measures={"before": {"ncc": np.float32(0.5)}, "after": {"ncc": 0.75, "ssim": float("nan")}},
        verdict=Verdict("converged", "All is well.", (), {"gain": 0.5}, {"gain": 0.25}),
        trace=(Step("linear", 1, 1, -0.5, 0.125),),
        decisions=("it was decided",),
        provenance={"seed": 7, "settings": {"levels": (4, 2, 1)}},
    )


@pytest.fixture
def registration(small_pair):
    return made_up(*small_pair)


def test_the_set(registration, tmp_path):
    out = tmp_path / "new" / "result"
    written = write_results(registration, out, argv=["coincide", "register"], report=False)
    assert written[:2] == ["transform.h5", "inverse.h5"]
    assert set(written) == {p.name for p in out.iterdir()} == ALL
    transform = coincide.read_transform(out / "transform.h5")
    inside = registration.pair.fixed.grid.world([[5, 6, 7]])
    assert np.allclose(transform(inside), inside + np.array([1, -2, 3]), atol=1e-4)
    record = json.loads((out / "registration.json").read_text())
    assert record["argv"] == ["coincide", "register"]
    assert record["coincide"] == coincide.__version__
    assert record["measures"] == {"before": {"ncc": 0.5}, "after": {"ncc": 0.75, "ssim": None}}
    assert record["verdict"]["thresholds"] == {"gain": 0.25}
    assert record["seed"] == 7
    assert record["settings"] == {"levels": [4, 2, 1]}
    assert record["trace"] == [
        {"stage": "linear", "level": 1, "iteration": 1, "value": -0.5, "seconds": 0.125}
    ]
    assert record["files"]["labels.nii.gz"]["interpolation"] == "label"
    assert record["files"]["labels.nii.gz"]["scores_use"] == "nearest"
    for name in ALL - {"registration.json"}:
        assert record["files"][name]["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()


def test_an_earlier_set_goes_and_other_files_stay(registration, tmp_path):
    write_results(registration, tmp_path, report=False)
    for name in (*ALL, "report.html", "notes.txt"):
        if name != "registration.json":
            (tmp_path / name).write_text("old")
    write_results(replace(registration, labels=None), tmp_path, report=False)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == ALL - {"labels.nii.gz"} | {"notes.txt"}
    assert (tmp_path / "notes.txt").read_text() == "old"


def test_a_failure_before_the_transform_is_safe_leaves_everything_as_it_was(
    registration, tmp_path, monkeypatch
):
    import coincide.io

    write_results(registration, tmp_path / "old", report=False)
    before = {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()}

    def full(transform, path):
        raise OutputError(f"{path}: no room")

    monkeypatch.setattr(coincide.io, "write_transform", full)
    for name in ("old", "new"):
        with pytest.raises(OutputError, match="no room"):
            write_results(registration, tmp_path / name, report=False)
    assert {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()} == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("problem", [OutputError("warped.nii.gz: no room."), KeyboardInterrupt()])
def test_a_failure_after_it_keeps_the_transform_and_no_stale_set(
    registration, tmp_path, monkeypatch, problem
):
    import coincide.io

    write_results(registration, tmp_path, report=False)

    def fail(image, path):
        raise problem

    monkeypatch.setattr(coincide.io, "write_image", fail)
    with pytest.raises(type(problem)) as error:
        write_results(registration, tmp_path, report=False)
    if isinstance(problem, OutputError):
        assert "Safe in" in str(error.value)
        assert "transform.h5" in str(error.value)
    assert {p.name for p in tmp_path.iterdir()} == {"transform.h5", "inverse.h5"}


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.path.insert(0, {tests!r})
from conftest import pictured
from test_results import made_up
from coincide.cli import console
from coincide.errors import OutputError
from coincide.grid import Grid
from coincide.results import write_results
grid = Grid.from_spacing((40, 40, 40), 2.0)
try:
    write_results(made_up(pictured(grid), pictured(grid)), {out!r}, report=False)
except OutputError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs ulimit -f")
def test_a_file_that_may_not_grow(tmp_path):
    out = tmp_path / "out"
    code = LIMITED.format(limit=100_000, tests=str(Path(__file__).parent), out=str(out))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "File too large" in done.stdout
    assert not out.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(registration, small_disk):
    # 434 kB of field, then 120 kB of image: both fit until most of the disk is taken.
    filler = small_disk / "filler"
    filler.write_bytes(bytes(450_000))
    out = small_disk / "out"
    with pytest.raises(OutputError, match=r"Safe in .*transform\.h5"):
        write_results(registration, out, report=False)
    assert {p.name for p in out.iterdir()} == {"transform.h5", "inverse.h5"}
    shutil.rmtree(out)
    filler.write_bytes(bytes(900_000))
    with pytest.raises(OutputError, match="No space left"):
        write_results(registration, small_disk / "other", report=False)
    assert not (small_disk / "other").exists()


def test_folders_that_will_not_do(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        check_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        check_folder(tmp_path / "file" / "below")
    with pytest.raises(OutputError, match="overwrite this input"):
        check_folder(tmp_path, inputs=[tmp_path / "sub" / ".." / "warped.nii.gz"])
    if Path("/proc/self").is_dir():
        with pytest.raises(OutputError, match="cannot be written"):
            check_folder("/proc/coincide-results")  # nobody may make a folder there, not even root
    check_folder(tmp_path / "a" / "b", inputs=[tmp_path / "warped.nii.gz"])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        check_folder(tmp_path / "out")
    tmp_path.chmod(0o700)


def test_plain_values():
    value = {1: (np.int64(2), np.float32(0.5), float("inf"), np.array([True])), "p": Path("a/b"), "n": None}
    assert as_plain(value) == {"1": [2, 0.5, None, [True]], "p": "a/b", "n": None}
    json.dumps(as_plain(value), allow_nan=False)


def test_a_file_that_no_run_wrote_is_never_taken_away(tmp_path, small_pair):
    registration = made_up(*small_pair)
    for name in ("labels.nii.gz", "report.html", "registration.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(OutputError, match="no run of coincide wrote"):
            write_results(registration, folder, report=False)
        assert [p.name for p in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"
