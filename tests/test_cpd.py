"""Coherent point drift: known motions and warps of surfaces and clouds, with noise, strangers and missing parts."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from coincide.errors import MaskError, OptionError, PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_transform, write_transform
from coincide.methods import Status, parse
from coincide.ops._parallel import get_threads, set_threads
from coincide.optimise.coherent import Coherent, believe
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import register
from coincide.transforms import Affine, about, identity, rigid, similarity
from shapes import Bent, cloud, error_of, inside, masked_pair
from test_icp import FAR, labelled, stretched, voxel


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_masks_are_laid_on_each_other_from_any_rotation(dim, kind):
    angle = (70, -30, 20) if dim == 3 else 110
    truth = {
        "rigid": FAR[dim][0],
        "similarity": similarity(angle, (9, -14, 5)[:dim], 1.25, np.zeros(dim)),
        "affine": stretched(dim),
    }[kind]
    solution = parse(f"cpd:transform={kind},starts=80").solve(masked_pair(dim, truth))
    assert solution.status is Status.SUCCEEDED
    assert error_of(solution.transform, truth, dim) < 0.5 * voxel(dim)
    assert error_of(solution.inverse @ solution.transform, identity(dim), dim) < 1e-9
    assert solution.evidence["start_margin"] > 0.2


@pytest.mark.parametrize("dim", [2, 3])
def test_a_smooth_warp_is_found_within_its_bound(dim, tmp_path):
    truth = Bent(FAR[dim][1])
    pair = masked_pair(dim, truth, back=truth.back)
    solution = parse("cpd:points=600,starts=40").solve(pair)
    on = cloud(dim, 300, 3)
    assert error_of(solution.transform, truth, dim) < 1.0 * voxel(dim)
    error = np.linalg.norm(solution.transform(on) - truth(on), axis=1).mean()
    assert error < 1.0 * voxel(dim)
    linear = parse("icp:model=similarity,starts=40").solve(pair).transform
    assert error < 0.75 * np.linalg.norm(linear(on) - truth(on), axis=1).mean()
    back = np.linalg.norm(solution.inverse(solution.transform(on)) - on, axis=1)
    assert back.mean() < 0.05 * voxel(dim)
    assert back.max() < 0.2 * voxel(dim)
    write_transform(solution.transform, tmp_path / "t.h5")
    assert np.abs(read_transform(tmp_path / "t.h5")(on) - solution.transform(on)).max() < 1e-9


def blank_pair(fixed: np.ndarray, moving: np.ndarray) -> Pair:
    dim = fixed.shape[1]
    grid = Grid.from_spacing((40,) * dim, 5.0, (-100,) * dim)
    blank = Image(np.zeros(grid.shape, np.float32), grid)
    return Pair(blank, blank, None, None, Points(fixed), Points(moving))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_the_same_points_are_found_exactly(dim, kind):
    truth = {
        "rigid": FAR[dim][1],
        "similarity": similarity((40, -25, 10) if dim == 3 else 40, (9, 4, 5)[:dim], 0.8, np.zeros(dim)),
        "affine": stretched(dim),
    }[kind]
    points = cloud(dim, 150, 0)
    pair = blank_pair(points, truth(points)[np.random.default_rng(1).permutation(len(points))])
    solution = parse(f"cpd:transform={kind},source=points,starts=40").solve(pair)
    assert error_of(solution.transform, truth, dim) < 1e-3


def clouds(fixed, moving, outliers=0.1, iterations=150) -> Coherent:
    none = np.zeros_like(fixed), np.zeros_like(moving)
    groups = np.zeros(len(fixed), int), np.zeros(len(moving), int)
    return Coherent(fixed / 40, moving / 40, none, groups, outliers, iterations)


def in_mm(matrix: np.ndarray) -> Affine:
    scale = np.diag([40.0] * (len(matrix) - 1) + [1])
    return Affine(scale @ matrix @ np.linalg.inv(scale))


@pytest.mark.parametrize("dim", [2, 3])
def test_noise_strangers_and_missing_parts_do_not_mislead(dim):
    truth, rng = (
        rigid((30, -15, 20) if dim == 3 else 30, (9, -6, 5)[:dim], np.zeros(dim)),
        np.random.default_rng(2),
    )
    fixed, moving = cloud(dim, 400, 0), cloud(dim, 400, 9)
    moving = truth(moving[moving[:, 1] > -18])  # a knob is missing
    moving = moving + rng.normal(scale=1.0, size=moving.shape)
    strangers = rng.uniform(moving.min(0) - 20, moving.max(0) + 20, (len(moving) // 4, dim))
    moving = np.r_[moving, strangers]  # one in five belongs to nothing
    drift = clouds(fixed, moving, outliers=0.2).linear(np.eye(dim + 1), 0.5, "rigid", lambda i, s: None)
    assert error_of(in_mm(drift.matrix), truth, dim) < 1.0
    # the strangers are known for what they are
    accounted = drift.belief.accounted
    assert accounted[: -len(strangers)].mean() > 0.85
    assert accounted[-len(strangers) :].mean() < 0.5


def test_drift_needs_no_search_up_to_sixty_degrees():
    truth = rigid((40, -25, 35), (12, -20, 9), (0, 0, 0))
    drift = clouds(cloud(3, 400, 0), truth(cloud(3, 400, 9))).linear(
        np.eye(4), 1.0, "rigid", lambda i, s: None
    )
    assert error_of(in_mm(drift.matrix), truth, 3) < 1.0


def test_beliefs_are_the_posteriors_of_the_mixture():
    rng = np.random.default_rng(0)
    centres, moving = rng.normal(size=(30, 3)), rng.normal(size=(40, 3))
    normals = tuple(
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (rng.normal(size=(n, 3)) for n in (30, 40))
    )
    groups, sigma, outliers = (np.arange(30) % 2, np.arange(40) % 2), 0.7, 0.2
    belief = believe(centres, moving, normals, groups, sigma, outliers)
    square = ((centres[:, None] - moving[None]) ** 2).sum(-1)
    turn = ((normals[0][:, None] - normals[1][None]) ** 2).sum(-1)
    p = np.exp(-square / (2 * sigma**2) - turn / (2 * 0.5**2)) * (groups[0][:, None] == groups[1][None])
    p = p / (p.sum(0) + (2 * np.pi * sigma**2) ** 1.5 * 0.2 / 0.8 * 30 / 40)
    assert np.allclose(belief.weights, p.sum(1), atol=1e-10)
    assert np.allclose(belief.accounted, p.sum(0), atol=1e-10)
    assert np.allclose(belief.means, p @ moving / p.sum(1)[:, None], atol=1e-8)
    to = centres + 0.1
    square = ((to[:, None] - moving[None]) ** 2).sum(-1)
    assert np.isclose(belief.width(to), np.sqrt((p * square).sum() / (3 * p.sum())))


def test_directions_tell_neighbouring_sheets_apart():
    # the near side of one sheet is as near to the far side of the other
    x = np.linspace(-40, 40, 160)
    sheet = np.r_[np.c_[x, np.full(160, 4.0)], np.c_[x, np.full(160, -4.0)]]
    normals = np.r_[np.tile((0.0, 1.0), (160, 1)), np.tile((0.0, -1.0), (160, 1))]
    groups = (np.zeros(320, int),) * 2
    with_normals, without = (
        believe((sheet + np.array([0, 6])) / 40, sheet / 40, (n, n), groups, 2 / 40, 0.1).means[160:, 1] * 40
        for n in (normals, np.zeros_like(normals))
    )
    assert np.abs(with_normals + 4).max() < 0.5
    assert np.abs(without + 4).min() > 3


def test_labels_are_laid_on_their_own_kind():
    truth = FAR[3][0]
    solution = parse("cpd:transform=rigid,use_landmarks=true").solve(labelled(truth, 3))
    assert np.linalg.norm(solution.transform(inside(3)) - truth(inside(3)), axis=1).mean() < 0.5


def test_an_initial_transform_leaves_the_search_out():
    truth = Bent(FAR[2][0])
    near = rigid(6, (3, -4), (0, 0)) @ FAR[2][0]
    pair = replace(masked_pair(2, truth, back=truth.back), initial=near)
    solution = parse("cpd").solve(pair)
    assert error_of(solution.transform, truth, 2) < voxel(2)
    assert "start_margin" not in solution.evidence


def test_the_solution_carries_its_evidence_and_pairs():
    truth = Bent(FAR[2][1])
    solution = parse("cpd").solve(masked_pair(2, truth, back=truth.back))
    evidence = solution.evidence
    assert 0 < evidence["residual_mean_mm"] < 1
    assert 0.9 < evidence["inlier_share"] <= 1
    assert 0.9 < evidence["accounted_share"] <= 1
    apart = np.linalg.norm(solution.transform(solution.matches.fixed) - solution.matches.moving, axis=1)
    assert apart[solution.matches.inlier].mean() < voxel(2)
    assert {step.stage for step in solution.trace} == {"cpd", "cpd bending"}


def test_bending_stays_smooth_and_whole():
    # a pinched waist, which a kernel narrower than the pinch could only follow by folding
    truth = Bent(about(np.eye(2), (3, 4), (0, 0)), amplitude=14.0)
    pair = masked_pair(2, truth, back=truth.back)
    result = register(pair, "cpd", transform="deformable")
    assert result.measures["field"]["folding_any_percent"] == 0
    assert result.measures["inverse"]["mean_voxels"] < 0.05


def test_the_number_of_threads_changes_no_bit():
    truth, before, found = Bent(FAR[3][1]), get_threads(), set()
    pair = masked_pair(3, truth, 5.0, 5.4, back=truth.back)
    for threads in (1, 3):
        set_threads(threads)
        transform = parse("cpd:points=300,iterations=15,starts=20").solve(pair).transform
        found.add(
            b"".join(
                np.asarray(getattr(p, "matrix", getattr(p, "vectors", 0))).tobytes()
                for p in transform.parts()
            )
        )
    set_threads(before)
    assert len(found) == 1


def test_too_little_to_work_with_is_refused():
    grid = Grid.from_spacing((20, 20), 2.0)
    blank = Image(np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid)
    with pytest.raises(MaskError, match="--fixed-mask"):
        parse("cpd:source=mask").solve(Pair(blank, blank))
    few = Points(np.eye(2))
    with pytest.raises(PointsError, match="2 surface points"):
        parse("cpd:source=points").solve(Pair(blank, blank, None, None, few, few))


@pytest.mark.parametrize(
    "options",
    ["transform=bspline", "width=0", "stiffness=0", "outliers=1", "points=3", "source=mesh", "iterations=0"],
)
def test_odd_options_are_refused(options):
    with pytest.raises(OptionError):
        parse(f"cpd:{options}")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("case", ["hand_3167_3177", "hand_3229_3231", "hand_5245_3167"])
def test_hands_outlines_bring_landmarks_nearer(shared_data, case):
    from coincide.api import open_pair

    with open(shared_data / "cases.csv", newline="") as stream:
        row = next(r for r in csv.DictReader(stream) if r["case"] == case)
    roles = ("fixed", "moving", "fixed_points", "moving_points")
    pair = open_pair(**{role: shared_data / row[role] for role in roles})
    solution = parse("cpd").solve(pair)
    apart = np.linalg.norm(solution.transform(pair.fixed_points.world) - pair.moving_points.world, axis=1)
    assert apart.mean() < 8
