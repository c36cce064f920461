"""The verdict: right results pass, and each way to fail is told by its own sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

import coincide
from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.agreement import local_correlation
from coincide.measures.coarse import Coarse, block_means
from coincide.measures.jacobian import folding, jacobian_maps
from coincide.measures.mirror import reflection, shared
from coincide.measures.rivals import symmetries
from coincide.measures.verdict import SIGNS, THRESHOLDS, judge, question, weigh
from coincide.methods.base import Solution, Status
from coincide.pair import Pair
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine, about, identity, rigid, rotation_matrix
from coincide.transforms.resample import resample
from phantom import known_pair


def phantom(dim: int = 3, seed: int = 0, spacing: float = 5.0) -> Image:
    """A head-like thing: an outline that is its own mirror image, lopsided inside, with folds of its own."""
    rng = np.random.default_rng(seed)
    shape = (32, 40, 34)[:dim] if dim == 3 else (96, 120)
    spacing = spacing if dim == 3 else 1.5
    grid = Grid.from_spacing(shape, spacing, -spacing * (np.array(shape) - 1) / 2)
    x = np.moveaxis(grid.points(), -1, 0) / (spacing * np.array(shape).reshape(-1, *[1] * dim))
    inside = (x**2).sum(0) < 0.42**2
    folds = ndimage.gaussian_filter(rng.standard_normal(shape), 2.0 if dim == 3 else 4.0)
    folds /= np.abs(folds).max()
    values = inside * (0.55 + 0.45 * folds)
    values[((x - 0.18) ** 2).sum(0) < 0.1**2] = 1.0
    return Image(torch.from_numpy(values)[None].float(), grid, name="phantom")


def noisy(image: Image, seed: int) -> Image:
    rng = np.random.default_rng(seed)
    return image.with_data(
        image.data + 0.02 * torch.from_numpy(rng.standard_normal(image.data.shape)).float()
    )


def judged(pair: Pair, transform, status: Status = Status.SUCCEEDED):
    measures = {"field": folding(jacobian_maps(transform, pair.fixed.grid))}
    return judge(pair, Solution(transform, status=status), measures)


def moved(image: Image, transform) -> Image:
    """What must be registered to `image` by `transform` (fixed → moving)."""
    return noisy(resample(image, transform.inverse(), image.grid), 7)


def bent(image: Image, size: float) -> Displacement:
    grid = image.grid
    wave = [np.sin(grid.points()[..., (a + 1) % grid.dim] / 25.0) * size for a in range(grid.dim)]
    return Displacement(torch.from_numpy(np.stack(wave)).float(), grid)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_right_rigid_result_passes(dim):
    fixed = phantom(dim)
    angles = [7.0] if dim == 2 else (7.0, -11.0, 5.0)
    truth = rigid(angles, (6.0, -4.0, 3.0)[:dim], fixed.grid.centre)
    verdict = judged(Pair(noisy(fixed, 1), moved(fixed, truth)), truth)
    assert verdict.level == "converged", verdict.reasons
    assert verdict.reasons == ()
    assert verdict.evidence["mirror_gain"] > 0.03
    assert verdict.evidence["agreement"] > 0.25


@pytest.mark.parametrize("dim", [2, 3])
def test_a_right_deformation_of_another_contrast_passes(dim):
    fixed = phantom(dim)
    truth = bent(fixed, 6.0)
    moving = moved(fixed, truth)
    inverted = moving.with_data(torch.where(moving.data > 0.15, 1.3 - moving.data, moving.data))
    verdict = judged(Pair(noisy(fixed, 1), inverted), truth)
    assert verdict.level == "converged", verdict.reasons
    assert verdict.evidence["alike"] < 0


@pytest.mark.parametrize("dim", [2, 3])
def test_an_exchange_of_left_and_right_is_failed_by_name(dim):
    fixed = phantom(dim)
    flipped = fixed.with_data(fixed.data.flip(1))
    verdict = judged(Pair(noisy(fixed, 1), noisy(flipped, 2)), identity(dim))
    assert verdict.level == "failed"
    assert any("mirror image" in reason for reason in verdict.reasons)
    assert verdict.evidence["mirror_gain"] < -0.03


@pytest.mark.parametrize("dim", [2, 3])
def test_a_turned_result_is_flagged_for_its_better_rival(dim):
    fixed = phantom(dim)
    angle = [90.0] if dim == 2 else (180.0, 0.0, 0.0)
    wrong = about(rotation_matrix(angle), np.zeros(dim), fixed.grid.centre)
    verdict = judged(Pair(noisy(fixed, 1), noisy(fixed, 2)), wrong)
    assert verdict.level == "failed"
    assert any("Another position fits better" in reason for reason in verdict.reasons)
    assert verdict.evidence["rival_margin"] < 0


@pytest.mark.parametrize("dim", [2, 3])
def test_an_image_upon_itself_has_no_better_place_a_hundredth_of_a_voxel_away(dim):
    image = phantom(dim)
    beside = rigid([0.0] if dim == 2 else (0.0,) * 3, (0.05,) * dim, image.grid.centre)
    for transform in (beside, identity(dim)):
        verdict = judged(Pair(image, image), transform)
        assert verdict.level == "converged", verdict.reasons
        assert verdict.evidence["rival_margin"] > 0.05


def test_half_a_field_of_view_is_told_with_its_share():
    fixed = phantom()
    half = Image(fixed.data[:, :, :, :17].contiguous(), fixed.grid.cropped((0, 0, 0), (32, 40, 17)))
    verdict = judged(Pair(noisy(fixed, 1), half), identity(3))
    assert verdict.level != "converged"
    assert verdict.evidence["coverage_percent"] == pytest.approx(50, abs=4)
    assert any("lies inside the moving image" in reason for reason in verdict.reasons)


def test_another_anatomy_is_flagged():
    stranger = phantom(seed=5)
    other = judged(Pair(noisy(phantom(), 1), moved(stranger, bent(stranger, 9.0))), identity(3))
    same = judged(Pair(noisy(phantom(), 1), noisy(phantom(), 2)), identity(3))
    assert other.level != "converged"
    assert other.evidence["agreement"] < 0.8 * same.evidence["agreement"]


def test_a_rigid_motion_between_shapes_that_differ_is_flagged():
    fixed = phantom()
    verdict = judged(Pair(noisy(fixed, 1), moved(fixed, bent(fixed, 9.0))), identity(3))
    assert verdict.level != "converged"
    assert verdict.evidence["rigid_gap"] > THRESHOLDS["rigid_gap"]


def test_no_gap_is_asked_of_a_deformation():
    fixed = phantom()
    assert "rigid_gap" not in question(Pair(fixed, noisy(fixed, 1)), bent(fixed, 3.0))


def test_the_answer_does_not_depend_on_the_moving_intensities_scale():
    fixed, moving = phantom(), noisy(phantom(), 3)
    scaled = moving.with_data(moving.data * 250 + 40)
    a, b = (question(Pair(fixed, m), identity(3)) for m in (moving, scaled))
    assert a["agreement"] == pytest.approx(b["agreement"], abs=0.01)


def test_a_method_that_gave_up_is_failed_with_its_sentence():
    fixed = phantom()
    verdict = judged(Pair(fixed, noisy(fixed, 1)), identity(3), Status.NO_OVERLAP)
    assert verdict.level == "failed"
    assert Status.NO_OVERLAP.value in verdict.sentence


def test_images_with_next_to_no_anatomy_are_not_asked_more_than_coverage():
    small = phantom()
    tiny = Image(
        small.data[:, 14:18, 18:21, 15:18].contiguous(), small.grid.cropped((14, 18, 15), (18, 21, 18))
    )
    assert set(question(Pair(tiny, small), identity(3))) == {"coverage_percent"}


@pytest.mark.parametrize("sign", SIGNS, ids=lambda s: f"{s.name}-{s.level}")
def test_each_sign_speaks_beyond_its_threshold_and_only_there(sign):
    step = 0.01 * max(1.0, abs(sign.threshold)) * (1 if sign.above else -1)
    verdict = weigh({sign.name: sign.threshold + step})
    assert verdict.level in (sign.level, "failed")
    gravest = next(s for s in SIGNS if s.speaks({sign.name: sign.threshold + step}) and s.name == sign.name)
    assert verdict.reasons == (gravest.told({sign.name: sign.threshold + step}),)
    assert sign.told(quiet := {sign.name: sign.threshold - step}) not in weigh(quiet).reasons


def test_the_gravest_reason_leads():
    signs = {s.level: s for s in SIGNS}
    evidence = {s.name: s.threshold + (1 if s.above else -1) for s in signs.values()}
    verdict = weigh(evidence)
    assert verdict.level == "failed"
    assert verdict.sentence.startswith("Do not use this result. ")
    assert len(verdict.reasons) >= 2
    assert weigh({}).level == "converged"


def test_a_result_whose_handedness_nobody_can_tell_passes_with_a_note():
    assert "headers" in weigh({"mirror_either": 0.0}).sentence
    assert weigh({"mirror_either": 0.0}).level == "converged"
    assert "headers" not in weigh({"mirror_either": 20.0}).sentence


def test_local_correlation_is_numpys_within_a_window():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 9, 9, 9)).astype(np.float32)
    ours = local_correlation(torch.from_numpy(a), torch.from_numpy(b), torch.ones(9, 9, 9), 2)[4, 4, 4]
    theirs = np.corrcoef(a[2:7, 2:7, 2:7].ravel(), b[2:7, 2:7, 2:7].ravel())[0, 1] ** 2
    assert float(ours) == pytest.approx(theirs, rel=0.05)


def test_block_means_are_weighted():
    values = torch.arange(36.0).reshape(6, 6)
    weights = torch.ones(6, 6)
    weights[0, 0] = 0
    means = block_means(values, weights, 3)
    assert means[0] == pytest.approx((values[:3, :3].sum() - values[0, 0]) / 8)
    assert len(means) == 4


@pytest.mark.parametrize("dim", [2, 3])
def test_the_mirror_plane_is_found_between_a_position_and_its_mirror_image(dim):
    rng = np.random.default_rng(3)
    normal = rng.standard_normal(dim)
    normal /= np.linalg.norm(normal)
    plane = np.eye(dim + 1)
    plane[:dim, :dim] -= 2 * np.outer(normal, normal)
    plane[:dim, dim] = 2 * 7.0 * normal
    found = rigid([20.0] if dim == 2 else (20.0, -10.0, 5.0), [3.0] * dim, np.zeros(dim)).matrix
    points = rng.uniform(-80, 80, (500, dim))
    assert np.allclose(reflection(points, found, found @ plane), plane, atol=1e-9)


def test_half_of_a_lopsided_deformation_is_shared_and_all_of_a_symmetric_one():
    fixed = phantom()
    x = fixed.grid.points()
    mirror = np.diag([-1.0, 1, 1, 1])
    for sign, share in ((-1.0, 1.0), (1.0, 0.0)):
        wave = np.zeros((3, *fixed.grid.shape))
        # along the first axis, odd in it (its own mirror image) or even (the opposite of it)
        profile = np.exp(-np.square((x[..., 0] - 30) / 15))
        wave[0] = profile + sign * profile[::-1]
        coarse = Coarse.of(Pair(fixed, fixed), Displacement(torch.from_numpy(4 * wave).float(), fixed.grid))
        whole = coarse.beyond(np.eye(4))
        assert float(whole.abs().max()) > 0.3
        assert torch.allclose(shared(coarse, np.eye(4), mirror), share * whole, atol=0.03)


def test_symmetries_are_all_different_and_hold_both_kinds():
    for dim, number in ((2, 47), (3, 7)):
        found = symmetries(dim)
        assert len({m.tobytes() for m in found}) == number
        assert {round(np.linalg.det(m)) for m in found} == {1, -1}


def test_the_coarse_level_finds_the_linear_part_of_a_chain():
    fixed = phantom()
    truth = Affine(np.array([[1.1, 0.1, 0, 3], [0, 0.9, 0, -2], [0, 0.05, 1, 1], [0, 0, 0, 1.0]]))
    assert np.allclose(Coarse.of(Pair(fixed, fixed), truth).linear, truth.matrix, atol=1e-6)
    chain = truth @ bent(fixed, 4.0)
    assert np.allclose(Coarse.of(Pair(fixed, fixed), chain).linear[:3, :3], truth.matrix[:3, :3], atol=0.2)


def test_the_verdict_is_the_same_for_any_number_of_threads():
    from coincide.ops._parallel import get_threads, set_threads

    pair, before = Pair(noisy(phantom(), 1), noisy(phantom(), 2)), get_threads()
    try:
        found = []
        for threads in (1, 2):
            set_threads(threads)
            found.append(question(pair, rigid((3.0, 2.0, 1.0), (2.0, 1.0, 0.0), np.zeros(3))))
    finally:
        set_threads(before)
    assert found[0] == found[1]


def test_masks_of_both_sides_are_kept_to():
    fixed, moving = phantom(), noisy(phantom(), 1)
    mask = torch.zeros(fixed.grid.shape, dtype=torch.bool)
    mask[:, :, :17] = True
    masked = question(Pair(fixed, replace(moving, mask=mask)), identity(3))
    assert masked["coverage_percent"] == pytest.approx(50, abs=4)


@pytest.mark.parametrize("slices", [2, 3])
def test_a_few_slices_are_judged_too(slices):
    grid = Grid.from_spacing((64, 72, slices), 3.0, (-96, -108, 0))
    pair = known_pair(grid, grid, rigid((0, 0, 4), (3, -2, 0), (0, 0, 0)))
    registration = coincide.register(pair.fixed, pair.moving, transform="rigid")
    assert np.isfinite(registration.verdict.evidence["mirror_gain"])
