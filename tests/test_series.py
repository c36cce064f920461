"""Series: what they are, how they are followed, read and written; the command."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image as pil

from coincide.cli import main
from coincide.data.synthesis.series import Films, SyntheticSeries
from coincide.errors import DimensionError, GeometryError, IntensityError, OptionError, UnreadableFileError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_transform
from coincide.io.series import read_series, write_frames
from coincide.measures.motion import motion
from coincide.methods.classical.linear import Linear
from coincide.methods.series import Framewise, Sequence, Series, aligned, follow, parse_series
from coincide.methods.series.smoothing import smoothed
from coincide.transforms.linear import Affine, rigid, similarity, translation
from conftest import pictured

GRID = Grid.from_spacing((64, 56), 1.5, (-47.0, -41.0))
FRAMES = 12


def course(number=FRAMES):
    """A smooth rigid motion, reference-world mm → frame-world mm; the first frame is at rest."""
    phase = 2 * np.pi * np.arange(number) / 14
    return [rigid(9 * np.sin(p), (6 * np.sin(p), 4 * (1 - np.cos(p))), (2.0, 1.0)) for p in phase]


def film(missing=(), repeated=(), noise=2.0, number=FRAMES):
    """The organ as it moves, and its true transforms."""
    frames, truth = [], course(number)
    for n in range(number):
        if n in repeated:
            frames.append(frames[-1])
            truth[n] = truth[n - 1]
            continue
        picture = pictured(GRID, truth[n], name="x" * (n + 1), noise=noise)
        frames.append(picture.with_data(torch.zeros_like(picture.data)) if n in missing else picture)
    return Series(tuple(frames), 0.1, "film"), truth


PLACES = np.array([(0.0, 0.0), (15, 10), (-14, 8), (5, -18)])


def errors(solution, truth):
    """Mean distance of places from where they should be, for each frame, mm."""
    return np.array(
        [
            np.linalg.norm(found(PLACES) - true(PLACES), axis=1).mean()
            for found, true in zip(solution.transforms, truth)
        ]
    )


def test_a_series_knows_what_is_missing_and_what_comes_again():
    series, _ = film(missing=(4, 7), repeated=(2, 3, 9))
    assert np.flatnonzero(~series.seen).tolist() == [4, 7]
    assert series.origins.tolist() == [0, 1, 1, 1, 4, 5, 6, 7, 8, 8, 10, 11]
    assert series.new.tolist() == [0, 1, 5, 6, 8, 10, 11]


def test_a_series_of_what_is_none_is_refused():
    one = pictured(GRID)
    with pytest.raises(DimensionError, match="1 frames"):
        Series((one,))
    with pytest.raises(GeometryError, match="frame 1 lies on"):
        Series((one, pictured(Grid.from_spacing((64, 56), 1.6))))
    with pytest.raises(IntensityError, match="1 of 3 frames show"):
        Series((one, one.with_data(torch.zeros_like(one.data)), one.with_data(torch.ones_like(one.data))))
    with pytest.raises(DimensionError, match="2 channels"):
        Series((one, Image(one.data.repeat(2, 1, 1), GRID)))


@pytest.mark.parametrize(
    "spec", ["sequence:model=rigid", "sequence:model=rigid,direction=causal", "linear:model=rigid"]
)
def test_known_motion_is_found_in_every_frame_that_there_is(spec):
    series, truth = film(missing=(5,), repeated=(8,))
    _, solution = follow(series, parse_series(spec))
    assert errors(solution, truth)[series.seen].max() < 0.25
    expected = ["registered"] * FRAMES
    expected[5], expected[8] = "missing", "repeated"
    assert list(solution.frames) == expected
    assert np.array_equal(solution.transforms[8].matrix, solution.transforms[7].matrix)


def test_a_missing_frame_lies_between_its_neighbours():
    series, truth = film(missing=(5,))
    _, smooth = follow(series, Sequence("rigid"))
    _, held = follow(series, Framewise(Linear("rigid")))
    assert errors(smooth, truth)[5] < 0.5 * errors(held, truth)[5]


def test_the_network_alone_is_near_and_says_the_same_frame_by_frame():
    series, truth = film()
    method = Sequence("rigid", direction="causal", finish="none")
    reference, solution = follow(series, method)
    found = errors(solution, truth)
    assert found.mean() < 0.5 * np.mean([np.linalg.norm(t(PLACES) - PLACES, axis=1).mean() for t in truth])
    live = method.live(reference)
    told = [live.next(frame) for frame in series.frames]
    for one, other in zip(told, solution.transforms):
        assert np.allclose(one.matrix, other.matrix, atol=1e-3)


def test_a_frame_that_lies_far_from_its_neighbours_is_searched_for():
    series, truth = film(noise=1.0)
    truth[6] = rigid(130, (-10, 12), (2.0, 1.0))
    frames = list(series.frames)
    frames[6] = pictured(GRID, truth[6], name="x" * 7, noise=1.0)
    found = Sequence(model="rigid", network="none", finish="optimiser").follow(
        frames[0], Series(tuple(frames), 0.1, "film")
    )
    assert errors(found, truth).max() < 0.6


def test_volumes_are_followed_from_frame_to_frame():
    grid = Grid.from_spacing((28, 30, 26), 3.0, (-40.0, -44.0, -38.0))
    truth = [rigid((0, 0, 3.0 * n), (1.5 * n, -n, 0.5 * n), (0.0, 0, 0)) for n in range(4)]
    series = Series(tuple(pictured(grid, t, name="x" * (n + 1)) for n, t in enumerate(truth)))
    _, solution = follow(series, Sequence("rigid"))
    places = np.array([(0.0, 0, 0), (12, 8, -10), (-10, 9, 8)])
    for found, true in zip(solution.transforms, truth):
        assert np.linalg.norm(found(places) - true(places), axis=1).max() < 0.5
    with pytest.raises(DimensionError, match="films"):
        follow(series, Sequence(finish="none"))


def test_every_model_is_kept_to():
    series, _ = film(number=3)
    for model in ("translation", "rigid", "similarity"):
        _, solution = follow(series, Sequence(model, finish="none"))
        for transform in solution.transforms:
            linear = transform.matrix[:2, :2]
            size = np.sqrt(np.linalg.det(linear)) if model == "similarity" else 1.0
            assert np.allclose(linear.T @ linear, size**2 * np.eye(2), atol=1e-9)
            assert model != "translation" or np.array_equal(linear, np.eye(2))


@pytest.mark.parametrize("reference", ["first", "3", "mean"])
def test_what_comes_out_lies_on_the_reference(reference):
    series, _ = film(missing=(0,) if reference == "first" else (), noise=0.5)
    chosen, solution = follow(series, Sequence("rigid"), reference)
    if reference != "mean":
        assert chosen is series.frames[1 if reference == "first" else 3]
    inner = (0, slice(16, 48), slice(16, 40))
    for frame, laid in list(zip(series.frames, aligned(series, solution)))[2:]:
        before = (frame.data - chosen.data)[inner].square().mean()
        assert (laid.data - chosen.data)[inner].square().mean() < max(0.1 * before, 4.0)


@pytest.mark.parametrize(
    ("reference", "told"),
    [("last", "first or mean"), ("99", "cannot be the reference"), ("2", "none that shows")],
)
def test_references_that_are_none_are_refused(reference, told):
    series, _ = film(missing=(2,), number=5)
    with pytest.raises(OptionError, match=told):
        follow(series, Sequence(), reference)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("sequence:direction=causal,finish=smooth", "cannot be smoothed"),
        ("sequence:network=none,finish=none", "nothing is done"),
        ("sequence:modle=rigid", "model"),
        ("sequence:similarity=mind", "do not turn"),
        ("liner", "linear"),
    ],
)
def test_specs_that_name_nothing_are_refused(spec, told):
    with pytest.raises(OptionError, match=told):
        parse_series(spec)


def wave(number, period):
    time = np.arange(number, dtype=float)
    return time, np.stack(
        [30 * np.sin(2 * np.pi * time / period), 20 * np.cos(2 * np.pi * time / period)], -1
    )


def test_smoothing_takes_errors_away_from_slow_motion():
    time, true = wave(60, 25)
    seen = true + np.random.default_rng(0).normal(0, 0.3, true.shape)
    there = np.delete(np.arange(60), [20, 21, 40])
    found, lost = smoothed(time[there], seen[there], time, 0.75)
    assert not lost.any()
    assert np.abs(found - true).mean() < 0.7 * np.abs(seen - true).mean()
    shake = [np.abs(np.diff(x - true, n=2, axis=0)).mean() for x in (found, seen)]
    assert shake[0] < 0.3 * shake[1]
    assert np.abs(found - true)[[20, 21, 40]].max() < 0.6


def test_smoothing_leaves_out_a_frame_that_was_lost_and_no_other():
    time, true = wave(40, 25)
    seen = true + np.random.default_rng(1).normal(0, 0.1, true.shape)
    seen[17] += (25, -10)
    found, lost = smoothed(time, seen, time, 0.5)
    assert np.flatnonzero(lost).tolist() == [17]
    assert np.abs(found - true).max() < 0.5


def test_motion_that_nothing_foretells_is_left_as_it_is():
    rng = np.random.default_rng(2)
    time, jumps = np.arange(30.0), rng.normal(0, 20, (30, 2))
    found, lost = smoothed(time, jumps, time, 0.5)
    assert not lost.any()
    assert np.abs(found - jumps).max() < 0.05


def test_a_long_course_is_smoothed_window_by_window_without_a_seam():
    time, true = wave(300, 40)
    seen = true + np.random.default_rng(3).normal(0, 0.2, true.shape)
    found, _ = smoothed(time, seen, time, 0.75)
    assert np.abs(found - true)[4:-4].max() < 0.3
    assert np.abs(np.diff(found - true, n=2, axis=0))[4:-4].max() < 0.15


def test_a_short_course_is_interpolated():
    found, _ = smoothed(np.array([0.0, 2, 4]), np.array([[0.0], [2], [8]]), np.array([1.0, 3]), 1.0)
    assert found[:, 0].tolist() == [1, 5]


def test_motion_has_the_numbers_that_were_put_in():
    grid = Grid.from_spacing((40, 30), (1.0, 2.0), (5.0, -3.0))
    steps = [
        similarity(0, (0, 0), 1, grid.centre),
        similarity(10, (3, -4), 1.1, grid.centre),
        translation((3.0, -4)),
    ]
    found = motion(steps, grid)
    assert np.allclose(found["x_mm"], [0, 3, 3])
    assert np.allclose(found["y_mm"], [0, -4, -4])
    assert np.allclose(found["rotation_deg"], [0, 10, 0])
    assert np.allclose(found["scale"], [1, 1.1, 1])
    assert np.isclose(found["displacement_mm"][2], 5)
    assert found["jitter_mm"][0] == found["jitter_mm"][2] == 0 < found["jitter_mm"][1]


@pytest.mark.filterwarnings("ignore::coincide.io.notes.InputWarning")
def test_a_film_is_read_from_nifti_as_it_was_written(tmp_path):
    series, _ = film(missing=(3,))
    write_frames(list(series.frames), tmp_path / "film.nii.gz", 0.25)
    assert nib.load(tmp_path / "film.nii.gz").shape == (64, 56, 1, FRAMES)
    read = read_series(tmp_path / "film.nii.gz")
    assert read.interval == 0.25
    assert read.grid.matches(series.grid)
    assert np.flatnonzero(~read.seen).tolist() == [3]
    assert all(torch.allclose(a.data, b.data) for a, b in zip(read.frames, series.frames))
    # as another tool sees it
    other = sitk.ReadImage(str(tmp_path / "film.nii.gz"))
    assert other.GetSize() == (64, 56, 1, FRAMES)
    assert np.allclose(other.GetSpacing(), (1.5, 1.5, 1, 0.25))


@pytest.mark.filterwarnings("ignore::coincide.io.notes.InputWarning")
def test_a_frame_of_nothing_but_nan_is_missing(tmp_path):
    values = np.random.default_rng(0).random((20, 18, 4, 5), dtype=np.float32)
    values[..., 2] = np.nan
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2, 3, 1])), tmp_path / "4d.nii")
    assert read_series(tmp_path / "4d.nii").seen.tolist() == [True, True, False, True, True]


@pytest.mark.filterwarnings("ignore::coincide.io.notes.InputWarning")
def test_folders_and_tiffs_are_read_in_the_order_of_their_numbers(tmp_path):
    rng = np.random.default_rng(0)
    pages = [rng.integers(0, 200, (12, 16), dtype=np.uint8) for _ in range(11)]
    (tmp_path / "frames").mkdir()
    for n, page in enumerate(pages):
        pil.fromarray(page).save(tmp_path / "frames" / f"f{n}.png")
    (tmp_path / "frames" / "notes.txt").write_text("not a frame")
    first, *rest = (pil.fromarray(page) for page in pages)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=rest)
    for source in ("frames", "pages.tif"):
        read = read_series(tmp_path / source)
        assert [frame.numpy()[0].T.astype(np.uint8).tolist() for frame in read.frames] == [
            p.tolist() for p in pages
        ]


def test_what_holds_no_series_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)), tmp_path / "one.nii")
    with pytest.raises(DimensionError, match="four dimensions"):
        read_series(tmp_path / "one.nii")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFileError, match="no image"):
        read_series(tmp_path / "empty")
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + bytes(40))
    pytest.importorskip("pydicom")
    with pytest.raises(UnreadableFileError, match="DICOM"):
        read_series(tmp_path / "broken.dcm")


def dicom(name):
    pydicom_data = pytest.importorskip("pydicom.data")
    return pydicom_data.get_testdata_file(name, download=False)


def test_an_ultrasound_film_is_read_with_its_spacing_and_time():
    read = read_series(dicom("examples_ybr_color.dcm"))
    assert len(read) == 30
    assert read.grid.shape == (320, 240)
    assert read.interval == pytest.approx(0.033333)
    assert 0.1 < read.grid.spacing[0] < 2
    # as another tool decodes it, to the rounding of the colours
    other = sitk.GetArrayFromImage(sitk.ReadImage(dicom("examples_ybr_color.dcm")))
    brightness = other[7].astype(float) @ (0.299, 0.587, 0.114)
    assert np.abs(read.frames[7].numpy()[0].T - brightness).mean() < 1.5


def test_a_dicom_volume_is_no_film():
    with pytest.raises(DimensionError, match="slices of a volume"):
        read_series(dicom("rtdose.dcm"))


@pytest.mark.filterwarnings("ignore::coincide.io.notes.InputWarning")
def test_the_command_writes_everything_and_what_it_writes_is_right(tmp_path, capsys):
    series, truth = film(missing=(4,), number=9)
    write_frames(list(series.frames), tmp_path / "film.nii.gz", 0.1)
    out = tmp_path / "out"
    assert (
        main(["series", str(tmp_path / "film.nii.gz"), "--out", str(out), "--method", "sequence:model=rigid"])
        == 0
    )
    assert "8 registered, 1 missing" in capsys.readouterr().out
    record = json.loads((out / "series.json").read_text())
    assert record["frames"][4] == "missing"
    assert record["settings"]["model"] == "rigid"
    assert nib.load(out / "aligned.nii.gz").shape == (64, 56, 1, 9)
    found = read_transform(out / "transforms" / "frame_0007.h5")
    assert isinstance(found, Affine)
    assert np.linalg.norm(found(PLACES) - truth[7](PLACES), axis=1).max() < 0.3
    rows = (out / "motion.csv").read_text().splitlines()
    assert rows[0].startswith("frame,seconds,status,x_mm,y_mm,rotation_deg")
    assert len(rows) == 10
    with pil.open(out / "motion.png") as picture:
        assert picture.size[0] > 500
    page = (out / "report.html").read_text()
    assert "data:image/webp" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("extra", "code", "told"),
    [
        (["--reference", "40"], 3, "cannot be the reference"),
        (["--reference", "median"], 3, "first or mean"),
        (["--method", "sequnce"], 3, "unknown method"),
        (["--method", "sequence:weights=nowhere.safetensors"], 3, "no such file of weights"),
    ],
)
@pytest.mark.filterwarnings("ignore::coincide.io.notes.InputWarning")
def test_the_command_says_what_is_wrong(tmp_path, capsys, extra, code, told):
    series, _ = film(number=3)
    write_frames(list(series.frames), tmp_path / "film.nii", 0.1)
    assert main(["series", str(tmp_path / "film.nii"), "--out", str(tmp_path / "out"), *extra]) == code
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_results_do_not_come_among_what_is_read(tmp_path, capsys):
    assert main(["series", str(tmp_path), "--out", str(tmp_path)]) == 3
    assert "holds what is to be read" in " ".join(capsys.readouterr().err.split())


def test_made_up_films_are_followed_better_with_the_optimiser():
    item = SyntheticSeries(
        Films(shape=96, frames=6, noise=0.05, missing=0.0, bend=0.0, anatomies=("blobs",))
    )[2]
    grid = Grid.from_spacing((96, 96), 2.0, (-95.0, -95.0))
    series = Series(tuple(Image(frame, grid) for frame in item["frames"]))
    number = int((item["matrices"] - torch.eye(3)).abs().amax((1, 2)).argmin())
    scale = np.diag([96.0, 96, 1])
    truth = [Affine(scale @ m.double().numpy() @ np.linalg.inv(scale)) for m in item["matrices"]]
    off = [
        np.mean(errors(follow(series, Sequence(finish=finish), str(number))[1], truth))
        for finish in ("none", "optimiser")
    ]
    assert off[1] < 0.5 * off[0] < 2
