"""Gaussian and box filters: against scipy, kernels against the reference, slopes by differences."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d, gaussian_filter, uniform_filter

from coincide.ops.smooth import box, fir, fir_reference, gaussian, gaussian_weights

SHAPES = [(13, 11), (9, 12, 10), (1, 9), (9, 1), (1, 1), (1, 8, 5), (8, 1, 5), (8, 5, 1), (2, 3, 2)]


def values(shape, channels=2, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(0).standard_normal((channels, *shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.7, 1.7])
def test_gaussian_is_scipys(shape, sigma, dtype):
    image = values(shape, dtype=dtype)
    radius = gaussian_weights(sigma).size // 2
    for edge, mode in ((True, "nearest"), (False, "constant")):
        expected = [gaussian_filter(c, sigma, mode=mode, radius=radius) for c in image.double().numpy()]
        np.testing.assert_allclose(gaussian(image, sigma, edge=edge), expected, atol=2e-6)


def test_sigma_may_differ_by_axis():
    image = values((9, 12, 10))
    sigmas = (0.6, 1.4, 0.0)
    expected = image.double().numpy()
    for axis, sigma in enumerate(sigmas, start=1):
        expected = correlate1d(expected, gaussian_weights(sigma).astype(float), axis=axis, mode="nearest")
    np.testing.assert_allclose(gaussian(image, sigmas), expected, atol=2e-6)


def test_no_sigma_changes_nothing():
    image = values((9, 12, 10))
    assert torch.equal(gaussian(image, 0.0), image)
    assert torch.equal(gaussian(image, 0.01), image)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
def test_weights_sum_to_one_and_spread_as_they_say(sigma):
    w = gaussian_weights(sigma, truncate=6.0).astype(np.float64)
    x = np.arange(w.size) - w.size // 2
    assert w.sum() == pytest.approx(1, abs=1e-6)
    assert w @ x == pytest.approx(0, abs=1e-6)
    if sigma >= 1:  # a narrower one is not well sampled
        assert w @ x**2 == pytest.approx(sigma**2, rel=1e-3)


@pytest.mark.parametrize("edge", [True, False])
def test_a_constant_stays_one_with_the_edge_going_on(edge):
    smooth = gaussian(torch.full((1, 8, 9, 7), 5.0), 1.7, edge=edge)
    assert torch.allclose(smooth, torch.tensor(5.0), atol=1e-5) is edge


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_box_is_scipys(shape, radius, dtype):
    image = values(shape, dtype=dtype)
    width = 2 * radius + 1
    expected = [
        uniform_filter(c, width, mode="constant") * width ** len(shape) for c in image.double().numpy()
    ]
    np.testing.assert_allclose(box(image, radius), expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(13, 11), (9, 12, 10), (1, 8, 5)])
def test_box_is_its_own_adjoint(shape):
    a, b = values(shape, 1, torch.float64), values(shape, 1, torch.float64).flip(1) ** 2
    assert float((box(a, 2) * b).sum()) == pytest.approx(float((a * box(b, 2)).sum()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edge", [True, False])
def test_kernel_is_the_reference(shape, edge):
    image = values(shape)
    rng = np.random.default_rng(1)
    # uneven weights: a filter that turned them round would show
    weights = [rng.standard_normal(n).astype(np.float32) for n in (3, 5, 7)[: len(shape)]]
    expected = fir_reference(image.double(), weights, edge)
    np.testing.assert_allclose(fir(image, weights, edge), expected, atol=3e-5)
    for axis, w in enumerate(weights, start=1):
        alone = [w if a == axis else np.ones(1, np.float32) for a in range(1, len(shape) + 1)]
        theirs = correlate1d(
            image.double().numpy(), w.astype(float), axis=axis, mode="nearest" if edge else "constant"
        )
        np.testing.assert_allclose(fir(image, alone, edge), theirs, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 5)])
@pytest.mark.parametrize("edge", [True, False])
def test_slopes_are_those_of_finite_differences(shape, edge):
    leaf = values(shape, 1, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gaussian(x, 1.1, edge=edge), leaf)
    assert torch.autograd.gradcheck(lambda x: box(x, 1), leaf)


def test_gradients_flow_in_single_precision_too():
    leaf = values((6, 5, 4), 1).requires_grad_()
    gaussian(leaf, 1.0).square().sum().backward()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_where_it_reaches(spoilt):
    image = torch.zeros((1, 12, 11, 13))
    image[0, 6, 5, 6] = spoilt
    bad = ~torch.isfinite(gaussian(image, 0.6))
    assert bad[0, 6, 5, 6]
    assert not bad[0, :3].any()
    assert not bad[0, :, :, 10:].any()
