"""The command line: files in, files out, exit codes, one red line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import coincide
from coincide.cli import main
from coincide.cli.apply import looks_like_labels
from coincide.grid import Grid
from coincide.image import Image
from coincide.transforms import rigid, translation


@pytest.fixture
def run(capsys):
    """Runs the command line: exit code, standard output, standard error (each with single spaces)."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        print(said.err)  # for the report of a test that fails
        return code, " ".join(said.out.split()), " ".join(said.err.split())

    return call


@pytest.fixture
def turn(tmp_path):
    """A rigid transform and the file it is in."""
    transform = rigid((7, -11, 5), (6, -4, 3), (5, 6, 7))
    coincide.write_transform(transform, tmp_path / "turn.h5")
    return transform, tmp_path / "turn.h5"


LANDMARKS = np.array([[1.0, 2.0, 3.0], [-10.0, 20.0, 5.5], [8.0, -7.0, 30.0]])


@pytest.fixture
def landmarks(tmp_path):
    path = tmp_path / "landmarks.csv"
    coincide.write_points(coincide.Points(LANDMARKS, ("a", "b", "c")), path)
    return path


# Help and usage

COMMANDS = ("register", "apply", "points", "convert", "invert", "compose", "methods", "measure", "demo")
OPTIONS = (
    *("out", "transform", "method", "preset", "similarity", "init", "fixed-mask", "moving-mask"),
    *("fixed-labels", "moving-labels", "fixed-points", "moving-points", "use-landmarks", "time-index"),
    *("threads", "seed", "device"),
)


def test_help_waits_for_no_heavy_library():
    code = (
        "import sys; from coincide.cli import main; code = main(['register', '--help']);"
        "heavy = {'torch', 'numba', 'SimpleITK', 'matplotlib', 'nibabel', 'scipy'} & set(sys.modules);"
        "sys.exit(code or (heavy and f'imported {heavy}') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in OPTIONS:
        assert f"--{option}" in done.stdout


def test_a_method_is_imported_without_the_others():
    script = (
        "import sys; from coincide import registration; from coincide.methods import parse; parse('auto');"
        "other = {'scipy.ndimage', 'scipy.signal', 'cv2', 'skimage', 'matplotlib', 'jinja2'} & set(sys.modules);"
        "assert not other, other; parse('phase'); assert 'scipy.signal' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_who_has_had_enough_is_no_error():
    seen, written = os.pipe()
    os.close(seen)
    done = subprocess.run(
        [sys.executable, "-m", "coincide", "methods"], stdout=written, stderr=subprocess.PIPE, check=False
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_command_is_there(run):
    code, out, _ = run("--help")
    assert code == 0
    for command in COMMANDS:
        assert f" {command} " in out


def test_version(run):
    assert run("--version")[:2] == (0, f"coincide {coincide.__version__}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["register", "a.nii", "b.nii", "--out", "x", "--preste", "fast"], "--preset"),
        (["registr", "a.nii", "b.nii"], "'register'"),
        (["register", "a.nii"], "MOVING"),
        (["register", "a.nii", "b.nii"], "--out"),
        (["register", "a.nii", "b.nii", "--out", "x", "--threads", "many"], "--threads"),
        (["register", "a.nii", "b.nii", "--out", "x", "--threads", "0"], "--threads"),
        (["points", "--transform", "t.h5", "--points", "p.csv"], "--out"),
        (["register", "a.nii", "b.nii", "--out", ""], "empty"),
        (["measure"], "nothing to measure"),
        (["measure", "--fixed-labels", "a.nii"], "--moving-labels"),
        (["measure", "--moving-points", "a.csv"], "--fixed-points"),
        (["measure", "--fixed", "a.nii"], "--moving"),
    ],
)
def test_usage(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert "--help" in err


def test_errors_are_one_line_and_the_traceback_is_for_debug(run, tmp_path):
    arguments = ["points", "--transform", tmp_path / "no.h5", "--points", "p.csv", "--out", "o.csv"]
    (tmp_path / "p.csv").write_text("name,x,y,z\na,1,2,3\n")
    code, _, err = run(*arguments)
    assert code == 3
    assert "Traceback" not in err
    code, _, err = run(*arguments, "--debug")
    assert code == 3
    assert "Traceback" in err
    assert "error: " in err


def test_a_bug_is_an_internal_error(run, monkeypatch, turn, landmarks, tmp_path):
    import coincide.io

    monkeypatch.setattr(coincide.io, "read_points", lambda path: 1 / 0)
    code, _, err = run("points", "--transform", turn[1], "--points", landmarks, "--out", tmp_path / "o.csv")
    assert code == 6
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (MemoryError("Unable to allocate 4 TiB"), 5),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 5),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device"), 3),
        (coincide.CoincideError("no branch of the tree"), 6),
    ],
)
def test_exit_codes_of_what_can_happen(run, monkeypatch, turn, landmarks, tmp_path, problem, code):
    import coincide.io

    def fail(path):
        raise problem

    monkeypatch.setattr(coincide.io, "read_points", fail)
    found, _, err = run("points", "--transform", turn[1], "--points", landmarks, "--out", tmp_path / "o.csv")
    assert found == code
    assert err.startswith("error: ")
    assert not (tmp_path / "o.csv").exists()


