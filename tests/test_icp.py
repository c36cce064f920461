"""Iterative closest points: known motions of surfaces and clouds, however far, and what it refuses."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from coincide.errors import LabelError, MaskError, OptionError, PointsError
from coincide.features.surface import bare
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.optimise.closest import Closest, approach
from coincide.optimise.closest_starts import search
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import register
from coincide.transforms import Affine, Displacement, about, identity, rigid, rotation_matrix, similarity
from shapes import cloud, depth, error_of, grid_round, inside, masked_pair

FAR = {
    2: [rigid(180, (30, -12), (5, 5)), rigid(-70, (-8, 25), (0, 9))],
    3: [rigid((90, 0, 0), (20, -9, 14), (5, 5, 0)), rigid((-60, 40, 90), (-8, 5, 17), (0, 9, 3))],
}


def voxel(dim: int) -> float:
    """Size of the fixed voxels of `masked_pair`, mm."""
    return 2.0 if dim == 2 else 3.0


def stretched(dim: int) -> Affine:
    stretch = np.array([[1.12, 0.1, -0.05], [-0.04, 0.9, 0.08], [0.03, -0.06, 1.08]])[:dim, :dim]
    return FAR[dim][1] @ about(stretch, np.zeros(dim), np.zeros(dim))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("metric", "number"), [("plane", 0), ("point", 1)])
def test_masks_are_laid_on_each_other_from_any_rotation(dim, metric, number):
    truth = FAR[dim][number]
    solution = parse(f"icp:metric={metric}").solve(masked_pair(dim, truth))
    assert solution.status is Status.SUCCEEDED
    assert error_of(solution.transform, truth, dim) < 0.5 * voxel(dim)
    assert solution.evidence["start_margin"] > 0.2
    assert error_of(solution.inverse @ solution.transform, identity(dim), dim) < 1e-9
    part = solution.transform.matrix[:-1, :-1]
    np.testing.assert_allclose(part @ part.T, np.eye(dim), atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_sizes_and_shears_are_found(dim, model):
    angle = (70, -30, 20) if dim == 3 else 110
    truth = (
        similarity(angle, (9, -14, 5)[:dim], 1.25, np.zeros(dim)) if model == "similarity" else stretched(dim)
    )
    solution = parse(f"icp:model={model},starts=80").solve(masked_pair(dim, truth))
    assert error_of(solution.transform, truth, dim) < 0.5 * voxel(dim)


@pytest.mark.parametrize("kind", ["oblique", "anisotropic", "sheared"])
@pytest.mark.parametrize("dim", [2, 3])
def test_grids_may_be_turned_stretched_and_sheared(dim, kind):
    truth = FAR[dim][1]
    turn = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    pair = masked_pair(
        dim, truth, (1.5, 2.0, 3.5)[:dim] if kind == "anisotropic" else 2.0, 2.2, (turn, turn.T)
    )
    if kind == "sheared":
        affine = pair.fixed.grid.affine @ np.block(
            [[np.eye(dim) + 0.3 * np.eye(dim, k=1), np.zeros((dim, 1))], [np.zeros(dim), 1]]
        )
        affine[:dim, dim] += -affine[:dim, :dim] @ (np.array(pair.fixed.grid.shape) / 2) - affine[:dim, dim]
        grid = Grid(pair.fixed.grid.shape, affine)
        mask = torch.from_numpy(depth(grid.points()) > 0)
        pair = replace(pair, fixed=Image(pair.fixed.data, grid, mask=mask))
    solution = parse("icp:starts=80").solve(pair)
    assert error_of(solution.transform, truth, dim) < 0.5 * pair.fixed.grid.spacing.max()


def laid(fixed, moving, model="rigid", trim=0.0, metric="point", iterations=100):
    """What the search and the iterations make of two clouds."""
    closest = Closest(fixed, moving, 4000, trim)
    found = search(closest, model, metric, 60 if fixed.dim == 3 else 20, (fixed.centre, moving.centre))
    return approach(closest, found.matrix, model, metric, iterations, 1e-5 * closest.size), found


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_the_same_points_are_found_exactly(dim, model):
    truth = {
        "rigid": FAR[dim][0],
        "similarity": similarity((50, -20, 30)[: 3 if dim == 3 else 1], (5, 9, -4)[:dim], 0.8, np.zeros(dim)),
        "affine": stretched(dim),
    }[model]
    points = cloud(dim, 200, 0)
    moving = truth(points)[np.random.default_rng(1).permutation(len(points))]
    found, _ = laid(bare(points), bare(moving), model)
    assert error_of(Affine(found.matrix), truth, dim) < 1e-6


@pytest.mark.parametrize("dim", [2, 3])
def test_noise_and_strangers_do_not_mislead(dim):
    truth, rng = FAR[dim][1], np.random.default_rng(2)
    fixed, moving = cloud(dim, 400, 0), truth(cloud(dim, 400, 9))
    moving = moving + rng.normal(scale=1.0, size=moving.shape)
    low, high = moving.min(0) - 20, moving.max(0) + 20
    moving = np.r_[moving, rng.uniform(low, high, (100, dim))]  # one in five belongs to nothing
    trimmed, _ = laid(bare(fixed), bare(moving), trim=0.25)
    assert error_of(Affine(trimmed.matrix), truth, dim) < 1.0
    plain, _ = laid(bare(fixed), bare(moving), trim=0.0)
    assert error_of(Affine(trimmed.matrix), truth, dim) < 0.7 * error_of(Affine(plain.matrix), truth, dim)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_part_is_laid_on_the_whole(dim):
    truth = rigid((25, -15, 20)[: 3 if dim == 3 else 1], (9, -6, 5)[:dim], np.zeros(dim))
    fixed, moving = cloud(dim, 500, 0), truth(cloud(dim, 500, 9))
    fixed = fixed[fixed[:, 0] > -25]  # an arm is missing in one
    moving = moving[truth.inverse()(moving)[:, 1] > -18]  # and a knob in the other
    found, _ = laid(bare(fixed), bare(moving), trim=0.3)
    assert error_of(Affine(found.matrix), truth, dim) < 1.0


def labelled(truth, dim: int):
    """A ball in a ball: only the labels tell which way round it lies."""
    fixed, moving = (grid_round(t, dim, 2.0) for t in (None, truth))

    def paint(points):
        values = np.zeros(points.shape[:-1], np.int32)
        values[np.linalg.norm(points, axis=-1) < 40] = 614454277
        for label, centre in ((3, (20, 6, 4)), (5, (-20, -6, -4)), (9, (3, 22, -9))):
            values[np.linalg.norm(points - np.array(centre[:dim]), axis=-1) < 9] = label
        return values

    maps = paint(fixed.points()), paint(truth.inverse()(moving.points()))
    blank = [Image(np.zeros(g.shape, np.float32), g) for g in (fixed, moving)]
    return Pair(*blank, *(Image(m, g, "label") for m, g in zip(maps, (fixed, moving))))


@pytest.mark.parametrize("spec", ["icp:source=labels", "icp:use_landmarks=true"])
@pytest.mark.parametrize("dim", [2, 3])
def test_labels_are_laid_on_their_own_kind(dim, spec):
    truth = FAR[dim][0]
    solution = parse(spec).solve(labelled(truth, dim))
    assert np.linalg.norm(solution.transform(inside(dim)) - truth(inside(dim)), axis=1).mean() < 1.0
    assert solution.evidence["start_margin"] > 0.1


def test_points_without_correspondence_are_enough():
    truth = FAR[3][1]
    points = cloud(3, 300, 0)
    grid = Grid.from_spacing((20, 20, 20), 10.0, (-100, -100, -100))
    blank = Image(np.zeros(grid.shape, np.float32), grid)
    moving = truth(points)[::-1]
    pair = Pair(blank, blank, None, None, Points(points), Points(moving))
    for spec in ("icp:source=points", "icp:use_landmarks=true"):
        assert error_of(parse(spec).solve(pair).transform, truth, 3) < 1e-6
    with pytest.raises(PointsError, match="no direction"):
        parse("icp:source=points,metric=plane").solve(pair)


def test_an_initial_transform_leaves_the_search_out():
    truth = FAR[3][0]
    near = rigid((4, -3, 5), (2, 2, -3), (0, 0, 0)) @ truth
    pair = replace(masked_pair(3, truth), initial=near)
    solution = parse("icp").solve(pair)
    assert error_of(solution.transform, truth, 3) < 0.5 * voxel(3)
    assert "start_margin" not in solution.evidence
    grid = pair.fixed.grid
    field = Displacement(np.zeros((3, *grid.shape), np.float32), grid)
    with pytest.raises(OptionError, match="deformable initial"):
        parse("icp").solve(replace(pair, initial=field))


def test_landmarks_and_labels_do_not_steer_unasked():
    truth = FAR[2][1]
    pair = masked_pair(2, truth)
    misled = replace(pair, fixed_points=Points(np.zeros((3, 2))), moving_points=Points(np.ones((3, 2)) * 90))
    one, other = (parse("icp").solve(p).transform.matrix for p in (pair, misled))
    np.testing.assert_array_equal(one, other)


def test_a_ball_has_no_way_round_and_the_margin_says_so():
    truth = rigid((90, 20, 0), (5, -8, 3), (0, 0, 0))
    grids = grid_round(None, 3, 3.0), grid_round(truth, 3, 3.3)
    masks = [
        np.linalg.norm(b(g.points()), axis=-1) < 30 for g, b in zip(grids, (identity(3), truth.inverse()))
    ]
    pair = Pair(
        *(Image(np.zeros(g.shape, np.float32), g, mask=torch.from_numpy(m)) for g, m in zip(grids, masks))
    )
    solution = parse("icp").solve(pair)
    assert abs(solution.evidence["start_margin"]) < 0.2
    # at a tie the headers decide: no rotation is made up
    assert np.abs(solution.transform.matrix[:3, :3] - np.eye(3)).max() < 0.1
    assert np.linalg.norm(solution.transform(np.zeros(3)) - truth(np.zeros(3))) < 0.5


def test_the_solution_carries_its_evidence_and_pairs():
    truth = FAR[2][1]
    solution = parse("icp").solve(masked_pair(2, truth))
    evidence = solution.evidence
    assert 0 < evidence["residual_mean_mm"] < evidence["residual_p90_mm"] < 2
    assert 0.9 < evidence["inlier_share"] <= 1
    assert evidence["points_fixed"] > 100
    assert 1 <= evidence["iterations"] <= 100
    apart = np.linalg.norm(solution.transform(solution.matches.fixed) - solution.matches.moving, axis=1)
    assert apart[solution.matches.inlier].mean() < 2
    assert np.abs(depth(solution.matches.fixed)).mean() < 1
    assert any("masks" in d for d in solution.decisions)
    assert solution.trace


def test_a_symmetric_cost_does_not_shrink():
    # one-way distances of a similarity are least where one surface has shrunk into a corner of the other
    truth = similarity(20, (5, 4), 1.4, (0, 0))
    closest = Closest(bare(cloud(2, 400, 0)), bare(truth(cloud(2, 400, 3))), 400)
    found = approach(closest, np.eye(3), "similarity", "point", 200, 1e-6)
    assert abs(np.sqrt(np.linalg.det(found.matrix[:2, :2])) / 1.4 - 1) < 0.02


def test_the_whole_way_through_register():
    pair = masked_pair(3, rigid((10, -8, 12), (3, 5, -4), (0, 0, 0)), 4.0, 4.0)
    result = register(pair, "icp", transform="similarity")
    assert result.provenance["settings"]["model"] == "similarity"
    assert result.verdict.level in ("converged", "suspicious", "failed")
    assert "residual_mean_mm" in result.verdict.evidence


EMPTY = Grid.from_spacing((20, 20), 2.0)
BLANK = Image(np.random.default_rng(0).normal(size=EMPTY.shape).astype(np.float32), EMPTY, name="blank")
LABELS = [
    Image(np.full(EMPTY.shape, n, np.uint8) * (np.indices(EMPTY.shape)[0] > 9), EMPTY, "label")
    for n in (1, 2)
]


@pytest.mark.parametrize(
    ("spec", "pair", "error", "match"),
    [
        ("icp:source=mask", Pair(BLANK, BLANK), MaskError, "--fixed-mask"),
        ("icp:source=labels", Pair(BLANK, BLANK), LabelError, "--fixed-labels"),
        ("icp:source=points", Pair(BLANK, BLANK), PointsError, "--fixed-points"),
        ("icp:source=labels", Pair(BLANK, BLANK, *LABELS), LabelError, "in common"),
        (
            "icp:source=points",
            Pair(BLANK, BLANK, None, None, Points(np.eye(2)), Points(np.eye(2))),
            PointsError,
            "2 surface points.*at least 8",
        ),
        (
            "icp",
            Pair(*(BLANK.with_mask(torch.ones(EMPTY.shape, dtype=torch.bool)) for _ in range(2))),
            MaskError,
            "0 surface points",
        ),
    ],
)
def test_too_little_to_work_with_is_refused(spec, pair, error, match):
    with pytest.raises(error, match=match):
        parse(spec).solve(pair)


@pytest.mark.parametrize(
    "options",
    ["model=bspline", "metric=line", "source=mesh", "trim=1", "points=3", "starts=0", "threshold=2"],
)
def test_odd_options_are_refused(options):
    with pytest.raises(OptionError):
        parse(f"icp:{options}")


@pytest.mark.data
def test_brain_masks_turned_by_a_known_motion(shared_data):
    from coincide.api import open_pair

    with open(shared_data / "cases.csv", newline="") as stream:
        rows = {r["case"]: r for r in csv.DictReader(stream)}
    found = {}
    for case in ("brain_rescan_1003_1023", "brain_rescan_1003_1023_hard"):
        roles = ("fixed", "moving", "fixed_mask", "moving_mask")
        pair = open_pair(**{role: shared_data / rows[case][role] for role in roles})
        found[case] = parse("icp").solve(pair), pair.moving.grid
    (plain, before), (hard, after) = found.values()
    moved = after.affine @ before.inverse_affine  # what was done to the header
    probes = plain.matches.fixed
    apart = np.linalg.norm(hard.transform(probes) - Affine(moved)(plain.transform(probes)), axis=1)
    assert apart.max() < 0.5
    assert hard.evidence["start_margin"] > 0.5
