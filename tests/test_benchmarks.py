"""The benchmarks' evaluator: known transforms, known scores. Needs none of the peers."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from benchmarks.cases import Case, read_cases
from benchmarks.evaluate import evaluate
from benchmarks.geometry import (
    Lattice,
    affine_displacement,
    itk_affine,
    itk_displacement,
    itk_map,
    read_image,
    read_points,
)
from benchmarks.methods import TOOLS
from benchmarks.peers.base import AbstractTool
from benchmarks.records import append, key, read_records
from benchmarks.scores import dice, folding, landmark_errors, round_trip, warp_labels
from benchmarks.table import bootstrap, report

OBLIQUE = np.array([[-1.9, 0.3, 0.1, 40], [0.28, 2.1, -0.4, -30], [0.2, 0.35, 2.9, 12], [0, 0, 0, 1]])


def turn(degrees: float, shift=(0, 0)) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])


def stretched(lattice: Lattice, wave: float) -> np.ndarray:
    """The displacement (mm) of `(i, j, …) ↦ (i + wave sin(i), j, …)` in voxels of the lattice."""
    voxels = np.zeros((*lattice.shape, lattice.dim))
    along = np.arange(lattice.shape[0]).reshape(-1, *[1] * (lattice.dim - 1))
    voxels[..., 0] = wave * np.sin(along)
    return voxels @ lattice.affine[:-1, :-1].T


@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([-1.0, 2, 3, 1])], ids=["oblique", "flipped"])
def test_landmarks_follow_a_known_shift(affine):
    lattice = Lattice((9, 8, 7), affine)
    shift = np.eye(4)
    shift[:3, 3] = (6, -4, 3)
    points = lattice.world(np.array([[2.3, 4.1, 1.7], [6.0, 1.2, 5.5]]))
    displacement = affine_displacement(shift, lattice)
    assert landmark_errors(displacement, lattice, points, points + np.array([6, -4, 3])).max() < 1e-9
    missed = landmark_errors(displacement, lattice, points, points)
    assert missed == pytest.approx([np.sqrt(61)] * 2)


@pytest.mark.parametrize("dim", [2, 3])
def test_itk_transforms_are_turned_from_lps(dim):
    frame = np.diag((*(1.5, 0.8, 2.0)[:dim], 1))
    frame[:dim, dim] = (10, -20, 30)[:dim]
    lattice = Lattice((7, 6, 5)[:dim], frame)
    matrix = np.eye(dim + 1) + 0.1 * np.random.default_rng(0).normal(size=(dim + 1, dim + 1))
    matrix[dim] = np.eye(dim + 1)[dim]
    matrix[:dim, dim] = (6, -4, 3)[:dim]
    transform = itk_affine(matrix)
    assert itk_displacement(transform, lattice) == pytest.approx(
        affine_displacement(matrix, lattice), abs=1e-9
    )
    points = np.random.default_rng(1).normal(size=(4, dim)) * 20
    assert itk_map(transform, points) == pytest.approx(points @ matrix[:dim, :dim].T + matrix[:dim, dim])


def test_labels_follow_the_transform_and_never_wrap_round():
    fixed, moving = (
        Lattice((6, 5), np.diag([2.0, 1, 1])),
        Lattice((7, 6), turn(90, (12, 3)) @ np.diag([2.0, 1, 1])),
    )
    labels = np.arange(42, dtype=np.uint16).reshape(7, 6) + 1000
    warped = warp_labels(labels, moving, affine_displacement(turn(90, (12, 3)), fixed), fixed)
    assert np.array_equal(warped, labels[:6, :5])
    away = np.eye(3)
    away[:2, 2] = (-500, 0)
    assert not warp_labels(labels, moving, affine_displacement(away, fixed), fixed).any()


def test_dice_counts_the_labels_of_both_and_no_background():
    big = 614454277
    fixed = np.array([[0, 1, 1, big], [0, 1, 1, 3], [5, 0, 0, 0]])
    warped = np.array([[0, 1, big, big], [0, 1, 4, 0], [0, 0, 0, 0]])
    found = dice(fixed, warped, np.array([0, 1, big, 4, 5]))
    assert found == pytest.approx({1: 4 / 6, big: 2 / 3, 5: 0})


@pytest.mark.parametrize("shape", [(30, 8), (30, 8, 6)])
@pytest.mark.parametrize("wave", [0.5, 1.5])
def test_folding_is_what_the_differences_say(shape, wave):
    dim = len(shape)
    affine = OBLIQUE if dim == 3 else turn(30) @ np.diag([0.7, 1.3, 1])
    lattice = Lattice(shape, affine)
    found = folding(stretched(lattice, wave), lattice, None)
    along = np.arange(shape[0]) + wave * np.sin(np.arange(shape[0]))
    steps = np.diff(along)
    central = (along[2:] - along[:-2]) / 2
    assert found["min_jacobian"] == pytest.approx(steps.min(), abs=1e-5)
    assert found["folds_forward_percent"] == pytest.approx(
        100 * (steps <= 0).sum() / shape[0] * _inner(shape)
    )
    assert found["folds_central_percent"] == pytest.approx(
        100 * (central <= 0).sum() / shape[0] * _inner(shape, 2)
    )
    assert (found["folds_any_percent"] > found["folds_forward_percent"]) == (wave > 1)


def _inner(shape, lost=1):
    """The share of voxels that have a difference along the other axes."""
    return np.prod([(n - lost) / n for n in shape[1:]])


def test_folding_looks_inside_the_mask_only():
    lattice = Lattice((40, 9, 8), OBLIQUE)
    displacement = stretched(lattice, 2.0)
    displacement[20:] = displacement[20]
    assert folding(displacement, lattice, None)["folds_any_percent"] > 0
    mask = np.zeros(lattice.shape, bool)
    mask[25:33, 2:6, 3:7] = True
    assert folding(displacement, lattice, mask)["folds_any_percent"] == 0


def test_round_trip_tells_a_true_inverse_from_a_false_one():
    lattice, other = Lattice((20, 20), np.diag([2.0, 1, 1])), Lattice((30, 30), np.diag([2.0, 2, 1]))
    there = turn(20, (15, 4))
    back = np.linalg.inv(there)

    def by(matrix):
        return lambda p: p @ matrix[:2, :2].T + matrix[:2, 2]

    assert round_trip(by(there), by(back), lattice, other, None)["max_voxels"] < 1e-9
    back[:2, 2] += (1.0, 0)
    wrong = round_trip(by(there), by(back), lattice, other, None)
    assert wrong["mean_mm"] == pytest.approx(1.0)
    assert wrong["mean_voxels"] == pytest.approx(0.5)
    assert round_trip(lambda p: p + 999, by(back), lattice, other, None) == {"points": 0}


class Shift(AbstractTool):
    def version(self):
        return "shift 1"

    def run(self, job, out):
        raise NotImplementedError

    def displacement(self, job, out, lattice):
        return np.broadcast_to([6.0, -4.0, 3.0], (*lattice.shape, 3)).copy()


@pytest.fixture
def shifted_case(tmp_path):
    affine = np.diag([-2.0, 2, 3, 1])
    moved = affine.copy()
    moved[:3, 3] = (6, -4, 3)
    labels = np.random.default_rng(0).integers(0, 5, (9, 8, 7)).astype(np.uint8)
    for name, frame in (("fixed", affine), ("moving", moved)):
        nib.save(nib.Nifti1Image(labels, frame), tmp_path / f"{name}.nii.gz")
    (tmp_path / "fp.csv").write_text("name,x,y,z\nliver_01,-4,6,9\noutside_01,-8,2,3\n")
    (tmp_path / "mp.csv").write_text("name,x,y,z\nliver_01,2,2,12\noutside_01,-2,-2,11\n")
    images = {"fixed": tmp_path / "fixed.nii.gz", "moving": tmp_path / "moving.nii.gz"}
    labels = {f"{side}_labels": path for side, path in images.items()}
    points = {"fixed_points": tmp_path / "fp.csv", "moving_points": tmp_path / "mp.csv"}
    return Case("shifted", "made", 3, False, **images, **labels, **points)


def test_a_case_is_scored_from_its_files(shifted_case, tmp_path):
    scores = evaluate(shifted_case, Shift(), tmp_path)
    assert scores["dice"] == 1
    assert scores["labels"] == 4
    assert scores["tre"]["mean"] == pytest.approx(2.5)
    assert scores["tre_groups"]["liver"]["mean"] == pytest.approx(0, abs=1e-9)
    assert scores["tre_groups"]["outside"]["mean"] == pytest.approx(5)
    assert scores["min_jacobian_any"] == pytest.approx(1)
    start = evaluate(shifted_case, TOOLS["identity"], tmp_path)
    assert start["dice"] < 0.5
    assert start["tre_groups"]["liver"]["mean"] == pytest.approx(np.sqrt(61))


def test_our_transforms_are_read_in_the_order_itk_applies_them(shifted_case, tmp_path):
    first, last = sitk.TranslationTransform(3, (-6, 4, 3)), sitk.Euler3DTransform()
    last.SetRotation(0, 0, 0.3)
    chain = sitk.CompositeTransform([last, first])
    sitk.WriteTransform(chain, str(tmp_path / "transform.h5"))
    sitk.WriteTransform(chain.GetInverse(), str(tmp_path / "inverse.h5"))
    lattice = read_image(shifted_case.fixed)[1]
    found = TOOLS["coincide"].displacement(None, tmp_path, lattice)
    matrix = np.eye(4)
    matrix[:2, :2] = turn(np.rad2deg(0.3))[:2, :2]
    matrix[:3, 3] = matrix[:3, :3] @ (6, -4, 3)
    assert found == pytest.approx(affine_displacement(matrix, lattice), abs=1e-9)
    assert evaluate(shifted_case, TOOLS["coincide"], tmp_path)["inverse_fixed"]["max_voxels"] < 1e-9


def test_turned_hands_keep_their_points_on_their_voxels(tmp_path):
    affine = np.diag([0.4, 0.5, 1, 1])
    affine[:2, 3] = (3, -7)
    image = nib.Nifti1Image(np.arange(30, dtype=np.uint8).reshape(6, 5), affine)
    for name in ("a", "b"):
        nib.save(image, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.csv").write_text("name,x,y\nlm01,3.8,-5.5\n")
    head = "case,task,dim,modality_fixed,modality_moving,fixed,moving,fixed_points,moving_points\n"
    (tmp_path / "cases.csv").write_text(head + "h,hand_xray,2,XR,XR,a.nii.gz,b.nii.gz,a.csv,b.csv\n")
    cases = {c.name: c for c in read_cases(tmp_path / "cases.csv", tmp_path / "cache")}
    assert set(cases) == {"h", "h_turn60", "h_turn-60", "h_turn180"}
    for case in cases.values():
        lattice = read_image(case.moving)[1]
        assert lattice.index(read_points(case.moving_points)[1]) == pytest.approx(
            np.array([[2, 3]]), abs=1e-4
        )
        assert lattice.world(np.array([2.5, 2])) == pytest.approx([4, -6], abs=1e-5)
        quarter = sitk.ReadImage(str(case.moving))
        assert np.array(quarter.TransformIndexToPhysicalPoint((2, 3))) * -1 == pytest.approx(
            lattice.world(np.array([2, 3])), abs=1e-4
        )
    x, y = read_image(cases["h_turn60"].moving)[1].affine[:2, 0]
    assert np.rad2deg(np.arctan2(y, x)) == pytest.approx(60, abs=1e-3)


def record(case, method, score, seconds, repeat=0, version="1"):
    base = {"case": case, "task": "t", "method": method, "version": version, "repeat": repeat}
    field = {"folds_forward_percent": 0, "folds_any_percent": 0, "min_jacobian": 1, "min_jacobian_any": 1}
    return base | field | {"dice": score, "cold_seconds": seconds, "cpu_seconds": 1, "peak_mb": 1}


def test_the_table_compares_with_the_best_peer(tmp_path):
    file = tmp_path / "runs.jsonl"
    for case in ("a", "b"):
        append(file, record(case, "coincide", 0.1, 9, version="0"))
        append(file, record(case, "coincide", 0.7, 10, version="2"))
        append(file, record(case, "greedy", 0.6, 30))
        append(file, record(case, "greedy", 0.7, 50, repeat=1))
        append(file, record(case, "ants_affine", 0.9, 20))
        append(file, record(case, "elastix", 0.2, 20))
    text = report(file, tmp_path / "out.json", tmp_path / "out.md")
    tasks = {m["method"]: m for m in json.loads((tmp_path / "out.json").read_text())["tasks"]}
    assert tasks["coincide"]["mean"] == pytest.approx(0.7)
    assert tasks["greedy"]["mean"] == pytest.approx(0.65)
    assert [m for m in tasks if tasks[m]["best_peer"]] == ["greedy"]
    assert tasks["coincide"]["time_to_best"] == pytest.approx(0.25)
    assert "**greedy** (best peer)" in text
    assert len(list(csv.reader((tmp_path / "out.md").read_text().splitlines()))) > 10


def test_a_run_is_known_again_by_case_method_version_and_repeat(tmp_path):
    file = tmp_path / "runs.jsonl"
    append(file, record("a", "greedy", 0.6, 30))
    append(file, record("a", "greedy", 0.8, 30))
    append(file, record("a", "greedy", 0.8, 30, repeat=1))
    known = read_records(file)
    assert len(known) == 2
    assert known[key(record("a", "greedy", 0, 0))]["dice"] == 0.8


def test_bootstrap_covers_the_mean_and_narrows_with_agreement():
    low, high = bootstrap([[0.5], [0.6], [0.7], [0.8]])
    assert low < 0.65 < high
    assert bootstrap([[0.6]] * 4) == pytest.approx((0.6, 0.6))
