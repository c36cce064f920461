"""Bad input on the command line: refused early, by a typed error, with exit code 3, and nothing written."""

import gzip

import nibabel as nib
import numpy as np
import pytest

import coincide
from coincide.cli import main
from coincide.grid import Grid
from coincide.methods import METHODS
from conftest import organ

SHAPE = (20, 22, 24)
AFFINE = np.diag([3.0, 3.0, 2.5, 1.0])
AFFINE[:3, 3] = -30, -33, -30


def values(shape=SHAPE) -> np.ndarray:
    """A picture of the organ, with a little noise."""
    grid = Grid(SHAPE, AFFINE)
    noise = np.random.default_rng(1).standard_normal(SHAPE)
    return (organ(grid.points()) + noise).astype(np.float32)[tuple(slice(n) for n in shape)]


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def header_without_orientation(path, pixdim):
    """A NIfTI file whose only geometry is `pixdim`."""
    image = nib.Nifti1Image(values(), None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.save(image, path)
    return patched_pixdim(path, pixdim)


def patched_pixdim(path, pixdim):
    raw = bytearray(path.read_bytes())
    raw[76 + 4 : 76 + 16] = np.array(pixdim, "<f4").tobytes()
    path.write_bytes(bytes(raw))
    return path


def missing(folder):
    return folder / "no-such-file.nii.gz"


def a_folder(folder):
    (folder / "scan.nii").mkdir()
    return folder / "scan.nii"


def truncated(folder):
    path = save(folder / "x.nii", values())
    path.write_bytes(path.read_bytes()[:-20_000])
    return path


def truncated_gzip(folder):
    path = save(folder / "x.nii.gz", values())
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def broken_gzip(folder):
    path = folder / "x.nii.gz"
    raw = bytearray(gzip.compress(save(folder / "y.nii", values()).read_bytes()))
    raw[3000:3100] = bytes(100)
    path.write_bytes(bytes(raw))
    return path


def no_image_at_all(folder):
    path = folder / "x.nii.gz"
    path.write_text("this is a letter")
    return path


def zero_spacing(folder):
    return header_without_orientation(folder / "x.nii", (0, 3, 2.5))


def nan_spacing(folder):
    return header_without_orientation(folder / "x.nii", (3, float("nan"), 2.5))


def singular(folder):
    affine = AFFINE.copy()
    affine[:3, 1] = affine[:3, 0]
    return save(folder / "x.nii", values(), affine)


def constant(folder):
    return save(folder / "x.nii", np.full(SHAPE, 7, np.float32))


def all_nan(folder):
    return save(folder / "x.nii", np.full(SHAPE, np.nan, np.float32))


def flat(folder):
    return save(folder / "x.nii", values()[:, :, 12])


def four_dimensional(folder):
    return save(folder / "x.nii", np.stack([values(), values()], -1))


def complex_values(folder):
    return save(folder / "x.nii", values().astype(np.complex64))


def coloured(folder):
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"], colours["G"] = np.clip(values(), 0, 255), 9
    return save(folder / "x.nii", colours)


def far_away(folder):
    affine = AFFINE.copy()
    affine[:3, 3] += 5000
    return save(folder / "x.nii", values(), affine)


BAD = {
    missing: "no such file",
    a_folder: "folder",
    truncated: "truncated",
    truncated_gzip: "truncated",
    broken_gzip: "broken",
    no_image_at_all: "x.nii.gz",
    zero_spacing: "spacing",
    nan_spacing: "spacing",
    singular: "singular",
    constant: "constant",
    all_nan: "NaN",
    flat: "2-D",
    four_dimensional: "--time-index",
    complex_values: "complex",
    coloured: "coloured",
}


@pytest.fixture
def good(tmp_path):
    (tmp_path / "in").mkdir()
    return save(tmp_path / "in" / "good.nii.gz", values())


@pytest.fixture
def refused(tmp_path, capsys):
    """Asserts that the command line refuses with one line and writes nothing; returns the line."""

    def call(*arguments):
        before = sorted(tmp_path.rglob("*"))
        code = main(["register", *(str(a) for a in arguments), "--out", str(tmp_path / "out")])
        said = " ".join(capsys.readouterr().err.split())
        assert code == 3, said
        assert said.count("error: ") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return said.partition("error: ")[2]

    return call


@pytest.mark.filterwarnings("ignore::coincide.io.InputWarning")  # of what is met before the damage
@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("bad", BAD, ids=lambda f: f.__name__)
def test_images(refused, good, bad, role):
    path = bad(good.parent)
    message = refused(path, good) if role == "fixed" else refused(good, path)
    assert BAD[bad].lower() in message.lower()
    assert path.name in message


FLAT = ("sift", "orb", "akaze", "harris", "surf")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_what_it_cannot_register(refused, good, method):
    for bad, says in ((constant, "constant"), (all_nan, "NaN"), (flat, "2-D"), (missing, "no such file")):
        assert says in refused(good, bad(good.parent), "--method", method)
    mask = save(good.parent / "mask.nii", np.zeros(SHAPE, np.uint8))
    assert "empty" in refused(good, good, "--moving-mask", mask, "--method", method)
    assert "Did you mean" in refused(good, good, "--method", method + "s")
    assert f"unknown option 'hurry' of method '{method}'" in refused(
        good, good, "--method", f"{method}:hurry=1"
    )


@pytest.mark.parametrize("method", FLAT)
def test_methods_for_pictures_refuse_volumes(refused, good, method):
    assert f"method '{method}' registers 2-D images" in refused(good, good, "--method", method)


def test_methods_that_need_more_than_images_say_so(refused, good):
    for method, says in (
        ("landmarks", "landmarks"),
        ("icp:source=points", "points"),
        ("cpd:source=labels", "labels"),
        ("boundary:source=labels", "labels"),
    ):
        assert says in refused(good, good, "--method", method)


def test_images_that_share_no_space_without_a_search(refused, good):
    message = refused(good, far_away(good.parent), "--method", "linear:starts=0", "--transform", "rigid")
    assert "overlap" in message or "share no" in message


def test_an_empty_mask(refused, good):
    mask = save(good.parent / "mask.nii", np.zeros(SHAPE, np.uint8))
    assert "empty" in refused(good, good, "--fixed-mask", mask)
    assert "empty" in refused(good, good, "--moving-mask", mask)


def test_a_mask_on_another_grid(refused, good):
    affine = AFFINE.copy()
    affine[0, 3] += 6
    mask = save(good.parent / "mask.nii", np.ones(SHAPE, np.uint8), affine)
    assert "Resample the mask" in refused(good, good, "--fixed-mask", mask)


def test_labels_that_are_none(refused, good):
    assert "integers" in refused(good, good, "--moving-labels", good)


def test_an_image_for_a_mask(refused, good):
    assert "this is an image" in refused(good, good, "--fixed-mask", good)


def test_what_does_not_steer(refused, good):
    (good.parent / "p.csv").write_text("name,x,y,z\na,1,2,3\nb,4,5,6\n")
    points = ("--fixed-points", good.parent / "p.csv", "--moving-points", good.parent / "p.csv")
    labels = save(good.parent / "l.nii", (values() > 60).astype(np.uint8))
    both = ("--fixed-labels", labels, "--moving-labels", labels)
    for given, method, says in (
        (both, "auto", "labels do not steer method 'auto'"),
        (both, "deformable", "labels steer icp, cpd, boundary and regions"),
        (points, "auto:transform=rigid", "landmarks do not steer method 'auto'"),
        (points, "regions", "landmarks do not steer method 'regions'"),
        (points, "boundary", "landmarks do not steer method 'boundary'"),
        ((*points, *both), "icp:source=mask", "landmarks and labels do not steer method 'icp'"),
    ):
        assert says in refused(good, good, "--method", method, "--use-landmarks", *given)


def test_results_that_cannot_be_written_are_foreseen(good, capsys):
    assert main(["register", str(good), str(good), "--out", "/proc/coincide"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "/proc/coincide: cannot be written" in said
    assert "reading" not in said


def test_landmarks(refused, good):
    (good.parent / "two.csv").write_text("name,x,y,z\na,1,2,3\nb,4,5,6\n")
    (good.parent / "one.csv").write_text("name,x,y,z\nc,1,2,3\n")
    (good.parent / "bad.csv").write_text("name,x,y,z\na,1,2,three\n")
    (good.parent / "flat.csv").write_text("name,x,y\na,1,2\n")
    two, one, bad, plane = (good.parent / f"{n}.csv" for n in ("two", "one", "bad", "flat"))
    assert "2 fixed and 1 moving" in refused(good, good, "--fixed-points", two, "--moving-points", one)
    assert "three" in refused(good, good, "--fixed-points", bad)
    assert "2-D" in refused(good, good, "--fixed-points", plane)


def test_an_initial_transform_that_is_none(refused, good):
    (good.parent / "t.tfm").write_text("#Insight Transform File V1.0\nnonsense")
    assert "t.tfm" in refused(good, good, "--init", good.parent / "t.tfm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "lineer"], "Did you mean 'linear'?"),
        (["--method", "linear:start=3"], "Did you mean 'starts'?"),
        (["--method", "linear:model=rigidd"], "Did you mean 'rigid'?"),
        (["--transform", "afine"], "Did you mean 'affine'?"),
        (["--preset", "fasst"], "Did you mean 'fast'?"),
        (["--similarity", "lnc"], "Did you mean 'lncc'?"),
        (["--similarity", "lncc:raduis=3"], "Did you mean 'radius'?"),
        (["--device", "gpu"], "device"),
        (["--method", "linear:foo=1"], "unknown option 'foo' of method 'linear'"),
        (["--method", "linear:coarse=0"], "coarse must be 1000 or more, found 0"),
        (["--method", "linear:fine=0"], "fine must be 1000 or more"),
        (["--method", "linear:iterations=-1"], "iterations must be 0 or more"),
        (["--method", "linear:starts=-1"], "starts must be 0 or more"),
        (["--method", "deformable:coarsest=0"], "coarsest must be 4 or more"),
        (["--method", "deformable:finest=nan"], "expected a finite number, found 'nan'"),
        (["--method", "deformable:least_jacobian=5"], "least_jacobian must be from 0 to below 1"),
        (["--similarity", "lncc:radius=-3"], "radius must be 1 or more"),
        (["--method", "auto:similarity=lncc(radius=-1)"], "radius must be 1 or more"),
        (["--method", "linear", "--transform", "deformable"], "does not go as far as transform 'deformable'"),
        (["--method", "demons", "--transform", "rigid"], "always deforms"),
        (["--method", "deformable", "--preset", "default"], "no option 'preset'"),
        (["--time-index", "3"], "no 4-D image"),
        (["--time-index", "-1"], "time_index must be 0 or more"),
        (["--init", "missing"], "missing: no such file"),
        (["--use-landmarks"], "needs something to steer by"),
        (["--method", "linear", "--use-landmarks"], "Landmarks steer auto"),
    ],
)
def test_names_nobody_knows(refused, good, arguments, message):
    assert message in refused(good, good, *arguments)


def test_a_few_nan_are_masked_out_with_a_warning(good, tmp_path, capsys):
    array = values()
    array[3:5, 4:6, 5:7] = np.nan
    path = save(good.parent / "holes.nii", array)
    with pytest.warns(coincide.io.InputWarning, match="8 of 10,560 voxels are NaN"):
        image = coincide.read_image(path)
    assert int((~image.mask).sum()) == 8