# Points and transform files


def test_points_go_fixed_to_moving_and_back(run, turn, landmarks, tmp_path):
    transform, file = turn
    assert run("points", "--transform", file, "--points", landmarks, "--out", tmp_path / "there.csv")[0] == 0
    there = coincide.read_points(tmp_path / "there.csv")
    assert np.abs(there.world - transform(LANDMARKS)).max() < 1e-9
    assert there.names == ("a", "b", "c")
    back = ("--points", tmp_path / "there.csv", "--out", tmp_path / "back.csv", "--inverse")
    assert run("points", "--transform", file, *back)[0] == 0
    assert np.abs(coincide.read_points(tmp_path / "back.csv").world - LANDMARKS).max() < 1e-9


def test_points_agree_with_simpleitk(run, turn, landmarks, tmp_path):
    import SimpleITK as sitk

    run("points", "--transform", turn[1], "--points", landmarks, "--out", tmp_path / "there.csv")
    theirs = sitk.ReadTransform(str(turn[1]))
    lps = np.array([-1, -1, 1])
    expected = [lps * theirs.TransformPoint((lps * p).tolist()) for p in LANDMARKS]
    assert np.abs(coincide.read_points(tmp_path / "there.csv").world - expected).max() < 1e-6


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt", ".mat"])
def test_convert(run, turn, tmp_path, suffix):
    assert run("convert", turn[1], "--out", tmp_path / f"other{suffix}")[0] == 0
    other = coincide.read_transform(tmp_path / f"other{suffix}")
    assert np.abs(other(LANDMARKS) - turn[0](LANDMARKS)).max() < 1e-6


def test_what_is_read_is_not_overwritten(run, turn, tmp_path, landmarks):
    grid = Grid.from_spacing((12, 14, 16), 3.0)
    moving = tmp_path / "moving.nii.gz"
    coincide.write_image(Image(np.zeros(grid.shape, np.float32), grid), moving)
    files = [turn[1], moving, landmarks]
    before = [file.read_bytes() for file in files]
    for line in (
        ("convert", turn[1], "--out", turn[1]),
        ("invert", turn[1], "--out", turn[1]),
        ("compose", turn[1], turn[1], "--out", turn[1]),
        ("convert", turn[1], "--out", moving, "--reference", moving),
        ("apply", "--transform", turn[1], "--moving", moving, "--reference", moving, "--out", moving),
        ("points", "--transform", turn[1], "--points", landmarks, "--out", landmarks),
    ):
        code, _, err = run(*line)
        assert code == 3
        assert "would overwrite" in err
    assert [file.read_bytes() for file in files] == before


def test_a_reference_that_would_do_nothing_is_refused(run, turn, tmp_path):
    grid = Grid.from_spacing((12, 14, 16), 3.0)
    coincide.write_image(Image(np.zeros(grid.shape, np.float32), grid), tmp_path / "reference.nii.gz")
    code, _, err = run(
        "convert", turn[1], "--out", tmp_path / "t.h5", "--reference", tmp_path / "reference.nii.gz"
    )
    assert code == 3
    assert "--reference" in err
    assert not (tmp_path / "t.h5").exists()


