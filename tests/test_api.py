"""`coincide.register` in Python: paths, foreign images, everything without files."""

import hashlib
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import coincide
from coincide.errors import CancelledError, MaskError, OptionError, RegistrationFailedError
from coincide.image import Image
from coincide.methods.classical.linear import Linear

RIGID = Linear(model="rigid")


def as_path(image, folder):
    coincide.write_image(image, folder / f"{image.name}.nii.gz")
    return folder / f"{image.name}.nii.gz"


def as_text_path(image, folder):
    return str(as_path(image, folder))


def as_nibabel(image, folder):
    return nib.load(as_path(image, folder))


def as_sitk(image, folder):
    return sitk.ReadImage(str(as_path(image, folder)))


def as_it_is(image, folder):
    return image


@pytest.fixture(scope="module")
def known(small_pair):
    """What the images themselves give."""
    return coincide.register(*small_pair, RIGID)


@pytest.mark.parametrize("form", [as_path, as_text_path, as_nibabel, as_sitk, as_it_is])
def test_every_form_of_image_gives_the_same(small_pair, known, tmp_path, form):
    result = coincide.register(*(form(image, tmp_path) for image in small_pair), RIGID)
    # ITK keeps origin and direction as they are, NIfTI in single precision.
    probes = small_pair[0].grid.corners
    assert np.abs(result.transform(probes) - known.transform(probes)).max() < 1e-3


def test_the_truth_is_found(small_pair, small_truth, known):
    probes = np.random.default_rng(0).uniform(-20, 20, (100, 3))
    assert np.abs(known.transform(probes) - small_truth(probes)).max() < 0.25
    assert np.abs(known.inverse(known.transform(probes)) - probes).max() < 1e-6
    assert known.verdict.level == "converged"
    assert known.warped.grid == small_pair[0].grid


def test_masks_labels_and_landmarks(small_pair, small_truth, tmp_path):
    fixed, moving = small_pair
    labels = [Image((image.data > 40).to(torch.int16) * 300, image.grid, "label") for image in small_pair]
    inside = np.random.default_rng(1).uniform(-15, 15, (12, 3))
    coincide.write_points(coincide.Points(inside), tmp_path / "fixed.csv")
    mask = Image((fixed.data > 5).to(torch.uint8), fixed.grid, "label", name="mask")
    result = coincide.register(
        fixed,
        moving,
        RIGID,
        fixed_mask=as_path(mask, tmp_path),
        fixed_labels=labels[0],
        moving_labels=as_nibabel(labels[1], tmp_path),
        fixed_points=tmp_path / "fixed.csv",
        moving_points=small_truth(inside),
    )
    assert torch.equal(result.pair.fixed.mask, mask.data[0] > 0)
    assert set(np.unique(result.labels.numpy())) == {0, 300}
    assert result.measures["labels"]["dice_mean"] > 0.95
    assert result.measures["points"]["after"]["tre_mean_mm"] < 0.25
    assert result.measures["points"]["before"]["tre_mean_mm"] > 2
    assert np.abs(result.points.world - small_truth(inside)).max() < 0.25


def test_the_record_names_the_files(small_pair, tmp_path):
    paths = [as_path(image, tmp_path) for image in small_pair]
    result = coincide.register(*paths, RIGID, seed=5, threads=1)
    for role, path in zip(("fixed", "moving"), paths):
        about = result.provenance["inputs"][role]
        assert about["path"] == str(path)
        assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert about["shape"] == list(nib.load(path).shape)
    assert result.provenance["seed"] == 5
    assert result.provenance["threads"] == 1


def test_an_initial_transform_is_where_it_starts(small_pair, small_truth, tmp_path):
    coincide.write_transform(small_truth, tmp_path / "start.h5")
    stay = Linear(model="rigid", starts=0, iterations=0)
    probes = small_pair[0].grid.corners
    for init in (small_truth, tmp_path / "start.h5"):
        result = coincide.register(*small_pair, stay, init=init)
        assert np.abs(result.transform(probes) - small_truth(probes)).max() < 0.5


