"""Made-up tumours: they push the brain aside, their oedema keeps to its white matter, and the truth knows of both."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from coincide.data.synthesis import Artefacts, Bend, Contrast, Motion, Synthesis, Tumour, contact_sheet, draw
from coincide.data.synthesis.contrast import colours
from coincide.data.synthesis.structures import STRUCTURES, TUMOUR_LABELS
from coincide.data.synthesis.tumour import NECROSIS, OEDEMA, RIM, Terrain, grow
from coincide.errors import OptionError
from coincide.grid import Grid

STILL = Motion(0, 0, 0, 0)
RECIPE = Synthesis(
    shape=(56, 60, 52),
    spacing=(3.6,) * 3,
    anatomies=("tumour",),
    artefacts=Artefacts(blur=0, bias=0, gamma=0, noise=0, rate=0),
    motion=STILL,
    bend=Bend(0.0),
    strip=1.0,
    tumour=Tumour(radius=(14, 18), growth=(1.5, 1.5), oedema=(15, 15), push=(0.5, 0.5)),
)
MOVED = dataclasses.replace(RECIPE, motion=Motion(15, 6, 0.05, 0.02), bend=Bend(4.0))
CORE, SWOLLEN = TUMOUR_LABELS[:2], TUMOUR_LABELS[2]


def labels_of(example) -> tuple[np.ndarray, np.ndarray]:
    return example.pair.fixed_labels.numpy()[0], example.pair.moving_labels.numpy()[0]


@pytest.mark.parametrize("seed", [0, 3])
def test_healthy_tissue_is_where_the_truth_says_and_would_not_be_without_the_push(seed):
    example = draw(MOVED, seed)
    fixed, moving = labels_of(example)
    grid = example.pair.fixed.grid
    middle = grid.world(np.argwhere(np.isin(fixed, CORE)).mean(0))
    world = grid.points()
    # the shell in which the tissue gives way, without what either tumour took; and what is too far to
    far = np.linalg.norm(world - middle, axis=-1)
    around, elsewhere = (far < 45) & (fixed > 0), (far > 70) & (fixed > 0)

    def agree(transform, where=around) -> float:
        index = np.moveaxis(grid.index(transform(world)), -1, 0)
        warped = map_coordinates(moving, index, order=0)
        counted = where & ~np.isin(fixed, TUMOUR_LABELS) & ~np.isin(warped, TUMOUR_LABELS)
        return float((fixed == warped)[counted].mean())

    without = dataclasses.replace(MOVED, tumour=dataclasses.replace(MOVED.tumour, growth=(1.0, 1.0)))
    # what is lost is outlines, sampled twice
    assert agree(example.truth) > agree(example.truth, elsewhere) - 0.04
    assert agree(draw(without, seed).truth) < agree(example.truth) - 0.1


def test_a_tumour_that_grows_pushes_outwards_and_no_further_than_the_skull():
    example = draw(RECIPE, 1)
    fixed, moving = labels_of(example)
    world = example.pair.fixed.grid.points()
    middle = example.pair.fixed.grid.world(np.argwhere(np.isin(fixed, CORE)).mean(0))
    pushed, away = example.truth(world) - world, world - middle
    length, far = np.linalg.norm(pushed, axis=-1), np.linalg.norm(away, axis=-1)
    near = (far > 8) & (length > 0.5)
    outward = (pushed * away).sum(-1)[near] / (length * far)[near]
    assert np.percentile(outward, 5) > 0.9
    # half of the 7 to 9 mm by which its radius grew
    assert 2.5 < length.max() < 5.0
    assert length[fixed == 0].max() < 1.0
    assert np.isin(moving, CORE).sum() > 1.8 * np.isin(fixed, CORE).sum()


def test_a_tumour_that_is_the_same_moves_nothing_and_one_that_is_gone_is_gone():
    same, gone = (
        draw(dataclasses.replace(RECIPE, tumour=dataclasses.replace(RECIPE.tumour, growth=(g, g))), 2)
        for g in (1.0, 0.0)
    )
    fixed, moving = labels_of(same)
    np.testing.assert_array_equal(fixed, moving)
    fixed, moving = labels_of(gone)
    assert np.isin(fixed, TUMOUR_LABELS).any()
    assert not np.isin(moving, TUMOUR_LABELS).any()


def test_landmarks_lie_in_tissue_that_lasts():
    example = draw(dataclasses.replace(MOVED, points=400), 5)
    for labels, points in zip(labels_of(example), (example.pair.fixed_points, example.pair.moving_points)):
        index = np.rint(example.pair.fixed.grid.index(points.world)).astype(int)
        inside = ((index >= 0) & (index < labels.shape)).all(1)
        # the outline of the core is known to half a voxel
        assert np.isin(labels[tuple(index[inside].T)], CORE).mean() < 0.01


def slabs() -> tuple[Terrain, Grid]:
    """Two slabs of white matter with fluid between them, and grey matter around."""
    grid = Grid.from_spacing((60, 40, 44), 2.0, (-60, -40, -44))
    x = grid.points()[..., 0]
    brain = np.zeros(grid.shape, bool)
    brain[3:-3, 3:-3, 3:-3] = True
    fluid = brain & (np.abs(x) < 4)
    white = np.zeros(grid.shape, bool)
    white[6:-6, 8:-8, 8:-8] = True
    return Terrain(brain, white & ~fluid, fluid), grid


def test_oedema_keeps_to_the_white_matter_on_its_side_of_the_fluid():
    terrain, grid = slabs()
    places, sides = np.moveaxis(grid.points(), -1, 0), []
    for seed in range(6):
        grown = grow(
            np.random.default_rng(seed), Tumour((6, 6), (1, 1), (0.4, 0.4), (25, 25), (0, 0)), terrain, grid
        )
        part = grown.parts(places)
        assert {RIM, NECROSIS, OEDEMA} <= set(np.unique(part).tolist())
        assert terrain.white[part == OEDEMA].all()
        x = grid.points()[..., 0][part == OEDEMA]
        sides.append(np.mean(np.sign(x) == np.sign(grown.centre[0])))
        dead = np.linalg.norm(grid.points()[part == NECROSIS] - grown.centre, axis=-1)
        rim = np.linalg.norm(grid.points()[part == RIM] - grown.centre, axis=-1)
        assert dead.mean() < rim.mean()
    assert min(sides) == 1.0


def test_without_white_matter_nothing_grows():
    terrain, grid = slabs()
    bare = dataclasses.replace(terrain, white=np.zeros(grid.shape, bool))
    assert grow(np.random.default_rng(0), Tumour(), bare, grid) is None


def test_tumours_have_every_contrast_and_take_up_contrast_agent_in_some_t1():
    told = Contrast(known=1.0, vary=0, structures=0, background=0)
    rim, white = STRUCTURES["rim of the tumour"].label, STRUCTURES["left cerebral white matter"].label
    tables = [colours(np.random.default_rng(seed), told, 199)[0] for seed in range(60)]
    # white matter is brightest in T1 alone
    enhanced = {bool(t[rim] > 0.9) for t in tables if t[white] > 0.7}
    assert enhanced == {False, True}
    assert len({t[SWOLLEN] for t in tables}) == 5
    free = [colours(np.random.default_rng(seed), Contrast(known=0), 199)[0] for seed in range(60)]
    assert 0.3 < np.mean([t[rim] > t[white] for t in free]) < 0.7


def test_the_contact_sheet_goes_through_the_tumour():
    recipe = dataclasses.replace(RECIPE, contrast=Contrast(known=0, detail=0, spread=0))
    sheet = contact_sheet(recipe, [4])
    table = np.random.default_rng(0).integers(60, 256, (1 << 15, 3)).astype(np.uint8)
    for label in CORE:
        assert (sheet == table[label]).all(-1).sum() > 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": (0.0, 5.0)}, "expected more than 0"),
        ({"radius": (9.0, 5.0)}, "in order"),
        ({"growth": (-1.0, 1.0)}, "growth of a tumour"),
        ({"push": (0.2, 1.0)}, "push of a tumour"),
        ({"rough": 2.0}, "rough 2.0"),
    ],
)
def test_tumours_that_cannot_be_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        Tumour(**changes)