def test_a_sheared_reference_becomes_an_upright_grid_around_it(run, turn, tmp_path):
    grid = Grid.from_spacing((12, 14, 16), 3.0)
    affine = grid.affine.copy()
    affine[0, 1] = 0.6
    sheared = Grid(grid.shape, affine)
    coincide.write_image(Image(np.zeros(grid.shape, np.float32), sheared), tmp_path / "reference.nii.gz")
    field = tmp_path / "field.nii.gz"
    code, _, err = run("convert", turn[1], "--out", field, "--reference", tmp_path / "reference.nii.gz")
    assert code == 0
    assert "sheared" in err
    inside = sheared.points()[3:-3:3, 3:-3:3, 3:-3:3].reshape(-1, 3)
    assert np.abs(coincide.read_transform(field)(inside) - turn[0](inside)).max() < 1e-4


def test_convert_to_a_field_needs_a_reference(run, turn, tmp_path):
    code, _, err = run("convert", turn[1], "--out", tmp_path / "field.nii.gz")
    assert code == 3
    assert "reference" in err or "grid" in err
    grid = Grid.from_spacing((12, 14, 16), 3.0, origin=(-20, -10, -4))
    coincide.write_image(Image(np.zeros(grid.shape, np.float32), grid), tmp_path / "reference.nii.gz")
    field = ("--out", tmp_path / "field.nii.gz", "--reference", tmp_path / "reference.nii.gz")
    assert run("convert", turn[1], *field)[0] == 0
    inside = grid.points()[2:-2:3, 2:-2:3, 2:-2:3].reshape(-1, 3)
    read = coincide.read_transform(tmp_path / "field.nii.gz")
    assert np.abs(read(inside) - turn[0](inside)).max() < 1e-4


def test_invert(run, turn, tmp_path):
    assert run("invert", turn[1], "--out", tmp_path / "inverse.h5")[0] == 0
    inverse = coincide.read_transform(tmp_path / "inverse.h5")
    assert np.abs(inverse(turn[0](LANDMARKS)) - LANDMARKS).max() < 1e-9


def test_compose_applies_the_first_named_first(run, turn, tmp_path):
    shift = translation((30, 0, -5))
    coincide.write_transform(shift, tmp_path / "shift.h5")
    assert run("compose", turn[1], tmp_path / "shift.h5", "--out", tmp_path / "both.h5")[0] == 0
    both = coincide.read_transform(tmp_path / "both.h5")
    assert np.abs(both(LANDMARKS) - shift(turn[0](LANDMARKS))).max() < 1e-9
    assert np.abs(both(LANDMARKS) - turn[0](shift(LANDMARKS))).max() > 1


# apply


BIG = 614454277


@pytest.fixture
def regions(tmp_path):
    """A label map with a large label, of a type float32 cannot carry, and its file."""
    grid = Grid.from_spacing((20, 22, 24), (2, 2, 1.5), origin=(-20, -22, -18))
    data = np.zeros(grid.shape, np.int32)
    data[4:12, 5:15, 6:18] = BIG
    data[12:16, 8:14, 6:12] = 7
    image = Image(data, grid, "label")
    coincide.write_image(image, tmp_path / "regions.nii.gz")
    return image, tmp_path / "regions.nii.gz"


@pytest.mark.parametrize("interp", ["nearest", "label", "auto"])
def test_apply_keeps_labels(run, tmp_path, regions, interp):
    coincide.write_transform(translation((4, 0, 3)), tmp_path / "shift.h5")
    common = ("--transform", tmp_path / "shift.h5", "--moving", regions[1], "--reference", regions[1])
    assert run("apply", *common, "--out", tmp_path / "moved.nii.gz", "--interp", interp)[0] == 0
    moved = coincide.read_image(tmp_path / "moved.nii.gz", kind="label").numpy()[0]
    before = regions[0].numpy()[0]
    assert set(np.unique(moved)) == {0, 7, BIG}
    # A shift of whole voxels, fixed to moving: the value at a voxel is that two along.
    assert np.array_equal(moved[:-2, :, :-2], before[2:, :, 2:])