def test_four_dimensions_need_a_choice(small_pair, tmp_path):
    fixed, moving = small_pair
    series = np.stack([np.zeros(moving.grid.shape, np.float32), moving.numpy()[0]], -1)
    image = nib.Nifti1Image(series, moving.grid.affine)
    with pytest.raises(coincide.errors.DimensionError, match="time_index"):
        coincide.register(fixed, image, RIGID)
    result = coincide.register(fixed, image, RIGID, time_index=1)
    assert torch.equal(result.pair.moving.data, moving.data)


def test_progress_can_stop_the_work(small_pair):
    stages = []

    def stop(event):
        stages.append(event.stage)
        if event.stage == "linear":
            raise CancelledError("enough")

    with pytest.raises(CancelledError, match="enough"):
        coincide.register(*small_pair, RIGID, progress=stop)
    assert stages[0] == "reading"


def test_names_are_checked_before_files_are_opened(tmp_path):
    nowhere = tmp_path / "no.nii"
    with pytest.raises(OptionError, match="Did you mean 'linear'"):
        coincide.register(nowhere, nowhere, "lineer")
    with pytest.raises(OptionError, match="Did you mean 'affine'"):
        coincide.register(nowhere, nowhere, transform="afine")
    with pytest.raises(OptionError, match="'gpu' cannot be used"):
        coincide.register(nowhere, nowhere, device="gpu")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"threads": 0}, "threads must be 1 or more or none, found 0"),
        ({"threads": "two"}, "threads must be a whole number"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"time_index": "a"}, "time_index must be a whole number"),
        ({"time_index": 0}, "no 4-D image"),
        ({"init": np.eye(4)}, "init must be a Transform"),
        ({"method": None}, "method must be the name of one"),
        ({"method": Linear}, "method must be the name of one"),
        ({"similarity": 5}, "similarity must be a Similarity or none, found 5"),
        ({"use_landmarks": 1}, "use_landmarks must be True or False"),
        ({"transform": 3}, "transform must be rigid"),
        ({"device": 0}, "device must be text"),
        (
            {"fixed_points": 5, "moving_points": 5, "use_landmarks": True, "transform": "rigid"},
            "do not steer",
        ),
    ],
)
def test_options_of_a_wrong_type_or_value_are_refused(small_pair, given, says):
    with pytest.raises(OptionError, match=says):
        coincide.register(*small_pair, **given)


def test_labels_without_a_label_are_told_of(small_pair):
    fixed, moving = small_pair
    empty = Image(torch.zeros((1, *moving.grid.shape), dtype=torch.uint8), moving.grid, "label", name="none")
    with pytest.warns(coincide.io.InputWarning, match="none: holds no label"):
        assert coincide.api.open_pair(fixed, moving, moving_labels=empty).moving_labels is empty


def test_what_was_noticed_of_the_inputs_is_in_the_record_though_warnings_are_off(small_pair):
    fixed, moving = small_pair
    empty = Image(torch.zeros((1, *moving.grid.shape), dtype=torch.uint8), moving.grid, "label", name="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = coincide.register(fixed, moving, RIGID, fixed_labels=empty, moving_labels=empty)
    assert len(result.provenance["notes"]) == 1
    assert "holds no label" in result.provenance["notes"][0]
    assert any("no value in common" in decision for decision in result.decisions)


def test_masks_that_leave_nothing(small_pair):
    fixed, moving = small_pair
    half = torch.zeros(fixed.grid.shape, dtype=torch.bool)
    half[:10] = True
    marked = Image((~half).to(torch.uint8), fixed.grid, "label", name="other half")
    with pytest.raises(MaskError, match="empty"):
        coincide.register(fixed.with_mask(half), moving, RIGID, fixed_mask=marked)


def test_throw_raises_the_verdict(small_pair):
    fixed, _ = small_pair
    noise = torch.from_numpy(
        np.random.default_rng(3).standard_normal((1, *fixed.grid.shape)).astype(np.float32)
    )
    unlike = fixed.with_data(noise, name="noise")
    assert coincide.register(fixed, unlike, RIGID).verdict.level == "failed"
    with pytest.raises(RegistrationFailedError):
        coincide.register(fixed, unlike, RIGID, throw=True)
