"""The method `landmarks`: exact where it can be, honest where landmarks are doubtful, and refused without any."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk

from coincide.errors import OptionError, PointsError
from coincide.image import Image
from coincide.io import read_transform, write_transform
from coincide.methods import Status, parse
from coincide.pair import Pair
from coincide.points import Points, matched
from coincide.registration import configured, register
from coincide.transforms import Affine, identity
from phantom import error_mm, grid_around, known, known_affine, known_pair, picture

TURN = np.array([-1.0, -1.0, 1.0])


def landmarks(dim: int, number: int = 40) -> np.ndarray:
    return np.random.default_rng(dim).uniform(-1, 1, (number, dim)) * (55, 65, 50)[:dim] + 2


def bend(points: np.ndarray) -> np.ndarray:
    """A known smooth warp of up to 6 mm on top of the known motion."""
    dim = points.shape[-1]
    waves = [np.sin(points[..., (d + 1) % dim] / 40 + d) * np.cos(points[..., d] / 55) for d in range(dim)]
    return known(dim)(points) + 6 * np.stack(waves, axis=-1)


def pair_of(dim: int, partner, source=None, names=(), noise: float = 0.0) -> Pair:
    """Blank pictures with landmarks and where `partner` puts them."""
    grid = grid_around(dim, 3.0 if dim == 2 else 6.0)
    source = landmarks(dim) if source is None else source
    target = partner(source) + noise * np.random.default_rng(8).normal(size=source.shape)
    blank = [Image(np.zeros(grid.shape, np.float32), grid, name=n) for n in ("fixed", "moving")]
    return Pair(*blank, None, None, Points(source, names), Points(target, names))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    ("spec", "truth"),
    [("rigid", known), ("similarity", lambda dim: known(dim, 1.2)), ("affine", known_affine)],
)
def test_a_linear_motion_is_found_exactly(spec, truth, dim):
    pair = pair_of(dim, truth(dim))
    solution = parse(f"landmarks:transform={spec}").solve(pair)
    assert error_mm(solution.transform, truth(dim), pair.fixed.grid) < 1e-9
    assert error_mm(solution.inverse @ solution.transform, identity(dim), pair.fixed.grid) < 1e-9
    assert solution.evidence["residual_mean_mm"] < 1e-9
    assert solution.evidence["left_out_mean_mm"] < 1e-8


@pytest.mark.parametrize("dim", [2, 3])
def test_a_smooth_warp_is_found_within_its_bound(dim):
    pair = pair_of(dim, bend, landmarks(dim, 60 if dim == 2 else 200))
    solution = parse("landmarks").solve(pair)
    voxel = pair.fixed.grid.spacing.mean()
    inside = np.random.default_rng(1).uniform(-1, 1, (500, dim)) * (45, 55, 40)[:dim]
    error = np.linalg.norm(solution.transform(inside) - bend(inside), axis=1)
    assert error.mean() < 0.5 * voxel
    affine = parse("landmarks:transform=affine").solve(pair).transform
    assert np.linalg.norm(affine(inside) - bend(inside), axis=1).mean() > 3 * error.mean()
    # leaving landmarks out foretells the error elsewhere
    assert 0.5 < solution.evidence["left_out_mean_mm"] / error.mean() < 3
    back = solution.inverse(solution.transform(inside))
    assert np.linalg.norm(back - inside, axis=1).max() < 0.1 * voxel


@pytest.mark.parametrize("dim", [2, 3])
def test_the_file_holds_the_very_transform(dim, tmp_path):
    solution = parse("landmarks:stiffness=0").solve(pair_of(dim, bend))
    write_transform(solution.transform, tmp_path / "t.h5")
    points, turn = landmarks(dim, 7), TURN[:dim]
    theirs = sitk.ReadTransform(str(tmp_path / "t.h5"))
    found = np.array([theirs.TransformPoint((turn * p).tolist()) for p in points]) * turn
    assert np.abs(found - solution.transform(points)).max() < 1e-4
    assert np.abs(read_transform(tmp_path / "t.h5")(points) - solution.transform(points)).max() < 1e-9


def test_noisy_landmarks_get_more_stiffness():
    exact, noisy = (parse("landmarks").solve(pair_of(2, bend, landmarks(2, 80), noise=n)) for n in (0, 3.0))
    assert noisy.evidence["stiffness"] > exact.evidence["stiffness"]
    through = parse("landmarks:stiffness=0").solve(pair_of(2, bend, landmarks(2, 80), noise=3.0))
    inside = np.random.default_rng(1).uniform(-1, 1, (500, 2)) * (45, 55)
    errors = [np.linalg.norm(s.transform(inside) - bend(inside), axis=1).mean() for s in (noisy, through)]
    assert errors[0] < 0.9 * errors[1]
    assert through.evidence["residual_mean_mm"] < 0.7 * noisy.evidence["residual_mean_mm"]
    assert any("stiffness" in d for d in noisy.decisions)


def test_landmarks_are_matched_by_name():
    source, names = landmarks(3), tuple(f"p{i}" for i in range(40))
    order = np.random.default_rng(3).permutation(40)
    pair = pair_of(3, known(3), source, names)
    shuffled = Points(known(3)(source)[order], tuple(names[i] for i in order))
    pair = Pair(pair.fixed, pair.moving, None, None, pair.fixed_points, shuffled)
    solution = parse("landmarks:transform=rigid").solve(pair)
    assert error_mm(solution.transform, known(3), pair.fixed.grid) < 1e-9
    np.testing.assert_array_equal(solution.matches.fixed, source)
    assert solution.matches.inlier.all()


def test_matching_takes_what_is_shared_else_the_order():
    one = Points(np.arange(6.0).reshape(3, 2), ("a", "b", "c"))
    few = Points(np.ones((2, 2)), ("c", "x"))
    assert [p.names for p in matched(one, few)] == [("c",), ("c",)]
    other = Points(np.ones((3, 2)), ("x", "y", "z"))
    assert matched(one, other) == (one, other)
    with pytest.raises(PointsError, match="share no names"):
        matched(one, Points(np.ones((2, 2)), ("x", "y")))
    twice = Points(np.ones((3, 2)), ("a", "a", "b"))
    assert matched(twice, twice) == (twice, twice)
    with pytest.raises(PointsError, match="'a' stands for several"):
        matched(one, twice)


def test_numbers_that_stand_in_for_names_pair_nothing():
    with pytest.raises(PointsError, match="3 fixed and 2 moving landmarks that share no names"):
        matched(Points(np.ones((3, 2))), Points(np.ones((2, 2))))
    # a file that counts from 0 beside one without names: row by row, not one off
    counted = Points(np.arange(6.0).reshape(3, 2), ("0", "1", "2"))
    bare = Points(np.arange(6.0).reshape(3, 2))
    assert matched(counted, bare) == (counted, bare)
    assert matched(bare.mapped(lambda x: x), counted)[1] is counted


def test_a_misplaced_landmark_is_named():
    source = landmarks(3)
    names = tuple(f"p{i}" for i in range(40))
    pair = pair_of(3, known(3), source, names, noise=0.5)
    target = np.array(pair.moving_points.world)
    target[[11, 12]] = target[[12, 11]]
    wrong = Pair(pair.fixed, pair.moving, None, None, pair.fixed_points, Points(target, names))
    for spec in ("landmarks:transform=rigid", "landmarks:stiffness=0.1"):
        solution = parse(spec).solve(wrong)
        told = " ".join(solution.decisions)
        assert "'p11'" in told
        assert "'p12'" in told
        assert solution.matches.inlier.sum() == 38


def test_weights_count():
    pair = pair_of(2, known(2), noise=4.0)
    weights = np.where(np.arange(40) < 6, 1e6, 1e-6)
    spec = "landmarks:transform=rigid,weights=" + "x".join(f"{w:.6f}" for w in weights)
    few = Pair(
        pair.fixed,
        pair.moving,
        None,
        None,
        *(Points(p.world[:6]) for p in (pair.fixed_points, pair.moving_points)),
    )
    expected = parse("landmarks:transform=rigid").solve(few).transform
    assert np.allclose(parse(spec).solve(pair).transform.matrix, expected.matrix, atol=1e-6)
    with pytest.raises(OptionError, match="2 weights for 40"):
        parse("landmarks:weights=1x2").solve(pair)


def test_exchanged_landmarks_are_mended_and_reported():
    source = landmarks(2)
    target = bend(source)
    near = np.linalg.norm(source - source[0], axis=1).argsort()[1]
    target[[0, near]] = target[[near, 0]]
    pair = pair_of(2, lambda _: target, source)
    solution = parse("landmarks:stiffness=0").solve(pair)
    assert "folded" in " ".join(solution.decisions)
    inside = landmarks(2, 300)
    assert np.linalg.norm(solution.inverse(solution.transform(inside)) - inside, axis=1).max() < 1.0


def test_as_few_as_needed_are_taken_with_a_warning():
    pair = pair_of(3, known_affine(3), landmarks(3, 4))
    for spec in ("landmarks", "landmarks:transform=affine"):
        solution = parse(spec).solve(pair)
        assert solution.status is Status.SUCCEEDED
        assert "nothing checks them" in " ".join(solution.decisions)
        assert np.abs(solution.transform(landmarks(3, 4)) - known_affine(3)(landmarks(3, 4))).max() < 1e-3


def test_the_whole_way_through_register():
    grid = grid_around(2, 3.0)
    pair = known_pair(grid, grid, known(2))
    points = landmarks(2)
    pair = Pair(pair.fixed, pair.moving, None, None, Points(points), Points(known(2)(points)))
    result = register(pair, "landmarks", transform="similarity")
    assert result.measures["points"]["after"]["tre_mean_mm"] < 1e-9
    assert result.verdict.level == "converged"
    assert result.provenance["settings"]["transform"] == "similarity"


@pytest.mark.parametrize(
    ("spec", "number", "match"),
    [
        ("landmarks", 3, "at least 4"),
        ("landmarks:transform=rigid", 2, "at least 3"),
        ("landmarks:transform=affine", 3, "at least 4"),
    ],
)
def test_too_few_are_refused(spec, number, match):
    with pytest.raises(PointsError, match=match):
        parse(spec).solve(pair_of(3, known(3), landmarks(3, number)))


def test_without_landmarks_it_says_which_are_missing():
    grid = grid_around(2, 6.0)
    with pytest.raises(PointsError, match=r"fixed and the moving one.*--fixed-points"):
        parse("landmarks").solve(Pair(picture(grid), picture(grid)))
    with pytest.raises(PointsError, match="on the moving one"):
        parse("landmarks").solve(Pair(picture(grid), picture(grid), fixed_points=Points(landmarks(2))))


@pytest.mark.parametrize(
    "options", ["transform=bspline", "stiffness=-1", "spacing=-2", "least_jacobian=1", "weights=1x0x2"]
)
def test_odd_options_are_refused(options):
    with pytest.raises(OptionError):
        parse(f"landmarks:{options}")


@pytest.mark.data
@pytest.mark.parametrize("case", ["hand_3167_3177", "hand_3229_3231", "hand_5245_3167"])
def test_hands_left_out_landmarks_are_foretold_better_by_the_spline(shared_data, case):
    from coincide.api import open_pair

    with open(shared_data / "cases.csv", newline="") as stream:
        row = next(r for r in csv.DictReader(stream) if r["case"] == case)
    roles = ("fixed", "moving", "fixed_points", "moving_points")
    pair = open_pair(**{role: shared_data / row[role] for role in roles})
    missed = {
        spec: parse(f"landmarks:{spec}").solve(pair).evidence["left_out_mean_mm"]
        for spec in ("transform=rigid", "transform=affine", "transform=deformable")
    }
    assert missed["transform=deformable"] < 4
    assert missed["transform=deformable"] < 0.7 * missed["transform=affine"] < missed["transform=rigid"]


def test_matrices_of_the_linear_kinds_are_what_they_say():
    pair = pair_of(3, known_affine(3), noise=2.0)
    turn = parse("landmarks:transform=rigid").solve(pair).transform
    assert isinstance(turn, Affine)
    part = turn.matrix[:3, :3]
    np.testing.assert_allclose(part @ part.T, np.eye(3), atol=1e-12)
    scaled = parse("landmarks:transform=similarity").solve(pair).transform.matrix[:3, :3]
    np.testing.assert_allclose(scaled @ scaled.T, np.eye(3) * np.linalg.det(scaled) ** (2 / 3), atol=1e-12)


def test_asking_for_what_the_method_does_anyhow_is_no_mistake():
    assert configured("landmarks", use_landmarks=True) == parse("landmarks")
    with pytest.raises(OptionError, match="no option 'use_landmarks'"):
        configured("linear", use_landmarks=True)
