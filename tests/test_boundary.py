"""The boundary method finds known motions of outlines, from any rotation, and says when outlines do not correspond."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.errors import MaskError, OptionError, PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import register
from coincide.transforms import Displacement, about, identity, rigid, rotation_matrix, similarity
from shapes import Bent, depth, error_of, grid_round, inside, masked_pair

FAR = {
    2: [rigid(180, (30, -12), (5, 5)), rigid(-70, (-8, 25), (0, 9))],
    3: [rigid((90, 0, 0), (20, -9, 14), (5, 5, 0)), rigid((-60, 40, 90), (-8, 5, 17), (0, 9, 3))],
}
VOXEL = {2: 2.0, 3: 3.0}


def truth_of(transform: str, dim: int):
    if transform == "rigid":
        return FAR[dim][0]
    if transform == "similarity":
        return similarity((70, -30, 20) if dim == 3 else 110, (9, -14, 5)[:dim], 1.25, np.zeros(dim))
    stretch = np.array([[1.12, 0.1, -0.05], [-0.04, 0.9, 0.08], [0.03, -0.06, 1.08]])[:dim, :dim]
    return FAR[dim][1] @ about(stretch, np.zeros(dim), np.zeros(dim))


@pytest.mark.parametrize("transform", ["rigid", "similarity", "affine"])
@pytest.mark.parametrize("dim", [2, 3])
def test_masks_are_laid_on_each_other_from_any_rotation(dim, transform):
    truth = truth_of(transform, dim)
    turn = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    pair = masked_pair(dim, truth, (1.5, 2.0, 3.0)[:dim], VOXEL[dim], (turn, turn.T))
    solution = parse(f"boundary:transform={transform}").solve(pair)
    assert solution.status is Status.SUCCEEDED
    assert error_of(solution.transform, truth, dim) < 0.3 * VOXEL[dim]
    assert error_of(solution.inverse @ solution.transform, identity(dim), dim) < 1e-9
    part = solution.transform.matrix[:-1, :-1]
    if transform != "affine":
        np.testing.assert_allclose(part @ part.T, np.eye(dim) * np.linalg.det(part) ** (2 / dim), atol=1e-6)
    assert solution.evidence["residual_mean_mm"] < 0.5 * VOXEL[dim]


@pytest.mark.parametrize("dim", [2, 3])
def test_a_bending_is_followed_on_the_outline(dim):
    truth = Bent(FAR[dim][1])
    pair = masked_pair(dim, truth, back=truth.back)
    residuals = {}
    for transform in ("affine", "deformable"):
        solution = parse(f"boundary:transform={transform}").solve(pair)
        residuals[transform] = solution.evidence["residual_mean_mm"]
    assert residuals["deformable"] < 0.8 * residuals["affine"]
    # each point of the outline lands on the bent outline
    points = solution.matches.fixed[np.abs(depth(solution.matches.fixed)) < 1]
    assert len(points) > 100
    assert np.abs(depth(truth.back(solution.transform(points)))).mean() < 0.25 * VOXEL[dim]
    again = solution.inverse(solution.transform(inside(dim)))
    assert np.linalg.norm(again - inside(dim), axis=1).mean() < 0.05 * VOXEL[dim]
    assert np.linalg.norm(solution.transform(inside(dim)) - truth(inside(dim)), axis=1).mean() < VOXEL[dim]


def painted(dim: int, truth, contrast: bool) -> Pair:
    """The shape in grey, with a spot in it, and moved and of another contrast."""
    images = []
    for grid, back, other in (
        (grid_round(None, dim, VOXEL[dim]), identity(dim), False),
        (grid_round(truth, dim, VOXEL[dim] * 1.1), truth.inverse(), contrast),
    ):
        world = back(grid.points())
        body = 1 / (1 + np.exp(-depth(world) / 1.2))
        spot = 1 / (1 + np.exp((np.linalg.norm(world - np.array((-8, 4, 2))[:dim], axis=-1) - 7) / 1.2))
        values = 0.45 * body + (-0.4 if other else 0.5) * spot
        values = values + 0.01 * np.random.default_rng(3).standard_normal(grid.shape)
        images.append(Image(values.astype(np.float32), grid))
    return Pair(*images)


@pytest.mark.parametrize("source", ["foreground", "edges"])
@pytest.mark.parametrize("dim", [2, 3])
def test_outlines_and_edges_of_images_are_enough(dim, source):
    truth = rigid((25, -15, 40)[:1] if dim == 2 else (25, -15, 40), (6, -5, 4)[:dim], np.zeros(dim))
    solution = parse(f"boundary:transform=rigid,source={source}").solve(
        painted(dim, truth, source == "edges")
    )
    assert error_of(solution.transform, truth, dim) < 0.3 * VOXEL[dim]


@pytest.mark.parametrize("dim", [2, 3])
def test_labels_tell_which_way_round_a_ball_lies(dim):
    truth = FAR[dim][0]
    grids = grid_round(None, dim, 2.5), grid_round(truth, dim, 2.5)
    maps = []
    for grid, back in zip(grids, (identity(dim), truth.inverse())):
        world, values = back(grid.points()), np.zeros(grid.shape, np.int32)
        values[np.linalg.norm(world, axis=-1) < 40] = 614454277
        for label, centre in ((3, (20, 6, 4)), (5, (-20, -6, -4)), (9, (3, 22, -9))):
            values[np.linalg.norm(world - np.array(centre[:dim]), axis=-1) < 9] = label
        maps.append(Image(values, grid, "label"))
    blank = [Image(np.zeros(g.shape, np.float32), g) for g in grids]
    pair = Pair(*blank, *maps)
    solution = parse("boundary:transform=rigid,use_landmarks=true").solve(pair)
    assert np.linalg.norm(solution.transform(inside(dim)) - truth(inside(dim)), axis=1).mean() < 0.6


def test_regions_grow_from_the_landmarks():
    truth = similarity(70, (9, -14), 1.1, (0, 0))
    seeds = np.array([(0.0, -9.0), (-8.0, 4.0)])  # in the body, and in the spot
    pair = replace(painted(2, truth, False), fixed_points=Points(seeds), moving_points=Points(truth(seeds)))
    solution = parse("boundary:transform=similarity,source=grown").solve(pair)
    assert error_of(solution.transform, truth, 2) < 1.0
    assert "grew from the landmarks" in solution.decisions[0]
    with pytest.raises(PointsError, match="source=grown needs landmarks"):
        parse("boundary:source=grown").solve(replace(pair, moving_points=None))


def test_the_shape_of_an_outline_is_told_and_its_mirror_image_too():
    truth = similarity(130, (5, 9), 0.8, (0, 0))
    solution = parse("boundary:transform=similarity").solve(masked_pair(2, truth))
    told = next(d for d in solution.decisions if "By the shape" in d)
    assert "turned by 130° and scaled by 0.80" in told
    pair = masked_pair(2, truth)
    flipped = pair.moving.grid.affine.copy()
    flipped[0] *= -1
    moving = replace(pair.moving, grid=Grid(pair.moving.grid.shape, flipped))
    mirrored = parse("boundary:transform=similarity").solve(replace(pair, moving=moving))
    assert any("mirror image of the outline fits better" in d for d in mirrored.decisions)


def test_an_initial_transform_leaves_the_search_out():
    truth = FAR[2][0]
    pair = replace(masked_pair(2, truth), initial=rigid(4, (2, 3), (0, 0)) @ truth)
    solution = parse("boundary:transform=rigid").solve(pair)
    assert error_of(solution.transform, truth, 2) < 0.5
    assert "start_value" not in solution.evidence
    field = Displacement(np.zeros((2, *pair.fixed.grid.shape), np.float32), pair.fixed.grid)
    with pytest.raises(OptionError, match="deformable initial"):
        parse("boundary").solve(replace(pair, initial=field))


def test_outlines_of_different_things_do_not_correspond():
    grid = Grid.from_spacing((80, 80), 1.0)
    i, j = np.indices(grid.shape)
    comb = ((j // 8) % 2 == 0) & (i > 5) & (i < 75) | (i < 9)
    dot = (i - 40) ** 2 + (j - 40) ** 2 < 30
    images = [Image(np.zeros(grid.shape, np.float32), grid, mask=torch.from_numpy(m)) for m in (comb, dot)]
    solution = parse("boundary:transform=rigid").solve(Pair(*images))
    assert solution.status in (Status.NO_CORRESPONDENCE, Status.NO_OVERLAP)


def test_the_whole_way_through_register():
    result = register(masked_pair(2, rigid(10, (3, 5), (0, 0))), "boundary", transform="similarity")
    assert result.provenance["settings"]["transform"] == "similarity"
    assert result.verdict.evidence["residual_mean_mm"] < 1
    assert result.matches.inlier.mean() > 0.7


GRID = Grid.from_spacing((20, 20), 2.0)
BLANK = Image(np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID, name="blank")


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ("boundary:source=mask", MaskError, "--fixed-mask"),
        ("boundary:source=grown", PointsError, "--fixed-points"),
    ],
)
def test_too_little_to_work_with_is_refused(spec, error, match):
    with pytest.raises(error, match=match):
        parse(spec).solve(Pair(BLANK, BLANK))


def test_a_mask_that_fills_its_image_has_no_outline():
    full = BLANK.with_mask(torch.ones(GRID.shape, dtype=torch.bool))
    with pytest.raises(MaskError, match="0 surface points"):
        parse("boundary").solve(Pair(full, full))


@pytest.mark.parametrize(
    "options",
    [
        "transform=bspline",
        "source=mesh",
        "source=points",
        "harmonics=1",
        "width=0",
        "tolerance=0",
        "starts=0",
    ],
)
def test_odd_options_are_refused(options):
    with pytest.raises(OptionError):
        parse(f"boundary:{options}")
