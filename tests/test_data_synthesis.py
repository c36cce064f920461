"""Synthetic pairs: the truth is exact, the same seed makes the same pair anywhere, anatomy is anatomy."""

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.utils.data import DataLoader

from coincide.data.synthesis import (
    Artefacts,
    Bend,
    Contrast,
    Motion,
    Synthesis,
    SyntheticPairs,
    contact_sheet,
    draw,
)
from coincide.data.synthesis.kinds import ANATOMIES, FLAT
from coincide.data.synthesis.structures import STRUCTURES, in_brain
from coincide.errors import DimensionError, LabelError, MissingFileError, OptionError
from coincide.ops._parallel import set_threads
from coincide.transforms.linear import Affine

PLAIN = Artefacts(blur=0, bias=0, gamma=0, noise=0, rate=0)
FAR = Motion(rotation=60, shift=25, scale=0.2, shear=0.1)
FLAT_RECIPE = Synthesis(shape=(96, 80), spacing=(2.0, 2.5), anatomies=("blobs",), artefacts=PLAIN, motion=FAR)
SOLID_RECIPE = dataclasses.replace(FLAT_RECIPE, shape=(40, 44, 36), spacing=(5.0, 5.0, 6.0))


def carried(values: np.ndarray, truth, grid, order: int) -> np.ndarray:
    """The moving image on the fixed grid, by scipy."""
    index = np.moveaxis(grid.index(truth(grid.points())), -1, 0)
    return map_coordinates(values, index, order=order, cval=0)


def digest(example) -> str:
    parts = [example.pair.fixed.data, example.pair.moving.data, example.pair.moving_labels.data]
    points = torch.from_numpy(example.pair.moving_points.world.copy())
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in (*parts, points))).hexdigest()


FINE_RECIPE = dataclasses.replace(SOLID_RECIPE, shape=(72, 76, 66), spacing=(2.8, 2.8, 3.2))


@pytest.mark.parametrize("recipe", [FLAT_RECIPE, FINE_RECIPE], ids=["2d", "3d"])
def test_the_moving_labels_through_the_truth_are_the_fixed_labels(recipe):
    scores = []
    for seed in range(3):
        example = draw(recipe, seed)
        grid = example.pair.fixed.grid
        fixed = example.pair.fixed_labels.numpy()[0]
        warped = carried(example.pair.moving_labels.numpy()[0], example.truth, grid, 0)
        inside = grid.inside(example.truth(grid.points()), margin=-1)
        for label in np.unique(fixed[inside & (fixed > 0)]):
            a, b = (fixed == label) & inside, (warped == label) & inside
            if a.sum() > 400:
                scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    # what is lost is the outline, sampled twice: half a voxel to either side
    assert len(scores) > 10
    assert np.mean(scores) > 0.93
    assert np.min(scores) > 0.85


@pytest.mark.parametrize("recipe", [FLAT_RECIPE, SOLID_RECIPE], ids=["2d", "3d"])
def test_images_of_one_contrast_agree_through_the_truth_and_through_nothing_else(recipe):
    recipe = dataclasses.replace(recipe, alike=1.0, contrast=Contrast(spread=0, background=0))
    example = draw(recipe, 3)
    grid = example.pair.fixed.grid
    inside = grid.inside(example.truth(grid.points()), margin=-1)
    fixed, moving = (image.numpy()[0] for image in (example.pair.fixed, example.pair.moving))
    right = np.corrcoef(fixed[inside], carried(moving, example.truth, grid, 1)[inside])[0, 1]
    wrong = np.corrcoef(fixed[inside], carried(moving, example.truth.inverse(), grid, 1)[inside])[0, 1]
    assert right > 0.93
    assert wrong < 0.8


def test_the_moving_image_lies_within_a_hundredth_of_a_voxel_of_where_the_truth_says():
    from coincide.data.synthesis.draw import _origins
    from coincide.data.synthesis.motion import random_affine, random_flow
    from coincide.transforms.chain import chain

    rng = np.random.default_rng(5)
    for recipe in (FLAT_RECIPE, SOLID_RECIPE):
        linear = random_affine(rng, FAR, recipe.grid.centre)
        flow = random_flow(rng, Bend(12.0), recipe.grid)
        assert flow is not None
        places = np.moveaxis(_origins(linear, [flow], recipe.grid), 0, -1)
        back = chain(linear, flow)(places)
        assert np.abs(back - recipe.grid.points()).max() < 0.01 * min(recipe.spacing)


