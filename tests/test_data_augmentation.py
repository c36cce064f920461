"""Augmentation changes images, labels, landmarks and the truth alike."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

pytest.importorskip("monai", reason="needs the extra: pip install 'coincide[train]'")

from coincide.data import Augmentation, augmented
from coincide.data.synthesis import Artefacts, Contrast, Motion, Synthesis, draw
from coincide.errors import OptionError

PLAIN = Artefacts(blur=0, bias=0, gamma=0, noise=0, rate=0)
FLAT = Synthesis(
    shape=(80, 72),
    spacing=(2.5, 2.5),
    anatomies=("blobs",),
    artefacts=PLAIN,
    contrast=Contrast(spread=0, detail=0),
    alike=1.0,
    motion=Motion(15, 10, 0.1, 0.05),
)
SOLID = dataclasses.replace(FLAT, shape=(52, 48, 44), spacing=(4.0, 4.0, 4.0))
SHAPE_ONLY = Augmentation(brightness=0, contrast=0, gamma=1, noise=0)


def centres(labels):
    """World centres (mm) of the labels that do not touch the border."""
    values = labels.numpy()[0]
    border = np.concatenate([np.unique(values.take(i, a)) for a in range(values.ndim) for i in (0, -1)])
    found = {}
    for label in set(np.unique(values)) - set(border):
        index = np.argwhere(values == label)
        if len(index) > 60:
            found[int(label)] = labels.grid.world(index.mean(0))
    return found


@pytest.mark.parametrize("recipe", [FLAT, SOLID], ids=["2d", "3d"])
def test_image_labels_and_landmarks_move_alike(recipe):
    example = draw(recipe, 5)
    pair, _ = augmented(example.pair, example.truth, SHAPE_ONLY, 11)
    moved = 0
    for side in ("fixed", "moving"):
        old, new = getattr(example.pair, f"{side}_labels"), getattr(pair, f"{side}_labels")
        image, grey = getattr(pair, side).numpy()[0], getattr(example.pair, side).numpy()[0]
        # one brightness for each label, before and after
        for label in np.unique(new.numpy()):
            there, was = new.numpy()[0] == label, old.numpy()[0] == label
            if label and there.sum() > 150 and was.sum() > 150:
                assert np.median(image[there]) == pytest.approx(np.median(grey[was]), abs=0.08)
        points, before = getattr(pair, f"{side}_points"), getattr(example.pair, f"{side}_points")
        names = [labels_at(labels, p) for labels, p in ((old, before.world), (new, points.world))]
        seen = (names[0] > 0) & (names[1] >= 0)
        assert np.mean(names[0][seen] == names[1][seen]) > 0.8
        moved = max(moved, np.abs(points.world - before.world).max())
    assert moved > 5


def labels_at(labels, world):
    index = np.rint(labels.grid.index(world)).astype(int)
    inside = ((index >= 0) & (index < labels.grid.shape)).all(1)
    index = np.clip(index, 0, np.array(labels.grid.shape) - 1)
    return np.where(inside, labels.numpy()[0][tuple(index.T)], -1)


@pytest.mark.parametrize("recipe", [FLAT, SOLID], ids=["2d", "3d"])
@pytest.mark.parametrize(
    "changes", [{}, {"elastic": 0.0, "crop": True}, {"apart": False}, {"flip": 1.0, "chiral": False}]
)
def test_the_truth_follows(recipe, changes):
    if "crop" in changes:
        changes = changes | {"crop": tuple(n - 10 for n in recipe.shape)}
    example = draw(recipe, 3)
    pair, truth = augmented(example.pair, example.truth, dataclasses.replace(SHAPE_ONLY, **changes), 4)
    assert truth(pair.fixed_points.world) == pytest.approx(pair.moving_points.world, abs=0.05)
    grid = pair.fixed.grid
    index = pair.moving.grid.index(truth(grid.points()))
    inside = ((index >= 1) & (index <= np.array(pair.moving.grid.shape) - 2)).all(-1)
    warped = map_coordinates(pair.moving.numpy()[0], np.moveaxis(index, -1, 0), order=1)
    fixed = pair.fixed.numpy()[0]
    # where padding fills what no image showed, there is nothing to compare
    inside &= (fixed > 0) & (warped > 0)
    assert np.corrcoef(fixed[inside], warped[inside])[0, 1] > 0.85
    if "crop" in changes:
        assert pair.fixed.grid.shape == changes["crop"]


def test_both_images_change_alike_unless_apart():
    example = draw(FLAT, 1)
    together, truth = augmented(example.pair, example.truth, dataclasses.replace(SHAPE_ONLY, apart=False), 2)
    assert truth is not None
    both = dataclasses.replace(
        example.pair, moving=example.pair.fixed, moving_labels=example.pair.fixed_labels
    )
    alike, _ = augmented(both, None, dataclasses.replace(SHAPE_ONLY, apart=False), 2)
    assert torch.equal(alike.fixed.data, alike.moving.data)
    apart, _ = augmented(both, None, SHAPE_ONLY, 2)
    assert not torch.equal(apart.fixed.data, apart.moving.data)
    assert together.fixed_labels.data.dtype == example.pair.fixed_labels.data.dtype


def test_a_seed_says_all_and_labels_stay_labels():
    example = draw(SOLID, 2)
    first, second, third = (
        augmented(example.pair, example.truth, Augmentation(), seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first.fixed.data, second.fixed.data)
    assert np.array_equal(first.moving_points.world, second.moving_points.world)
    assert not torch.equal(first.fixed.data, third.fixed.data)
    known = set(example.pair.fixed_labels.data.unique().tolist()) | {0}
    assert set(first.fixed_labels.data.unique().tolist()) <= known


def test_masks_and_pairs_without_aids_are_changed_too():
    recipe = dataclasses.replace(FLAT, artefacts=Artefacts(rate=1.0))
    pair = draw(recipe, 2).pair
    assert pair.fixed.mask is not None
    changed, _ = augmented(pair, None, SHAPE_ONLY, 6)
    dark = changed.fixed.data[0][~changed.fixed.mask]
    assert float((dark < 0.2).float().mean()) > 0.9
    bare = dataclasses.replace(
        pair, **dict.fromkeys(("fixed_labels", "moving_labels", "fixed_points", "moving_points"))
    )
    assert augmented(bare, None, SHAPE_ONLY, 6)[0].fixed_labels is None


def test_intensities_change_without_moving_anything():
    still = Augmentation(rotation=0, scale=0, elastic=0)
    pair = draw(FLAT, 2).pair
    changed, _ = augmented(pair, None, still, 3)
    assert torch.equal(changed.fixed_labels.data, pair.fixed_labels.data)
    assert not torch.allclose(changed.fixed.data, pair.fixed.data, atol=0.02)
    assert np.corrcoef(changed.fixed.numpy().ravel(), pair.fixed.numpy().ravel())[0, 1] > 0.9
    nothing = dataclasses.replace(still, brightness=0, contrast=0, gamma=1, noise=0)
    assert torch.equal(augmented(pair, None, nothing, 3)[0].fixed.data, pair.fixed.data)


def test_flips_of_chiral_anatomy_warn():
    with pytest.warns(UserWarning, match="mirror image"):
        Augmentation(flip=0.5)


@pytest.mark.parametrize(
    "options", [{"rotation": -1}, {"flip": 2}, {"gamma": 0.5}, {"scale": 1.0}, {"noise": -0.1}]
)
def test_augmentations_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError, match="expected"):
        Augmentation(**options)
