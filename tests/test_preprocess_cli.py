"""`coincide preprocess`: what it writes, that it writes the same twice, and what it refuses."""

import json

import numpy as np
import pytest

from coincide.cli import main
from coincide.cli.preprocess import read_record
from coincide.image import Image
from coincide.io import read_image, write_image
from coincide.preprocess import STEPS
from coincide.preprocess.pipeline import parse
from phantom import STEP_SPECS as SPECS
from phantom import grid_around, head, picture

GRID = grid_around(3, (6.0, 6.0, 9.0))
SPEC = "median:radius=9 | threshold:keep=bright | resample:spacing=7 | crop:margin=5 | match:reference={}"
RECIPE = """
[[step]]
name = "resample"
spacing = [7, 6, 8]
interpolation = "cubic"

[[step]]
name = "gaussian"
sigma = 4
"""


@pytest.fixture
def folder(tmp_path):
    write_image(picture(GRID), tmp_path / "scan.nii.gz")
    write_image(picture(grid_around(3, 8.0), name="another one"), tmp_path / "other.nii")
    labels = (head(GRID.points()) > 0.4).astype(np.int32) * 3
    write_image(Image(labels, GRID, "label"), tmp_path / "labels.nii.gz")
    return tmp_path


def test_a_run_writes_image_mask_labels_and_record_and_the_same_again(folder):
    command = ["preprocess", str(folder / "scan.nii.gz"), "--steps", SPEC.format(folder / "other.nii")]
    command += ["--labels", str(folder / "labels.nii.gz")]
    written = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        files = [folder / name / n for n in ("out.nii.gz", "mask.nii.gz", "lab.nii.gz")]
        outs = ["--out", str(files[0]), "--out-mask", str(files[1]), "--out-labels", str(files[2])]
        assert main([*command, *outs]) == 0
        written.append({p.name: p.read_bytes() for p in sorted((folder / name).iterdir())})
    assert written[0] == written[1]
    assert set(written[0]) == {"out.nii.gz", "out.json", "mask.nii.gz", "lab.nii.gz"}
    record = json.loads(written[0]["out.json"])
    assert [s["step"] for s in record["steps"]] == ["median", "threshold", "resample", "crop", "match"]
    assert set(record["inputs"]) == {"image", "labels", f"reference {folder / 'other.nii'}"}
    out, mask = (
        read_image(folder / "a" / "out.nii.gz"),
        read_image(folder / "a" / "mask.nii.gz", kind="label"),
    )
    assert out.grid.matches(mask.grid)
    assert list(out.grid.shape) == record["after"]["shape"]
    assert set(np.unique(mask.numpy())) == {0, 1}

    found, back = folder / "a" / "lab.nii.gz", folder / "back.nii.gz"
    assert main(["preprocess", str(found), "--undo", str(folder / "a" / "out.json"), "--out", str(back)]) == 0
    again, first = read_image(back, kind="label"), read_image(folder / "labels.nii.gz", kind="label")
    assert again.grid.matches(first.grid)
    assert (again.data == first.data).float().mean() > 0.97


def test_a_recipe_is_the_same_as_its_steps(folder):
    (folder / "steps.toml").write_text(RECIPE)
    scan = str(folder / "scan.nii.gz")
    assert (
        main(["preprocess", scan, "--recipe", str(folder / "steps.toml"), "--out", str(folder / "r.nii")])
        == 0
    )
    steps = "resample:spacing=7x6x8,interpolation=cubic | gaussian:sigma=4"
    assert main(["preprocess", scan, "--steps", steps, "--out", str(folder / "s.nii")]) == 0
    assert (folder / "r.nii").read_bytes() == (folder / "s.nii").read_bytes()
    assert (folder / "r.json").read_bytes() == (folder / "s.json").read_bytes()


