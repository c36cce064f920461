"""Every similarity: derivatives, masks, threads, refusals; whatever the package exports."""

import dataclasses

import numpy as np
import pytest
import torch
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
    with pytest.raises(OptionError, match=rf"{kind.name}: {next(iter(options))} must be .* found"):
        kind(**options)
