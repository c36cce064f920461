"""`register` below the floor of files: what it returns, and what it refuses before any work."""

import re

import numpy as np
import pytest
import torch

from coincide.errors import (
    DimensionError,
    InputError,
    IntensityError,
    MaskError,
    OptionError,
    OverlapError,
    RegistrationFailedError,
    ResourceError,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import available
from coincide.methods.classical.linear import Linear
from coincide.methods.configure import _STEERED
from coincide.ops._parallel import get_threads
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import configured, register
from coincide.similarity import LNCC
from coincide.transforms import translation
from coincide.transforms.resample import resample
from phantom import error_mm, grid_around, known, known_pair, picture


@pytest.fixture(scope="module", params=[2, 3])
def run(request):
    """A pair with labels and landmarks, and its affine registration."""
    dim = request.param
    grid, truth = grid_around(dim, 3.0 if dim == 2 else 5.0), known(dim)
    pair = known_pair(grid, grid, truth)
    shown = [(image.data[0] > 150).to(torch.int32).numpy() for image in (pair.fixed, pair.moving)]
    labels = [Image(s * 614454277, grid, "label", name="labels") for s in shown]
    points = np.random.default_rng(0).uniform(-30, 30, (9, dim))
    pair = Pair(pair.fixed, pair.moving, *labels, Points(points), Points(truth(points)))
    return pair, register(pair, "linear:model=rigid")


def test_it_finds_the_motion_and_its_inverse(run):
    pair, result = run
    truth, voxel = known(pair.dim), pair.fixed.grid.spacing.mean()
    assert error_mm(result.transform, truth, pair.fixed.grid) < 0.1 * voxel
    assert error_mm(result.inverse, truth.inverse(), pair.fixed.grid) < 0.1 * voxel


def test_the_warped_image_is_the_moving_one_through_the_transform(run):
    pair, result = run
    assert result.warped.grid == pair.fixed.grid
    assert torch.equal(result.warped.data, resample(pair.moving, result.transform, pair.fixed.grid).data)
    assert np.corrcoef(result.warped.data.ravel(), pair.fixed.data.ravel())[0, 1] > 0.99


def test_labels_and_points_are_carried_and_scored(run):
    pair, result = run
    assert set(np.unique(result.labels.numpy())) == {0, 614454277}
    np.testing.assert_allclose(result.points.world, result.transform(pair.fixed_points.world))
    assert result.measures["labels"]["dice_mean"] > 0.95
    after = result.measures["points"]["after"]["tre_mean_mm"]
    assert after < 0.1 * pair.fixed.grid.spacing.mean()
    assert result.measures["points"]["before"]["tre_mean_mm"] > 5


def test_the_record_says_what_was_done(run):
    _, result = run
    assert result.provenance["method"] == "linear"
    assert result.provenance["settings"]["model"] == "rigid"
    assert result.provenance["seconds"]["solve"] > 0
    assert result.provenance["peak_memory_bytes"] > 1e7
    assert result.decisions
    assert result.trace
    assert result.verdict.level in ("converged", "suspicious")


def test_the_record_says_what_auto_chose():
    grid = grid_around(2, 4.0)
    pair = known_pair(grid, grid, known(2))
    bent = register(pair, "auto:preset=fast").provenance
    assert (bent["method"], bent["asked"]["kind"], bent["asked"]["similarity"]) == ("auto", "Auto", None)
    settings = bent["settings"]
    assert (settings["kind"], settings["similarity"]["kind"]) == ("Deformable", "LNCC")
    assert (settings["linear"]["model"], settings["linear"]["kind"]) == ("affine", "Linear")
    assert settings["finest"] > 0
    assert all(settings["iterations"])
    turned = register(pair, transform="rigid").provenance
    assert (turned["settings"]["kind"], turned["settings"]["model"]) == ("Linear", "rigid")
    assert turned["settings"]["similarity"] is not None


def test_a_linear_method_may_shift_alone():
    grid = grid_around(2, 4.0)
    result = register(known_pair(grid, grid, translation((5.0, -3.0))), "linear", transform="translation")
    assert result.provenance["settings"]["model"] == "translation"
    assert error_mm(result.transform, translation((5.0, -3.0)), grid) < 0.2


def test_what_steers_is_what_the_refusal_says():
    kinds = {"landmarks": set(), "labels": set()}
    for name, cls in available().items():
        method = cls()
        for kind in method.steered_by if hasattr(method, "use_landmarks") else ():
            kinds[kind].add(name)
    by_landmarks, by_labels = _STEERED.split("; ")
    assert {n for n in available() if n in re.findall(r"\w+", by_labels)} - {"landmarks"} == kinds["labels"]
    assert {n for n in available() if n in re.findall(r"\w+", by_landmarks)} == kinds["landmarks"] | {
        "landmarks"
    }


def test_landmarks_that_one_image_lacks_are_told():
    grid = grid_around(2, 4.0)
    few, more = Points([[0, 0], [9, 5]], ("a", "b")), Points([[9, 5], [0, 0], [3, 3]], ("b", "a", "c"))
    result = register(Pair(picture(grid, name="f"), picture(grid, name="m"), None, None, few, more), "linear")
    assert result.measures["points"]["number"] == 2
    assert any("2 fixed and 3 moving landmarks 2 have a name in common" in told for told in result.decisions)


def test_landmarks_alone_do_not_steer():
    grid = grid_around(2, 3.0)
    pair = known_pair(grid, grid, known(2))
    points = Points(np.array([[0.0, 0.0], [20.0, 10.0]]))
    misled = Pair(pair.fixed, pair.moving, fixed_points=points, moving_points=Points(points.world + 25))
    one, other = (register(p, "deformable").transform for p in (pair, misled))
    np.testing.assert_array_equal(one(points.world), other(points.world))


def test_an_object_and_its_spec_are_the_same():
    grid = grid_around(2, 3.0)
    pair = known_pair(grid, grid, known(2))
    a = register(pair, Linear(model="rigid", similarity=LNCC(radius=3)))
    b = register(pair, "linear:model=rigid", similarity="lncc:radius=3")
    np.testing.assert_array_equal(a.transform.matrix, b.transform.matrix)


def test_threads_are_put_back():
    grid = grid_around(2, 4.0)
    before = get_threads(), torch.get_num_threads()
    register(known_pair(grid, grid, known(2)), "linear:model=rigid", threads=1)
    assert (get_threads(), torch.get_num_threads()) == before


def test_progress_is_told_and_may_stop_the_work():
    grid, told = grid_around(2, 4.0), []
    pair = known_pair(grid, grid, known(2))
    register(pair, "deformable", progress=told.append)
    assert {"linear", "deformable", "measure"} <= {event.stage for event in told}

    def stop(event):
        if event.stage == "deformable":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(pair, "deformable", progress=stop)


def head_image(dim=3, **changes):
    return picture(grid_around(dim, 8.0), **changes)


def with_values(image, values):
    return image.with_data(
        torch.from_numpy(np.broadcast_to(values, image.data.shape).astype(np.float32).copy())
    )


def far_away(image):
    affine = image.grid.affine.copy()
    affine[0, -1] += 1000
    return Image(image.data, Grid(image.grid.shape, affine), name="moving")


BAD = {
    "constant": (IntensityError, "constant", lambda i: with_values(i, 7)),
    "no number": (IntensityError, "NaN", lambda i: with_values(i, np.nan)),
    "channels": (IntensityError, "3 channels", lambda i: Image(i.data.expand(3, *i.grid.shape), i.grid)),
    "apart": (OverlapError, "share no space", far_away),
    "constant in its mask": (
        IntensityError,
        "inside the mask",
        lambda i: with_values(i, 3).with_mask(i.data[0] > 100),
    ),
}


@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("dim", [2, 3])
def test_bad_images_are_refused_before_any_work(case, side, dim):
    error, says, spoil = BAD[case]
    images = {"fixed": head_image(dim, name="fixed"), "moving": head_image(dim, name="moving")}
    images[side] = spoil(images[side])
    told = []
    with pytest.raises(error, match=says) as caught:
        register(Pair(**images), "auto", progress=told.append)
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 3
    assert not told


def test_empty_masks_and_mixed_dimensions_never_become_a_pair():
    image = head_image()
    with pytest.raises(MaskError, match="empty"):
        image.with_mask(torch.zeros(image.grid.shape, dtype=torch.bool))
    with pytest.raises(DimensionError):
        Pair(head_image(3), head_image(2))


def test_an_initial_transform_may_bring_images_together():
    pair = Pair(head_image(), far_away(head_image()), initial=translation((1000, 0, 0)))
    found = register(pair, "linear:model=rigid").transform
    assert error_mm(found, translation((1000, 0, 0)), pair.fixed.grid) < 1


@pytest.mark.parametrize("transform", ["rigid", "affine", "deformable"])
def test_half_a_billion_voxels_are_refused_and_cost_nothing(transform, monkeypatch):
    # all voxels are one number in memory
    grid = Grid((800, 800, 800), np.diag((0.3, 0.3, 0.3, 1)))
    huge = Image(torch.ones(1, 1, 1, 1).expand(1, *grid.shape), grid, name="huge")
    monkeypatch.setattr("coincide.ops.memory.available", lambda root=None: 24 * 10**9)
    with pytest.raises(ResourceError, match=r"512,000,000 voxels needs about .* GB"):
        register(Pair(huge, huge), "auto", transform=transform)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "deformabel"}, "deformable"),
        ({"method": "linear:modle=rigid"}, "model"),
        ({"transform": "rigit"}, "rigid"),
        ({"preset": "fats"}, "'fast'"),
        ({"similarity": "lnc"}, "lncc"),
        ({"method": "linear", "preset": "fast"}, "no option 'preset'"),
        ({"method": "linear", "preset": "default"}, "no option 'preset'"),
        ({"method": "linear", "use_landmarks": True}, "use_landmarks"),
        ({"method": "linear", "transform": "deformable"}, "does not go as far"),
        ({"method": "bspline", "transform": "affine"}, "always deforms"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_known(arguments, says):
    with pytest.raises(OptionError, match=says):
        configured(**{"method": "auto", **arguments})


def test_a_failure_can_be_raised():
    rng = np.random.default_rng(0)
    noise = [with_values(head_image(), rng.normal(0, 1, head_image().data.shape)) for _ in range(2)]
    result = register(Pair(*noise), "linear:model=affine")
    if result.verdict.level == "failed":
        with pytest.raises(RegistrationFailedError):
            register(Pair(*noise), "linear:model=affine", throw=True)
    assert result.verdict.level != "converged"