def test_one_volume_of_several_is_processed_and_laid_back(folder):
    import nibabel as nib

    scan = nib.load(folder / "scan.nii.gz")
    both = np.stack([scan.get_fdata(), scan.get_fdata() * 2 + 30], axis=-1).astype(np.float32)
    nib.save(nib.Nifti1Image(both, scan.affine), folder / "both.nii")
    steps, chosen = ["--steps", "pad:margin=9"], ["--time-index", "1"]
    assert main(["preprocess", str(folder / "both.nii"), *steps, "--out", str(folder / "p.nii")]) == 3
    assert (
        main(["preprocess", str(folder / "both.nii"), *steps, *chosen, "--out", str(folder / "p.nii")]) == 0
    )
    padded = nib.load(folder / "p.nii")
    pair = np.stack([padded.get_fdata() * 0, padded.get_fdata()], axis=-1).astype(np.float32)
    nib.save(nib.Nifti1Image(pair, padded.affine), folder / "pair.nii")
    undo = ["preprocess", str(folder / "pair.nii"), "--undo", str(folder / "p.json")]
    assert main([*undo, "--out", str(folder / "u.nii")]) == 3
    assert main([*undo, *chosen, "--out", str(folder / "u.nii")]) == 0
    np.testing.assert_allclose(nib.load(folder / "u.nii").get_fdata(), both[..., 1], atol=1e-2)