def test_landmarks_lie_in_one_structure_in_both_images():
    same = []
    for seed in range(3):
        pair = draw(SOLID_RECIPE, seed).pair
        found = []
        for labels, points in (
            (pair.fixed_labels, pair.fixed_points),
            (pair.moving_labels, pair.moving_points),
        ):
            index = np.rint(labels.grid.index(points.world)).astype(int)
            ok = ((index >= 0) & (index < labels.grid.shape)).all(1)
            index = np.clip(index, 0, np.array(labels.grid.shape) - 1)
            found.append(np.where(ok, labels.numpy()[0][tuple(index.T)], -1))
        same.append(np.mean(found[0] == found[1]))
    assert np.mean(same) > 0.85


def test_the_truth_is_the_linear_part_after_the_flow_and_folds_nowhere():
    example = draw(dataclasses.replace(SOLID_RECIPE, bend=Bend(15.0)), 2)
    assert isinstance(example.truth.parts()[0], Affine)
    world = example.truth(example.pair.fixed.grid.points())
    slopes = np.stack(np.gradient(world, *example.pair.fixed.grid.spacing, axis=(0, 1, 2)), -1)
    assert np.linalg.det(slopes).min() > 0


def test_without_motion_the_truth_is_the_identity_and_the_labels_are_one():
    still = Motion(0, 0, 0, 0)
    example = draw(dataclasses.replace(SOLID_RECIPE, motion=still, bend=Bend(0.0)), 1)
    places = example.pair.fixed.grid.points()
    assert np.array_equal(example.truth(places), places)
    assert torch.equal(example.pair.fixed_labels.data, example.pair.moving_labels.data)


