"""Windows and value of local correlation: against scipy, at borders, in masks, and where it is best."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from coincide.ops.lncc import lncc, lncc_reference, windows

SHAPES = [(19, 17), (11, 13, 12)]
THIN = [(1, 12), (12, 1), (1, 9, 7), (9, 1, 7), (9, 7, 1), (2, 2, 2)]
EPSILON = 1e-4


def scene(shape, dtype=torch.float32):
    """Two images that resemble each other, and weights with holes."""
    rng = np.random.default_rng(0)
    fixed = rng.random((1, *shape))
    warped = 0.6 * fixed**2 + 0.2 * rng.random((1, *shape))
    mask = np.where(rng.random(shape) < 0.2, 0, rng.random(shape))
    return tuple(torch.from_numpy(x).to(dtype) for x in (fixed, warped, mask))


def windowed(values, weights, radius):
    """Weighted means over windows, zeros outside, by scipy."""
    width = 2 * radius + 1
    total = uniform_filter(weights, width, mode="constant")
    return uniform_filter(values * weights, width, mode="constant") / np.maximum(total, 1e-12)


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES + THIN)
@pytest.mark.parametrize("masked", [False, True])
def test_windows_are_scipys(shape, radius, masked):
    fixed, _, mask = scene(shape)
    w = windows(fixed, mask if masked else None, radius, EPSILON)
    f = fixed[0].double().numpy()
    weights = mask.double().numpy() if masked else np.ones(shape)
    counted = w.count[0].numpy() > 1e-3
    mean = windowed(f, weights, radius)
    np.testing.assert_allclose(w.mean[0][counted], mean[counted], atol=1e-5)
    variance = windowed(f * f, weights, radius) - mean**2
    np.testing.assert_allclose(w.variance[0][counted], np.maximum(variance, 0)[counted], atol=1e-5)
    informative = weights * np.maximum(variance, 0) / (np.maximum(variance, 0) + EPSILON)
    assert w.total == pytest.approx(max(informative[counted].sum(), 1), rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES + THIN)
@pytest.mark.parametrize("masked", [False, True])
def test_kernel_is_the_reference_in_value_gradient_and_curvature(shape, masked):
    fixed, warped, mask = scene(shape, torch.float64)
    mask = mask if masked else None
    plain = lncc(warped, windows(fixed, mask, 2, EPSILON))
    single = None if mask is None else mask.float()
    compiled = lncc(warped.float(), windows(fixed.float(), single, 2, EPSILON))
    assert compiled[0] == pytest.approx(plain[0], abs=2e-5)
    for ours, theirs in zip(compiled[1:], plain[1:]):
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * float(theirs.abs().max()) + 1e-7)
    assert lncc(warped.float(), windows(fixed.float(), single, 2, EPSILON), gradient=False)[0] == compiled[0]


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6), (5, 1, 4)])
def test_gradient_is_that_of_finite_differences(shape):
    fixed, warped, mask = scene(shape, torch.float64)
    w = windows(fixed, mask, 1, 1e-2)
    leaf = warped.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: lncc_reference(x, w), leaf)


@pytest.mark.parametrize("shape", SHAPES)
def test_value_tends_to_the_mean_squared_correlation(shape):
    fixed, warped, _ = scene(shape, torch.float64)
    f, m = fixed[0].numpy(), warped[0].numpy()
    ones = np.ones(shape)
    f_mean, m_mean = windowed(f, ones, 2), windowed(m, ones, 2)
    covariance = windowed(f * m, ones, 2) - f_mean * m_mean
    squared = covariance**2 / (windowed(f * f, ones, 2) - f_mean**2) / (windowed(m * m, ones, 2) - m_mean**2)
    assert lncc(warped, windows(fixed, None, 2, 1e-12))[0] == pytest.approx(-squared.mean(), rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_nothing_is_better_than_the_image_itself(shape, epsilon):
    # weak windows, where the noise floor is as large as the contrast, must not ask for more contrast
    fixed = scene(shape, torch.float64)[0] * 0.02
    w = windows(fixed, None, 2, epsilon)
    value, gradient, _ = lncc(fixed, w)
    scale = lncc(0.9 * fixed + 0.01 * fixed**2, w)[1]
    assert float(gradient.abs().max()) < 1e-6 * max(float(scale.abs().max()), 1e-12)
    rng = np.random.default_rng(1)
    for size in (0.003, 0.01):
        other = fixed + size * torch.from_numpy(rng.standard_normal(fixed.shape))
        assert lncc(other, w)[0] > value


@pytest.mark.parametrize("shape", SHAPES)
def test_air_says_nothing(shape):
    fixed, warped, _ = scene(shape)
    empty = torch.zeros_like(fixed)
    for f, m in ((empty, warped), (empty, empty)):
        value, gradient, curvature = lncc(m, windows(f, None, 2, EPSILON))
        assert value == pytest.approx(0, abs=1e-6)
        assert float(gradient.abs().max()) < 1e-6
        assert float(curvature.abs().max()) < 1e-6
    value, gradient, _ = lncc(empty, windows(fixed, None, 2, EPSILON))
    assert abs(value) < 0.01
    assert bool(torch.isfinite(gradient).all())