def test_apply_agrees_with_simpleitk(run, tmp_path, turn, small_pair):
    import SimpleITK as sitk

    fixed, moving = small_pair
    coincide.write_image(fixed, tmp_path / "fixed.nii.gz")
    coincide.write_image(moving, tmp_path / "moving.nii.gz")
    common = (
        "--transform",
        turn[1],
        "--moving",
        tmp_path / "moving.nii.gz",
        "--reference",
        tmp_path / "fixed.nii.gz",
    )
    assert run("apply", *common, "--out", tmp_path / "ours.nii.gz")[0] == 0
    ours = coincide.read_image(tmp_path / "ours.nii.gz").numpy()[0]
    reference, image = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("fixed", "moving"))
    theirs = sitk.Resample(image, reference, sitk.ReadTransform(str(turn[1])), sitk.sitkLinear)
    inner = (slice(5, -5),) * 3
    assert np.abs(ours - sitk.GetArrayFromImage(theirs).T)[inner].max() < 1e-2


def test_apply_refuses_an_unknown_interpolation_before_anything_else(run, tmp_path):
    files = (
        "--transform",
        "no.h5",
        "--moving",
        "no.nii",
        "--reference",
        "no.nii",
        "--out",
        tmp_path / "o.nii.gz",
    )
    code, _, err = run("apply", *files, "--interp", "linaer")
    assert code == 3
    assert "Did you mean 'linear'?" in err
    assert not list(tmp_path.iterdir())


def test_label_maps_are_told_from_pictures(regions, small_pair):
    assert looks_like_labels(regions[0].numpy()[0])
    assert not looks_like_labels(np.rint(small_pair[0].numpy()[0]).astype(np.int16))
    assert not looks_like_labels(np.zeros((4, 5, 6), np.uint8))


# measure


def test_measure_labels(run, tmp_path, regions):
    code, out, _ = run("measure", "--fixed-labels", regions[1], "--moving-labels", regions[1], "--json")
    assert code == 0
    assert json.loads(out)["labels"]["per_label"][str(BIG)]["dice"] == 1.0
    coincide.write_transform(translation((4, 0, 0)), tmp_path / "shift.h5")
    shifted = ("--transform", tmp_path / "shift.h5", "--json")
    _, out, _ = run("measure", "--fixed-labels", regions[1], "--moving-labels", regions[1], *shifted)
    # Eight voxels wide, two of them lost and two won: 6 / 8.
    assert json.loads(out)["labels"]["per_label"][str(BIG)]["dice"] == pytest.approx(0.75)


def test_measure_points(run, tmp_path, turn, landmarks):
    coincide.write_points(coincide.Points(turn[0](LANDMARKS) + np.array([0, 3, 4])), tmp_path / "moving.csv")
    both = ("--fixed-points", landmarks, "--moving-points", tmp_path / "moving.csv")
    code, out, _ = run("measure", *both, "--transform", turn[1], "--json")
    assert code == 0
    assert json.loads(out)["points"]["after"]["tre_mean_mm"] == pytest.approx(5.0)
    assert "points tre_mean_mm" in run("measure", *both, "--transform", turn[1])[1]


def test_measure_images(run, tmp_path, small_pair, small_truth):
    fixed, moving = small_pair
    coincide.write_image(fixed, tmp_path / "fixed.nii.gz")
    coincide.write_image(moving, tmp_path / "moving.nii.gz")
    coincide.write_transform(small_truth, tmp_path / "truth.h5")
    both = ("--fixed", tmp_path / "fixed.nii.gz", "--moving", tmp_path / "moving.nii.gz")
    code, out, _ = run("measure", *both, "--transform", tmp_path / "truth.h5", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["after"]["ncc"] > 0.99 > found["before"]["ncc"]
    assert found["field"]["folding_any_percent"] == 0


# methods


def test_methods_as_json_are_what_can_be_asked_for(run):
    code, out, _ = run("methods", "--json")
    assert code == 0
    known = {m["name"]: m for m in json.loads(out)}
    assert "auto" in known
    for method in known.values():
        assert method["summary"]
        assert all(option["help"] for option in method["options"]), (
            f"an option of {method['name']} has no help"
        )
    _, out, _ = run("methods")
    assert all(name in out for name in known)