def test_motions_stay_within_their_limits_and_come_near_them():
    from coincide.data.synthesis.motion import random_affine

    rng, motion = np.random.default_rng(0), Motion(rotation=30, shift=7, scale=0, shear=0)
    angles, shifts = [], []
    for _ in range(200):
        matrix = random_affine(rng, motion, np.zeros(3)).matrix
        angles.append(np.rad2deg(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
        shifts.append(np.abs(matrix[:3, 3]).max())
    assert 27 < max(angles) <= 30.001
    assert 6.5 < max(shifts) <= 7


def test_a_seed_makes_the_same_pair_in_another_process_and_on_one_thread():
    example = draw(SOLID_RECIPE, 17)
    set_threads(1)
    try:
        assert digest(draw(SOLID_RECIPE, 17)) == digest(example)
    finally:
        set_threads(None)
    script = (
        "from tests.test_data_synthesis import SOLID_RECIPE, digest\n"
        "from coincide.data.synthesis import draw\nprint(digest(draw(SOLID_RECIPE, 17)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest(example)
    assert digest(draw(SOLID_RECIPE, 18)) != digest(example)


def test_other_artefacts_leave_anatomy_and_truth_as_they_were():
    plain = draw(FLAT_RECIPE, 4)
    noisy = draw(dataclasses.replace(FLAT_RECIPE, artefacts=Artefacts(rate=1.0)), 4)
    assert torch.equal(plain.pair.moving_labels.data, noisy.pair.moving_labels.data)
    assert np.array_equal(plain.pair.moving_points.world, noisy.pair.moving_points.world)
    assert not torch.equal(plain.pair.moving.data, noisy.pair.moving.data)


@pytest.mark.parametrize("name", sorted(ANATOMIES))
def test_every_anatomy_fills_a_picture_in_2d(name):
    labels = set()
    for seed in range(3):
        pair = draw(Synthesis(shape=(96, 96), spacing=(2.5, 2.5), anatomies=(name,)), seed).pair
        share = float((pair.fixed_labels.data > 0).float().mean())
        assert 0.03 < share <= 1.0
        for image in (pair.fixed, pair.moving):
            assert torch.isfinite(image.data).all()
            assert float(image.data.min()) >= 0
            assert float(image.data.max()) <= 1
            assert float(image.data.std()) > 0.01
        labels |= set(pair.fixed_labels.data.unique().tolist())
    assert len(labels) > 5


@pytest.mark.parametrize("name", sorted(set(ANATOMIES) - set(FLAT)))
def test_every_anatomy_fills_a_volume(name):
    pair = draw(Synthesis(shape=(40, 40, 40), spacing=(6.0,) * 3, anatomies=(name,), strip=0.0), 1).pair
    assert 0.03 < float((pair.fixed_labels.data > 0).float().mean()) <= 1.0
    assert len(pair.fixed_labels.data.unique()) > 4


def test_a_head_has_its_pairs_left_and_right_and_they_differ():
    anatomy = ANATOMIES["head"](np.random.default_rng(3), Synthesis(shape=(64,) * 3, spacing=(3.0,) * 3).grid)
    x = anatomy.grid.points()[..., 0]
    sizes = {}
    for part in ("putamen", "thalamus", "hippocampus", "cerebral cortex", "cerebellar cortex", "eye"):
        for side, sign in (("left", -1), ("right", 1)):
            there = anatomy.labels == STRUCTURES[f"{side} {part}"].label
            assert there.sum() > 5, (side, part)
            assert sign * x[there].mean() > 5, (side, part)
            sizes[side, part] = there.sum()
    assert all(sizes["left", part] != sizes["right", part] for _, part in sizes)


def test_the_cortex_is_a_thin_ribbon_folded_deep_into_the_brain():
    anatomy = ANATOMIES["brain"](
        np.random.default_rng(1), Synthesis(shape=(64,) * 3, spacing=(2.0,) * 3).grid
    )
    cortex = np.isin(
        anatomy.labels, [STRUCTURES[f"{side} cerebral cortex"].label for side in ("left", "right")]
    )
    white = np.isin(
        anatomy.labels, [STRUCTURES[f"{side} cerebral white matter"].label for side in ("left", "right")]
    )
    # adults: 1.0 to 1.4 parts of cortex to one of white matter
    assert 0.6 < cortex.sum() / white.sum() < 1.8
    from scipy.ndimage import distance_transform_edt

    thickness = 2 * distance_transform_edt(cortex, sampling=2.0)[cortex]
    assert np.percentile(thickness, 95) < 9
    hull = distance_transform_edt(anatomy.labels > 0, sampling=2.0)
    assert np.percentile(hull[cortex], 90) > 15


def test_stripped_heads_show_the_brain_alone():
    recipe = Synthesis(
        shape=(40, 40, 40), spacing=(6.0,) * 3, anatomies=("head",), strip=1.0, artefacts=PLAIN
    )
    pair = draw(recipe, 1).pair
    labels = pair.fixed_labels.data.long()
    assert in_brain()[labels[labels > 0].numpy()].all()
    whole = draw(dataclasses.replace(recipe, strip=0.0), 1).pair
    assert (whole.fixed_labels.data > 0).sum() > 2 * (labels > 0).sum()


def test_contrast_is_random_between_images_and_one_for_left_and_right():
    from coincide.data.synthesis.contrast import colours

    tables = [colours(np.random.default_rng(seed), Contrast(known=0), 199) for seed in range(40)]
    left, right = (STRUCTURES[f"{side} putamen"].label for side in ("left", "right"))
    grey, white = STRUCTURES["left cerebral cortex"].label, STRUCTURES["left cerebral white matter"].label
    assert all(t[0, left] == t[0, right] for t in tables)
    brighter = np.mean([t[0, white] > t[0, grey] for t in tables])
    assert 0.25 < brighter < 0.75
    told = Contrast(known=1.0, vary=0, structures=0, background=0)
    known = [colours(np.random.default_rng(seed), told, 199) for seed in range(40)]
    # T1, T2, FLAIR, proton density and CT; in T1 the rims of tumours may be bright or not
    assert len({t[0, 40:200].tobytes() for t in known}) == 5
    assert len({t[0, :200].tobytes() for t in known}) > 5


def test_pairs_batch_and_come_out_the_same_whichever_worker_makes_them():
    pairs = SyntheticPairs(FLAT_RECIPE, length=4, first=7)
    here = [pairs[i] for i in range(4)]
    loaded = next(iter(DataLoader(pairs, batch_size=4, num_workers=2)))
    assert loaded["fixed"].shape == (4, 1, 96, 80)
    assert loaded["displacement"].shape == (4, 2, 96, 80)
    for key, values in loaded.items():
        assert torch.equal(values, torch.stack([item[key] for item in here])), key
    with pytest.raises(IndexError):
        pairs[4]


def test_workers_load_large_images_though_their_parent_has_used_its_threads():
    recipe = dataclasses.replace(SOLID_RECIPE, shape=(64, 64, 64), spacing=(4.0,) * 3)
    pairs = SyntheticPairs(recipe, length=1)
    set_threads(2)
    try:
        here = pairs[0]
        # a pool that a fork took over has no threads: the loader would wait until its time is up
        loaded = next(iter(DataLoader(pairs, num_workers=1, timeout=240)))
    finally:
        set_threads(None)
    assert torch.equal(loaded["moving"][0], here["moving"])


def test_displacement_and_matrix_are_those_of_the_truth():
    item = SyntheticPairs(FLAT_RECIPE)[2]
    example = draw(FLAT_RECIPE, 2)
    place = np.array([30, 41])
    world = example.pair.fixed.grid.world(place)
    moved = world + item["displacement"][:, 30, 41].numpy()
    assert np.allclose(moved, example.truth(world), atol=1e-4)
    assert np.allclose(item["matrix"].numpy(), example.truth.parts()[0].matrix, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"anatomies": ("haed",)}, OptionError, "Did you mean 'head'"),
        ({"anatomies": ("hand",)}, DimensionError, "radiograph"),
        ({"anatomies": ()}, OptionError, "needs an anatomy"),
        ({"anatomies": ("maps",)}, OptionError, "folder of label maps"),
        ({"shape": (64, 64)}, DimensionError, "as many for the spacing"),
        ({"spacing": (1.0, 0.0, 1.0)}, OptionError, "positive spacings"),
        ({"alike": 1.5}, OptionError, "alike 1.5"),
        ({"points": -1}, OptionError, "points is -1"),
    ],
)
def test_recipes_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        Synthesis(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Artefacts(noises=("rice",)), "rician"),
        (lambda: Artefacts(rate=2), "rate of the artefacts is 2"),
        (lambda: Artefacts(noises=()), "no kind of noise"),
        (lambda: Contrast(mean=(0.5, 0.2)), "in order"),
        (lambda: Contrast(known=-1), "known contrasts"),
        (lambda: Contrast(detail=-1), "detail of the contrast"),
        (lambda: Motion(rotation=-5), "rotation of a motion"),
        (lambda: Bend(-1), "amount of a bend"),
        (lambda: Bend(1, ()), "scales of a bend"),
    ],
)
def test_ranges_that_cannot_be_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_a_folder_of_label_maps_is_pictured(tmp_path):
    from coincide.grid import Grid
    from coincide.image import Image
    from coincide.io import write_image

    grid = Grid.from_spacing((30, 34, 28), (3.0, 3.0, 4.0), (10, -70, 5))
    labels = np.zeros(grid.shape, np.int32)
    labels[4:20, 5:30, 6:20], labels[20:27, 8:14, 6:12] = 7, 2035
    write_image(Image(torch.from_numpy(labels), grid, "label"), tmp_path / "one.nii.gz")
    recipe = dataclasses.replace(SOLID_RECIPE, anatomies=("maps",), maps=str(tmp_path))
    found = draw(recipe, 0).pair.fixed_labels.data.unique().tolist()
    assert found == [0, 1007, 3035]
    flat = dataclasses.replace(FLAT_RECIPE, anatomies=("maps",), maps=str(tmp_path))
    assert 1007 in draw(flat, 0).pair.fixed_labels.data


