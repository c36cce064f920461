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
from coincide.similarity import LNCC, MIND, MSE, NCC, NMI, SIMILARITIES

EVERY = [kind() for kind in SIMILARITIES.values()] + [NCC(signed=False), NMI(bins=24, normalised=False)]
SINGLE = [s for s in EVERY if not isinstance(s, MSE)]
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
    tolerance = {LNCC: 0.03, MIND: 0.03, NMI: 1e-3}.get(type(similarity), 1e-9)
    assert twice == pytest.approx(once, rel=tolerance)


@given(gain=st.floats(0.2, 5), offset=st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_linear_maps(gain, offset):
    """NCC, NMI and MIND do not see them; MSE does."""
    fixed, moving, inside, weights = scene((9, 8, 11))

    def value(similarity, image):
        return similarity.prepare(fixed, inside).value(similarity.features(image, mask=inside), weights)

    for similarity in (NCC(), NCC(signed=False), NMI(), NMI(normalised=False), MIND()):
        assert value(similarity, gain * moving + offset) == pytest.approx(value(similarity, moving), abs=1e-6)
    for similarity in (NCC(signed=False), NMI(), MIND()):
        assert value(similarity, offset - gain * moving) == pytest.approx(value(similarity, moving), abs=2e-3)
    assert value(NCC(), offset - gain * moving) == pytest.approx(2 - value(NCC(), moving))
    if abs(gain - 1) + abs(offset) > 0.1:
        assert abs(value(MSE(), gain * moving + offset) - value(MSE(), moving)) > 1e-4


@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_nmi_does_not_see_any_invertible_map(order):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 6, (1, 12, 10, 9)))
    fixed = (labels + torch.from_numpy(rng.integers(0, 2, labels.shape))).double()
    levels = torch.tensor(order).double()
    similarity = NMI(bins=32, tail=0)
    prepared = similarity.prepare(fixed)
    expected = prepared.value(similarity.features(labels.double()))
    # the six levels lie more than a window apart, so the map is exact
    assert prepared.value(similarity.features(levels[labels])) == pytest.approx(expected, rel=0.01)
    assert prepared.value(similarity.features(labels.double().clamp(1, 3))) > expected + 0.01


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


@pytest.mark.parametrize("similarity", [MSE(), NCC(), NMI(), MIND()], ids=repr)
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
    ],
)
def test_impossible_options_are_refused(kind, options):
    with pytest.raises(OptionError, match=f"{kind.__name__}: .*{next(iter(options))} .*found"):
        kind(**options)
