"""Bad images and options with every step, with features and with quality: refused by a typed error, nothing written."""

import nibabel as nib
import numpy as np
import pytest

from coincide.cli import main
from coincide.errors import OptionError
from coincide.image import Image
from coincide.io import write_image
from coincide.preprocess import STEPS
from coincide.preprocess.pipeline import description, parse
from phantom import STEP_SPECS as SPECS
from phantom import grid_around, picture

GRID = grid_around(3, (9.0, 10.0, 12.0))
OTHER = grid_around(3, 12.0)

NO_LEVELS = {
    *("rescale", "zscore", "gamma", "clahe", "bilateral", "deconvolve", "n4", "threshold", "grow", "snap"),
    *("largest", "enclosed", "fill", "morphology", "brain"),
}
"""Steps that stand on the image's range, or whose masks here come from a threshold."""
FLAT = {"undistort"}
"""Steps for pictures alone."""
DEEP = {"reorient", "untilt", "brain"}
"""Steps for volumes alone."""
BAD = {
    "constant": (["constant.nii"], {*NO_LEVELS, *FLAT, "crop"}),
    "NaN everywhere": (["nan.nii"], set(STEPS)),
    # spacing and seeds of three numbers, and nothing dark that is enclosed
    "one slice": (["slice.nii"], {*DEEP, "resample", "grow", "enclosed"}),
    "4-D": (["two.nii"], set(STEPS)),
    "an empty mask": (["scan.nii", "--mask", "empty.nii"], set(STEPS)),
    "a mask on another grid": (["scan.nii", "--mask", "elsewhere.nii"], set(STEPS)),
}
ANY_SIGN = {
    *(("window", "low"), ("window", "high"), ("rescale", "low"), ("rescale", "high"), ("pad", "value")),
    *(("untilt", "angle"), ("undistort", "k1"), ("undistort", "k2"), ("undistort", "centre")),
    *(("threshold", "at"), ("grow", "seeds")),
}
"""Numbers that may be below zero: brightness, places, and bends either way."""
OR_ZERO = {
    ("rescale", "lower"),
    ("crop", "margin"),
    ("thin", "strength"),
    ("brain", "threshold"),
    ("brain", "margin"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    scan = picture(GRID, noise=0.03)
    values = scan.numpy()[0]
    for name, array in (
        ("scan", values),
        ("constant", np.full_like(values, 7)),
        ("nan", np.full_like(values, np.nan)),
        ("slice", values[:, :, 8:9]),
        ("two", np.stack([values, values], -1)),
    ):
        nib.save(nib.Nifti1Image(array, GRID.affine), tmp_path / f"{name}.nii")
    write_image(picture(OTHER), tmp_path / "other.nii")
    write_image(Image(np.zeros(GRID.shape, np.uint8), GRID, "label"), tmp_path / "empty.nii")
    write_image(Image(np.ones(OTHER.shape, np.uint8), OTHER, "label"), tmp_path / "elsewhere.nii")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.filterwarnings("ignore::coincide.io.InputWarning")
@pytest.mark.parametrize("kind", BAD)
def test_every_step_takes_or_refuses_a_bad_image(folder, capsys, kind):
    arguments, refusing = BAD[kind]
    before = contents(folder)
    for name in STEPS:
        spec = SPECS.get(name, name).replace("reference=other", "reference=other.nii")
        code = main(["preprocess", *arguments, "--steps", spec, "--out", "o.nii"])
        said = capsys.readouterr().err
        assert code == (3 if name in refusing else 0), f"{name}: {said}"
        if code:
            assert said.count("error: ") == 1, name
        else:
            assert np.isfinite(nib.load("o.nii").get_fdata()).all(), name
            (folder / "o.nii").unlink()
            (folder / "o.json").unlink()
        assert contents(folder) == before, name


def test_numbers_that_options_cannot_be_are_refused():
    seen = set()
    for step in description():
        for option in step["options"]:
            key, kind = (step["name"], option["name"]), option["type"]
            if not kind.startswith(("int", "float")):
                continue
            seen.add(key)
            times = 2 if kind.startswith("float x float|") else 1
            for value in ("nan", "inf", "-inf", "-1", "0"):
                fine = value == "0" and key in OR_ZERO
                if key in ANY_SIGN and value in ("-1", "0"):
                    continue
                spec = f"{key[0]}:{key[1]}={'x'.join([value] * times)}"
                if fine:
                    parse(spec)
                else:
                    with pytest.raises(OptionError):
                        parse(spec)
    assert seen >= ANY_SIGN | OR_ZERO


@pytest.mark.filterwarnings("ignore::coincide.io.InputWarning")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["features", "nan.nii"], 3, "at most half"),
        (["features", "two.nii"], 3, "--time-index"),
        (["features", "scan.nii", "--mask", "empty.nii"], 3, "empty"),
        (["features", "scan.nii", "--mask", "elsewhere.nii"], 3, "elsewhere.nii"),
        (["features", "scan.nii", "--labels", "elsewhere.nii"], 3, "labels lie on"),
        (["features", "scan.nii", "--labels", "scan.nii"], 3, "integer"),
        (["features", "scan.nii", "--bins", "0"], 3, "2 or more"),
        (["features", "scan.nii", "--bins", "-1"], 3, "2 or more"),
        (["features", "scan.nii", "--bins", "nan"], 2, "integer"),
        (["features", "scan.nii", "--spacing", "0"], 3, "above 0"),
        (["features", "scan.nii", "--spacing", "-1"], 3, "above 0"),
        (["features", "scan.nii", "--spacing", "nan"], 3, "finite"),
        (["features", "scan.nii", "--spacing", "500"], 3, "fewer than 4 voxels"),
        (["features", "scan.nii", "--groups", "x"], 3, "unknown"),
        (["quality", "constant.nii"], 3, "percentiles"),
        (["quality", "nan.nii"], 3, "at most half"),
        (["quality", "two.nii"], 3, "--time-index"),
        (["quality", "scan.nii", "--mask", "empty.nii"], 3, "empty"),
        (["quality", "scan.nii", "--mask", "elsewhere.nii"], 3, "elsewhere.nii"),
        (["quality", "scan.nii", "--labels", "elsewhere.nii"], 3, "another grid"),
        (["quality", "scan.nii", "--reference", "constant.nii"], 3, "constant"),
        (["quality", "scan.nii", "--reference", "nan.nii"], 3, "at most half"),
        (["quality", "scan.nii", "--reference", "other.nii"], 3, "Resample"),
        (["quality", "scan.nii", "--reference", "slice.nii"], 3, "Resample"),
        (["quality", "scan.nii", "--time-index", "-1"], 3, "-1"),
    ],
)
def test_features_and_quality_refuse_what_cannot_be_measured(folder, capsys, arguments, code, says):
    before = contents(folder)
    out = ["--out", "f.csv"] if arguments[0] == "features" else []
    assert main([*arguments, *out]) == code
    assert says in " ".join(capsys.readouterr().err.split())
    assert contents(folder) == before


@pytest.mark.filterwarnings("ignore::coincide.io.InputWarning")
@pytest.mark.parametrize(
    "arguments", [["features", "slice.nii"], ["quality", "slice.nii"], ["features", "constant.nii"]]
)
def test_a_slice_is_measured_as_a_picture_and_a_constant_has_a_form(folder, capsys, arguments):
    assert main([*arguments, "--json"]) == 0
    shown = capsys.readouterr().out
    assert ("area_mm2" in shown) == (arguments == ["features", "slice.nii"])
    assert "Infinity" not in shown
    assert "NaN" not in shown
