"""Every similarity: derivatives, masks, threads, what it is invariant to; whatever the package exports."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from coincide.errors import DimensionError, OptionError
from coincide.ops import _parallel
from coincide.similarity import (
    LNCC,
    MAE,
    MIND,
    MSE,
    NCC,
    NGF,
    NMI,
    SIMILARITIES,
    SSIM,
    CorrelationRatio,
    CrossEntropy,
    Dice,
    Mattes,
)

EVERY = [kind() for kind in SIMILARITIES.values()] + [NCC(signed=False), NMI(bins=24, normalised=False)]
SINGLE = [s for s in EVERY if not isinstance(s, MSE | MAE | CrossEntropy | Dice)]
every = pytest.mark.parametrize("similarity", EVERY, ids=repr)
shapes = pytest.mark.parametrize("shape", [(9, 8, 11), (19, 23)])


def tissue(shape, seed=0):
    """Smooth, asymmetric, in 0 to 1."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5, mode="nearest")
    image += 0.05 * np.linspace(0, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return torch.from_numpy((image - image.min()) / np.ptp(image))[None]


def scene(shape, seed=0):
    """Fixed and moving image, alike but not equal, and the weights of both sides, with holes."""
    rng = np.random.default_rng(seed + 100)
    fixed = tissue(shape, seed)
    moving = 0.8 * fixed + 0.3 * fixed**2 + 0.1 * torch.from_numpy(rng.standard_normal((1, *shape)))
    inside = torch.from_numpy(rng.random(shape) > 0.2)
    weights = torch.from_numpy(np.where(rng.random(shape) > 0.2, rng.random(shape), 0))
    return fixed, moving, inside, weights


def shifted(image, distance, axis=1):
    """`image(x + distance)` along one axis, by cubic interpolation."""
    amount = np.zeros(image.ndim)
    amount[axis] = -distance
    return torch.from_numpy(ndimage.shift(image.numpy(), amount, order=3, mode="nearest"))


def test_exports_are_final_frozen_options_under_their_own_names():
    for name, kind in SIMILARITIES.items():
        assert kind.name == name
        assert dataclasses.is_dataclass(kind)
        assert kind() == kind()
        assert hash(kind()) == hash(kind())


@every
@shapes
def test_gradient_is_that_of_finite_differences(similarity, shape):
    fixed, moving, inside, weights = scene(shape)
    prepared = similarity.prepare(fixed, inside)
    warped = similarity.features(moving) * 0.96 + 0.02
    gradient = prepared.value_and_gradient(warped, weights).gradient
    assert gradient.shape == warped.shape
    rng = np.random.default_rng(1)
    step = 1e-5
    for _ in range(12):
        at = tuple(rng.integers(0, n) for n in warped.shape)
        above, below = warped.clone(), warped.clone()
        above[at] += step
        below[at] -= step
        slope = (prepared.value(above, weights) - prepared.value(below, weights)) / (2 * step)
        assert float(gradient[at]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


@every
@shapes
@pytest.mark.parametrize("masked", [True, False])
def test_kernels_are_the_reference(similarity, shape, masked):
    fixed, moving, inside, weights = scene(shape)
    if not masked:
        inside = weights = None
    moving = similarity.features(moving, mask=weights)
    reference = similarity.prepare(fixed, inside)
    compiled = similarity.prepare(fixed.float(), inside)
    assert compiled.fused(moving.float())
    assert not reference.fused(moving)
    single = None if weights is None else weights.float()
    expected = reference.value_and_gradient(moving, weights)
    found = compiled.value_and_gradient(moving.float(), single)
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    assert compiled.value(moving.float(), single) == pytest.approx(found.value, rel=1e-12)
    for a, b in ((found.gradient, expected.gradient), (found.curvature, expected.curvature)):
        assert a.dtype == torch.float32
        assert a.is_contiguous()
        np.testing.assert_allclose(a, b, atol=float(2e-4 * b.abs().max()))
    assert found.curvature.shape == shape


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_can_be_differentiated(similarity, dtype):
    fixed, moving, inside, weights = (x.to(dtype) if x.is_floating_point() else x for x in scene((9, 8, 11)))
    prepared = similarity.prepare(fixed, inside)
    warped = similarity.features(moving)
    expected = prepared.value_and_gradient(warped, weights)
    warped.requires_grad_(True)
    loss = prepared.loss(warped, weights)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(expected.value, rel=1e-6)
    np.testing.assert_allclose(warped.grad, 3 * expected.gradient, rtol=1e-5, atol=1e-12)


@every
def test_threads_do_not_change_a_bit(similarity):
    fixed, moving, inside, weights = scene((70, 60, 50))
    results = []
    try:
        for number in (1, 2, 3):
            _parallel.set_threads(number)
            prepared = similarity.prepare(fixed.float(), inside)
            results.append(prepared.value_and_gradient(similarity.features(moving.float()), weights.float()))
    finally:
        _parallel.set_threads(None)
    for other in results[1:]:
        assert other.value == results[0].value
        assert torch.equal(other.gradient, results[0].gradient)
        assert torch.equal(other.curvature, results[0].curvature)


@every
def test_where_the_arrays_lie_does_not_change_a_bit(similarity):
    """The compiler's vector loops are entered or not by where arrays lie; sums must not depend on it."""
    fixed, moving, inside, weights = scene((40, 30, 20))
    sizes = np.random.default_rng(0).integers(1, 100_000, 20)
    kept, found = [], set()
    for size in sizes:
        kept.append(np.empty(size))
        prepared = similarity.prepare(fixed.float(), inside.clone())
        value, gradient, _ = prepared.value_and_gradient(similarity.features(moving.float()), weights.float())
        found.add((value, gradient.numpy().tobytes()))
    assert len(found) == 1


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_masked_out_does_not_count(similarity, dtype):
    fixed, moving, inside, weights = scene((9, 8, 11))
    prepared = similarity.prepare(fixed.to(dtype), inside)
    warped, weights = similarity.features(moving).to(dtype), weights.to(dtype)
    before = prepared.value_and_gradient(warped, weights)
    out = ~inside | (weights == 0)
    assert (before.gradient[:, out] == 0).all()
    assert (before.curvature[out] == 0).all()
    assert (before.curvature >= 0).all()
    changed = torch.where(out, warped.flip(1) + 0.1, warped)
    assert prepared.value(changed, weights) == pytest.approx(before.value, rel=1e-6)
    assert prepared.value(changed) != pytest.approx(before.value, rel=1e-3)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_to_see_is_no_nan(similarity, dtype):
    fixed, moving, inside, _ = scene((9, 8, 11))
    flat = torch.full_like(fixed, 1000.1)
    for one, other in ((fixed, flat), (flat, moving), (flat, flat)):
        warped = similarity.features(other.to(dtype))
        value, gradient, curvature = similarity.prepare(one.to(dtype), inside).value_and_gradient(warped)
        assert np.isfinite(value)
        assert gradient.isfinite().all()
        assert curvature.isfinite().all()
        assert (curvature >= 0).all()
    nothing = torch.zeros(fixed.shape[1:], dtype=torch.bool)
    prepared = similarity.prepare(fixed.to(dtype), inside)
    warped = similarity.features(moving.to(dtype))
    value, gradient, curvature = prepared.value_and_gradient(warped, nothing)
    assert not np.isnan(value)
    assert (gradient == 0).all()
    assert curvature.isfinite().all()


@every
def test_lower_is_better_and_the_gradient_leads_there(similarity):
    fixed = tissue((16, 24, 18), seed=3)
    middle = torch.zeros(fixed.shape[1:])
    middle[4:-4, 4:-4, 4:-4] = 1
    prepared = similarity.prepare(fixed, middle)
    moving = similarity.features(fixed, mask=middle)
    for axis in (1, 2, 3):
        values = [prepared.value(shifted(moving, d, axis)) for d in (-2, -1, 0, 1, 2)]
        assert values[0] > values[1] > values[2] < values[3] < values[4]
    warped = shifted(moving, 1.0, 2)
    value, gradient, _ = prepared.value_and_gradient(warped)
    assert prepared.value(warped - 1e-3 * gradient / gradient.abs().max()) < value


@every
def test_a_second_order_step_recovers_a_shift(similarity):
    """Gauss–Newton with the curvature goes most of the way and not too far, whichever way the shift was."""
    fixed = tissue((20, 22, 18), seed=3)
    middle = torch.zeros(fixed.shape[1:])
    middle[4:-4, 4:-4, 4:-4] = 1
    prepared = similarity.prepare(fixed, middle)
    moving = similarity.features(fixed + 0.01 * tissue(fixed.shape[1:], 5), mask=middle)
    for distance in (-0.6, 0.6):
        warped = shifted(moving, distance, 2)
        _, gradient, curvature = prepared.value_and_gradient(warped)
        slope = torch.gradient(warped, dim=2)[0]
        step = -(gradient * slope).sum() / (curvature * slope**2).sum()
        assert 0.3 < float(step) / -distance < 1.3


@every
def test_repeating_the_image_leaves_the_mean_as_it_was(similarity):
    fixed, moving, inside, weights = scene((24, 26, 22))
    once = similarity.prepare(fixed, inside).value(similarity.features(moving), weights)
    fixed, moving, inside, weights = (torch.cat([x, x], dim=-1) for x in (fixed, moving, inside, weights))
    twice = similarity.prepare(fixed, inside).value(similarity.features(moving), weights)
    # where neighbours count, those at the seam are new; where quantiles do, they fall between other values
    tolerance = {LNCC: 0.03, MIND: 0.03, NGF: 0.03, SSIM: 0.05, NMI: 1e-3, CorrelationRatio: 1e-3}.get(
        type(similarity), 1e-9
    )
    assert twice == pytest.approx(once, rel=tolerance)


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
    if abs(gain - 1) + abs(offset) > 0.1:
        for similarity in (MSE(), MAE(), SSIM(), Dice()):
            assert abs(value(similarity, gain * moving + offset) - value(similarity, moving)) > 1e-4


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
    ramp = torch.linspace(0.8, 1.25, 24, dtype=torch.float64).reshape(1, -1, 1, 1)
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


@pytest.mark.parametrize("similarity", SINGLE, ids=repr)
def test_several_channels_are_refused_where_they_mean_nothing(similarity):
    with pytest.raises(DimensionError, match="one channel, found 2"):
        similarity.prepare(torch.rand(2, 8, 8, 8))
    with pytest.raises(DimensionError, match="one channel, found 2"):
        similarity.features(torch.rand(2, 8, 8, 8))


@pytest.mark.parametrize("similarity", [s for s in EVERY if not isinstance(s, LNCC)], ids=repr)
def test_mask_of_another_shape_is_refused(similarity):
    with pytest.raises(DimensionError, match=r"mask has shape \(8, 8\), its image \(8, 9\)"):
        similarity.prepare(torch.rand(1, 8, 9), torch.ones(8, 8))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (NMI, {"bins": 4}),
        (NMI, {"bins": 300}),
        (NMI, {"tail": 0.5}),
        (MIND, {"radius": -1}),
        (MIND, {"dilation": 0}),
        (Mattes, {"bins": 4}),
        (MAE, {"softness": 0.0}),
        (SSIM, {"radius": 0}),
        (NGF, {"edge": 0.0}),
        (LNCC, {"radius": 0}),
        (LNCC, {"radius": 2.5}),
        (LNCC, {"noise": float("nan")}),
        (CorrelationRatio, {"tail": 0.5}),
        (SIMILARITIES["cross_entropy"], {"doubt": 1.0}),
    ],
)
def test_impossible_options_are_refused(kind, options):
    with pytest.raises(OptionError, match=f"{kind.name}: {next(iter(options))} must be .* found"):
        kind(**options)