def test_label_maps_that_cannot_be_used_are_refused(tmp_path):
    from coincide.grid import Grid
    from coincide.image import Image
    from coincide.io import write_image

    recipe = dataclasses.replace(SOLID_RECIPE, anatomies=("maps",), maps=str(tmp_path / "nowhere"))
    with pytest.raises(MissingFileError, match="is no folder"):
        draw(recipe, 0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match="holds no label map"):
        draw(dataclasses.replace(recipe, maps=str(empty)), 0)
    labels = np.full((8, 8, 8), 70_000, np.int32)
    write_image(
        Image(torch.from_numpy(labels), Grid.from_spacing((8, 8, 8), 1), "label"), tmp_path / "large.nii.gz"
    )
    with pytest.raises(LabelError, match="70000"):
        draw(dataclasses.replace(recipe, maps=str(tmp_path)), 0)
    flat = tmp_path / "flat"
    flat.mkdir()
    write_image(
        Image(torch.ones((9, 9), dtype=torch.uint8), Grid.from_spacing((9, 9), 1), "label"), flat / "a.png"
    )
    with pytest.warns(UserWarning, match="spacing 1"), pytest.raises(DimensionError, match="is 2-D"):
        draw(dataclasses.replace(recipe, maps=str(flat)), 0)


def test_the_contact_sheet_shows_every_pair():
    sheet = contact_sheet(FLAT_RECIPE, range(2))
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (80 + 4), 4 * (96 + 4), 3)
    # the moving image through the truth is like the fixed one in outline: both are dark outside
    assert sheet[:80].std() > 20