def test_the_steps_are_listed(capsys):
    assert main(["preprocess", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "n4" in shown
    assert "mm" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["scan.nii.gz"], 2, "--out"),
        (["scan.nii.gz", "--out", "o.nii"], 2, "one of --steps"),
        (["scan.nii.gz", "--out", "o.nii", "--steps", "n4", "--recipe", "x.toml"], 2, "one of --steps"),
        (["scan.nii.gz", "--out", "scan.nii.gz", "--steps", "n4"], 3, "overwrite"),
        (["scan.nii.gz", "--out", "o.nii", "--out-mask", "o.nii", "--steps", "n4"], 3, "overwrite"),
        (["scan.nii.gz", "--out", "no/o.nii", "--steps", "n4"], 3, "no folder"),
        (["scan.nii.gz", "--out", "o.nii", "--out-labels", "l.nii", "--steps", "n4"], 2, "needs --labels"),
        (["scan.nii.gz", "--out", "o.nii", "--steps", "n5"], 3, "Did you mean 'n4'"),
        (["scan.nii.gz", "--out", "o.txt", "--steps", "gaussian:sigma=3"], 3, "no image format"),
        (["scan.nii.gz", "--out", "o.nii", "--out-mask", "m.foo", "--steps", "n4"], 3, "m.foo: the suffix"),
        (["scan.nii.gz", "--out", "o.foo", "--undo", "done.json"], 3, "o.foo: the suffix"),
        (["scan.nii.gz", "--out", "o.nii", "--undo", "done.json", "--interp", "lin"], 3, "mean 'linear'"),
        (["scan.nii.gz", "--out", "o.nii", "--steps", "n4", "--interp", "label"], 2, "--interp goes with"),
        (["scan.nii.gz", "--out", "o.nii", "--steps", "threshold:at=1e9"], 3, "nothing is left"),
        (["scan.nii.gz", "--out", "o.nii", "--recipe", "none.toml"], 3, "no such recipe"),
        (["scan.nii.gz", "--out", "o.nii", "--recipe", "scan.nii.gz"], 3, "no recipe in TOML"),
        (["scan.nii.gz", "--out", "o.nii", "--recipe", "key.toml"], 3, "Did you mean 'sigma'"),
        (["scan.nii.gz", "--out", "o.nii", "--recipe", "table.toml"], 3, "[[step]]"),
        (["scan.nii.gz", "--out", "o.nii", "--recipe", "nameless.toml"], 3, "has no name"),
        (["scan.nii.gz", "--out", "o.nii", "--undo", "r.json", "--mask", "scan.nii.gz"], 2, "--undo takes"),
        (["scan.nii.gz", "--out", "o.nii", "--steps", "resample:spacing=0.005"], 5, "coarser spacing"),
        (["scan.nii.gz", "--out", "o.nii", "--undo", "none.json"], 3, "no such record"),
        (["scan.nii.gz", "--out", "scan.nii.gz", "--undo", "done.json"], 3, "would overwrite"),
        (["scan.nii.gz", "--out", "./done.json", "--undo", "done.json"], 3, "would overwrite"),
        (["scan.nii.gz", "--out", "o.nii", "--undo", "done.json", "--time-index", "1"], 3, "no 4-D image"),
        (["scan.nii.gz", "--out", "no/o.nii", "--undo", "done.json"], 3, "no folder"),
        (["scan.nii.gz", "--out", "o.nii", "--steps", "gaussian", "--time-index", "1"], 3, "no 4-D image"),
        (["scan.nii.gz", "--out", "side.nii", "--steps", "gaussian"], 3, "is no record"),
        (["scan.nii.gz", "--out", "o.nii", "--undo", "key.toml"], 3, "no record"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    folder, monkeypatch, capsys, arguments, code, says
):
    monkeypatch.chdir(folder)
    (folder / "key.toml").write_text('[[step]]\nname = "gaussian"\nsigmas = 3\n')
    (folder / "table.toml").write_text("steps = 3\n")
    (folder / "nameless.toml").write_text("[[step]]\nsigma = 3\n")
    (folder / "side.json").write_text('{"EchoTime": 0.003}')
    done = parse("pad:margin=9")(read_image(folder / "scan.nii.gz"))
    (folder / "done.json").write_text(json.dumps(done.record))
    before = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    assert main(["preprocess", *arguments]) == code
    said = " ".join(capsys.readouterr().err.split())
    assert says in said
    assert ".partial" not in said
    if "suffix" in said:
        assert "step 1" not in said
    assert {path: path.read_bytes() for path in sorted(folder.iterdir())} == before


def test_labels_that_are_lost_are_named(folder, capsys):
    labels = read_image(folder / "labels.nii.gz", kind="label")
    labels.data[0, 5, 6, 4] = 7
    write_image(labels, folder / "speck.nii.gz")
    command = ["preprocess", str(folder / "scan.nii.gz"), "--steps", "resample:spacing=20"]
    files = ["--out", str(folder / "o.nii"), "--out-labels", str(folder / "l.nii")]
    assert main([*command, "--labels", str(folder / "speck.nii.gz"), *files]) == 0
    assert "no voxel is left of label 7:" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--labels", str(folder / "labels.nii.gz"), *files]) == 0
    assert "no voxel" not in capsys.readouterr().err


def test_what_is_laid_back_is_taken_for_what_the_user_says(folder):
    command = ["preprocess", str(folder / "scan.nii.gz"), "--steps", "resample:spacing=8"]
    files = ["--out", str(folder / "p.nii"), "--out-labels", str(folder / "l.nii")]
    assert main([*command, "--labels", str(folder / "labels.nii.gz"), *files]) == 0
    undo = ["preprocess", str(folder / "l.nii"), "--undo", str(folder / "p.json"), "--out"]
    assert main([*undo, str(folder / "u.nii")]) == 0
    assert main([*undo, str(folder / "v.nii"), "--interp", "linear"]) == 0
    assert set(np.unique(read_image(folder / "u.nii").numpy())) == {0, 3}
    assert len(np.unique(read_image(folder / "v.nii").numpy())) > 2


@pytest.mark.parametrize("name", [name for name in STEPS if name != "brain"])
def test_every_step_is_recorded_whole_and_writes_the_same_bytes_twice(folder, name):
    scan = folder / "scan.nii.gz"
    if name == "undistort":
        scan = folder / "flat.nii.gz"
        write_image(picture(grid_around(2, 3.0)), scan)
    spec = SPECS.get(name, name).replace("reference=other", f"reference={folder / 'other.nii'}")
    written = []
    for run in ("a", "b"):
        (folder / run).mkdir()
        files = [folder / run / n for n in ("out.nii.gz", "mask.nii.gz")]
        outs = ["--out", str(files[0]), "--out-mask", str(files[1])]
        assert main(["preprocess", str(scan), "--steps", spec, *outs]) == 0
        written.append({p.name: p.read_bytes() for p in sorted((folder / run).iterdir())})
    assert written[0] == written[1]
    pipeline, grids = read_record(folder / "a" / "out.json")
    assert pipeline == parse(spec)
    assert grids[0].matches(read_image(scan).grid)
    record = json.loads(written[0]["out.json"])
    assert {"coincide", "inputs", "steps", "after", "versions"} == set(record)
    wanted = {"numpy", "torch", *(package for step in pipeline.steps for package in step.packages)}
    assert set(record["versions"]) == wanted
    assert "not installed" not in record["versions"].values()
