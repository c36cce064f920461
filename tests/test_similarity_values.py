"""What each similarity does not mind, and its value beside that of other tools and of plain formulas."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coincide.similarity import (
    LNCC,
    MAE,
    MIND,
    MSE,
    NCC,
    NGF,
    NMI,
    SSIM,
    CorrelationRatio,
    CrossEntropy,
    Dice,
    Mattes,
)
from test_similarity import scene, shifted, tissue


@given(gain=st.floats(0.2, 5), offset=st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_linear_maps(gain, offset):
    """What looks for any dependence does not see them; what takes intensities as they are does."""
    fixed, moving, inside, weights = scene((9, 8, 11))

    def value(similarity, image):
        return similarity.prepare(fixed, inside).value(similarity.features(image, mask=inside), weights)

    blind = [NCC(signed=False), NMI(), NMI(normalised=False), MIND(), Mattes(), CorrelationRatio(), NGF()]
    for similarity in (NCC(), *blind):
        assert value(similarity, gain * moving + offset) == pytest.approx(value(similarity, moving), abs=1e-6)
    for similarity in blind:
        assert value(similarity, offset - gain * moving) == pytest.approx(value(similarity, moving), abs=2e-3)
    assert value(NCC(), offset - gain * moving) == pytest.approx(2 - value(NCC(), moving))
    # of the fixed image no less
    for similarity in blind:
        mapped = similarity.prepare(gain * fixed + offset, inside).value(
            similarity.features(moving, mask=inside), weights
        )
        assert mapped == pytest.approx(value(similarity, moving), abs=2e-3)
    if abs(gain - 1) + abs(offset) > 0.1:
        for similarity in (MSE(), MAE(), SSIM(), Dice()):
            assert abs(value(similarity, gain * moving + offset) - value(similarity, moving)) > 1e-4


@given(gain=st.floats(0.3, 3), offset=st.floats(-3, 3), sign=st.sampled_from([-1, 1]))
@settings(max_examples=20, deadline=None)
def test_local_correlation_sees_neither_contrast_nor_a_bias_field(gain, offset, sign):
    fixed, other = tissue((24, 26, 22), seed=2), tissue((24, 26, 22), seed=7)
    moving = shifted(fixed, 1)
    similarity = LNCC(noise=1e-4)
    prepared = similarity.prepare(fixed)
    expected = prepared.value(moving)
    assert expected < prepared.value(other) - 0.3
    assert prepared.value(sign * gain * moving + offset) == pytest.approx(expected, abs=1e-3)
    # the fixed image's too
    assert similarity.prepare(sign * gain * fixed + offset).value(moving) == pytest.approx(expected, abs=1e-3)
    ramp = torch.linspace(0.9, 1.1, 24, dtype=torch.float64).reshape(1, -1, 1, 1)
    assert prepared.value(ramp * (moving + 0.5)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("similarity", [NMI(bins=32, tail=0), Mattes(bins=32)], ids=repr)
@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_information_does_not_see_any_invertible_map(similarity, order):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 6, (1, 12, 10, 9)))
    fixed = (labels + torch.from_numpy(rng.integers(0, 2, labels.shape))).double()
    levels = torch.tensor(order).double()
    prepared = similarity.prepare(fixed)
    expected = prepared.value(similarity.features(labels.double()))
    # the six levels lie more than a window apart, so the map is exact
    assert prepared.value(similarity.features(levels[labels])) == pytest.approx(expected, rel=0.01)
    assert prepared.value(similarity.features(labels.double().clamp(1, 3))) > expected + 0.01


@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_correlation_ratio_does_not_see_what_the_fixed_values_are(order):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 6, (1, 12, 10, 9)))
    moving = tissue((12, 10, 9)) + torch.tensor([3.0, 1.0, 2.0, 6.0, 4.0, 5.0]).double()[labels]
    value = CorrelationRatio(tail=0).prepare(torch.tensor(order).double()[labels]).value(moving)
    within = sum(float(((moving[labels == k] - moving[labels == k].mean()) ** 2).sum()) for k in range(6))
    assert value == pytest.approx(within / float(((moving - moving.mean()) ** 2).sum()), rel=1e-9)
    assert value < 0.1 < CorrelationRatio(tail=0).prepare(labels.flip(1).double()).value(moving)


@given(gain=st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_structure_and_overlap_do_not_see_a_common_factor(gain):
    fixed, moving, inside, weights = scene((9, 8, 11))
    for similarity in (SSIM(), Dice()):
        one = similarity.prepare(fixed, inside).value(moving, weights)
        assert similarity.prepare(gain * fixed, inside).value(gain * moving, weights) == pytest.approx(one)
        # and one of them does count
        assert similarity.prepare(fixed, inside).value(1.5 * moving, weights) != pytest.approx(one, rel=1e-2)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_some_similarities_are_symmetric(seed):
    fixed, moving, inside, _ = scene((9, 8, 11), seed)
    extent = float(fixed[:, inside].max() - fixed[:, inside].min())
    moving = (moving - moving[:, inside].min()) / np.ptp(moving[:, inside].numpy()) * extent
    for similarity in (MSE(), MAE(), SSIM(), Dice(), NCC()):
        one = similarity.prepare(fixed, inside).value(moving)
        assert similarity.prepare(moving, inside).value(fixed) == pytest.approx(one, rel=1e-6)


@given(size=st.floats(1, 1e6))
@settings(max_examples=20, deadline=None)
def test_no_voxel_outweighs_the_rest_of_an_absolute_error(size):
    fixed, moving, _, _ = scene((9, 8, 11))
    moving[0, 4, 4, 4] = size
    gradient = MAE().prepare(fixed).value_and_gradient(moving).gradient
    assert float(gradient.abs().max()) <= 1 / fixed.numel() * (1 + 1e-9)


@given(order=st.permutations(range(3)))
@settings(max_examples=6, deadline=None)
def test_labels_may_come_in_any_order(order):
    channels = torch.cat([tissue((9, 8, 11), seed) + 0.2 for seed in range(3)])
    fixed = channels / channels.sum(0)
    moving = shifted(fixed, 1.0)
    for similarity in (CrossEntropy(), Dice()):
        one = similarity.prepare(fixed).value(moving)
        assert similarity.prepare(fixed[list(order)]).value(moving[list(order)]) == pytest.approx(one)
        assert one > similarity.prepare(fixed).value(fixed) - 1e-12
    # one channel is one of two labels
    single, pair = fixed[:1], torch.cat([fixed[:1], 1 - fixed[:1]])
    other, both = moving[:1], torch.cat([moving[:1], 1 - moving[:1]])
    alone = CrossEntropy().prepare(single).value(other)
    assert CrossEntropy().prepare(pair).value(both) == pytest.approx(alone)
    assert CrossEntropy().prepare(1 - single).value(1 - other) == pytest.approx(alone)


@given(empty=st.integers(1, 12))
@settings(max_examples=10, deadline=None)
def test_dice_does_not_see_how_much_lies_around(empty):
    fixed, moving, _, _ = scene((9, 8, 11))
    around = [torch.nn.functional.pad(x.clamp(0, 1), (empty, 0, 0, empty, 1, 1)) for x in (fixed, moving)]
    expected = Dice().prepare(fixed.clamp(0, 1)).value(moving.clamp(0, 1))
    assert Dice().prepare(around[0]).value(around[1]) == pytest.approx(expected)


def test_dice_of_whole_labels_is_their_dice_coefficient():
    one, other = (
        torch.from_numpy(np.random.default_rng(s).random((2, 9, 8, 7)) < 0.4).double() for s in (0, 1)
    )
    shares = [2 * (a * b).sum() / (a.sum() + b.sum()) for a, b in zip(one, other)]
    assert Dice().prepare(one).value(other) == pytest.approx(1 - float(sum(shares)) / 2)


def test_structural_similarity_is_that_of_another_tool():
    from skimage.metrics import structural_similarity

    fixed, moving, _, _ = scene((30, 34))
    a, b = fixed[0].numpy(), moving[0].numpy()
    _, every = structural_similarity(
        a, b, win_size=7, data_range=float(np.ptp(a)), use_sample_covariance=False, full=True
    )
    prepared = SSIM().prepare(fixed)
    _, _, _, (a1, a2, b1, b2) = prepared._windows(moving, torch.ones(fixed.shape[1:]).double())
    found = (a1 * a2 / (b1 * b2))[0].numpy()
    np.testing.assert_allclose(found[3:-3, 3:-3], every[3:-3, 3:-3], atol=1e-9)
    assert prepared.value(moving) == pytest.approx(1 - found.mean())


def test_normalised_gradient_fields_see_edges_and_no_sides():
    """A step at the same place fits whichever side is bright; one that crosses it does not fit at all."""
    x, y = np.meshgrid(np.arange(24.0), np.arange(20.0), indexing="ij")
    rise = torch.from_numpy(1 / (1 + np.exp(-(x - 11.3))))[None]
    across = torch.from_numpy(1 / (1 + np.exp(-(y - 9.3))))[None]
    similarity = NGF(edge=0.01)
    prepared = similarity.prepare(rise)
    same, turned, crossing = (prepared.value(similarity.features(i)) for i in (rise, 5 - 3 * rise, across))
    assert turned == pytest.approx(same, abs=1e-9)
    assert same < 0.1
    assert crossing > 0.95


def test_mind_does_not_see_a_slow_change_of_contrast_and_brightness():
    fixed = tissue((24, 26, 22), seed=2)
    ramp = torch.linspace(0.9, 1.1, 24, dtype=torch.float64).reshape(1, -1, 1, 1)
    similarity = MIND()
    biased = similarity.prepare(fixed).value(similarity.features(ramp * (0.5 - fixed) + 0.2 * ramp))
    other = similarity.prepare(fixed).value(similarity.features(shifted(fixed, 1)))
    assert biased < other / 10


def test_mse_and_ncc_are_those_of_numpy():
    fixed, moving, inside, _ = scene((9, 8, 11))
    a, b = fixed[0][inside].numpy(), moving[0][inside].numpy()
    assert MSE().prepare(fixed, inside).value(moving) == pytest.approx(np.mean((a - b) ** 2))
    rho = np.corrcoef(a, b)[0, 1]
    assert NCC().prepare(fixed, inside).value(moving) == pytest.approx(1 - rho)
    assert NCC(signed=False).prepare(fixed, inside).value(moving) == pytest.approx(1 - rho**2)


def test_ncc_keeps_its_digits_far_from_zero():
    fixed, moving, _, _ = scene((9, 8, 11))
    far = NCC().prepare((fixed + 2000).float()).value_and_gradient((moving + 2000).float())
    near = NCC().prepare(fixed).value_and_gradient(moving)
    assert far.value == pytest.approx(near.value, abs=1e-4)
    np.testing.assert_allclose(far.gradient, near.gradient, atol=float(2e-3 * near.gradient.abs().max()))


def test_mi_of_a_gaussian_pair():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1, 100, 100, 60))
    similarity = NMI(bins=64, normalised=False)
    for rho in (0.3, 0.6, 0.8):
        b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal(a.shape)
        fixed, moving = torch.from_numpy(a).float(), torch.from_numpy(b).float()
        value = similarity.prepare(fixed).value(similarity.features(moving))
        assert value == pytest.approx(0.5 * np.log(1 - rho**2), rel=0.05)


def test_mi_is_that_of_another_tool():
    """Mattes' MI has the same window along the moving image and the same free bins at the ends."""
    fixed, moving, _, _ = scene((30, 32, 28))
    similarity = NMI(bins=28, normalised=False, tail=0)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(30)
    method.SetInitialTransform(sitk.TranslationTransform(3))
    method.SetInterpolator(sitk.sitkLinear)
    a, b = (sitk.GetImageFromArray(x[0].numpy()) for x in (fixed, moving))
    expected = method.MetricEvaluate(sitk.Cast(a, sitk.sitkFloat64), sitk.Cast(b, sitk.sitkFloat64))
    value = similarity.prepare(fixed).value(similarity.features(moving))
    assert value == pytest.approx(expected, rel=0.03)
