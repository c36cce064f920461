"""The joint histogram, held to a B-spline from scipy, to its reference and to finite differences."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from coincide.ops import _parallel
from coincide.ops.histogram import (
    histogram_gradient,
    joint_histogram,
    joint_histogram_reference,
    nearest_bin,
)

BINS = 16


def scene(shape=(7, 9, 5), seed=0):
    """Bins of one image, another image that depends on it unevenly and leaves the unit range, and weights."""
    rng = np.random.default_rng(seed)
    first = rng.random(shape) ** 2
    second = np.sqrt(first) * 0.9 + 0.2 * rng.standard_normal(shape)
    weights = np.where(rng.random(shape) < 0.2, 0, rng.random(shape))
    return nearest_bin(torch.from_numpy(first), BINS), torch.from_numpy(second), torch.from_numpy(weights)


@pytest.fixture
def threads():
    yield _parallel.set_threads
    _parallel.set_threads(None)


def test_histogram_is_the_window_summed_over_the_voxels():
    index, image, weights = scene()
    window = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    expected = np.zeros((BINS, BINS))
    for f, x, w in zip(index.flatten(), image.flatten(), weights.flatten()):
        position = 1 + np.clip(float(x), 0, 1) * (BINS - 3)
        expected[int(f)] += float(w) * np.nan_to_num(window(np.arange(BINS) - position))
    np.testing.assert_allclose(joint_histogram_reference(index, image, weights, BINS), expected, atol=1e-12)
    compiled = joint_histogram(index, image.float(), weights.float(), BINS)
    np.testing.assert_allclose(compiled, expected, atol=1e-5)


def test_ends_of_the_unit_range_lie_in_the_second_bin_and_the_last_but_one():
    ends = torch.tensor([-3.0, 0.0, 1.0, 4.0, float("nan")])
    assert nearest_bin(ends, BINS).tolist() == [1, 1, BINS - 2, BINS - 2, 1]
    for image in (ends, ends.double()):
        index = torch.arange(5, dtype=torch.uint8)
        histogram = joint_histogram(index, image, torch.ones_like(image), BINS)
        assert histogram.argmax(dim=1)[:5].tolist() == [1, 1, BINS - 2, BINS - 2, 1]
        np.testing.assert_allclose(histogram.sum(1)[:5], 1, rtol=1e-6)


def test_gradient_of_reference_is_right():
    index, image, weights = scene((4, 3, 5))
    image = image.clamp(0.02, 0.98).requires_grad_(True)
    table = torch.from_numpy(np.random.default_rng(1).standard_normal((BINS, BINS)))

    def weigh(x):
        return (table * joint_histogram_reference(index, x, weights, BINS)).sum()

    assert torch.autograd.gradcheck(weigh, image)


@pytest.mark.parametrize("shape", [(7, 9, 5), (31, 17)])
def test_compiled_gradient_is_that_of_the_reference(shape):
    index, image, weights = scene(shape)
    table = np.random.default_rng(1).standard_normal((BINS, BINS))
    exact = image.clone().requires_grad_(True)
    (torch.from_numpy(table) * joint_histogram_reference(index, exact, weights, BINS)).sum().backward()

    single = image.float().requires_grad_(True)
    (torch.from_numpy(table) * joint_histogram(index, single, weights.float(), BINS)).sum().backward()
    np.testing.assert_allclose(single.grad, exact.grad, atol=2e-5)
    assert (exact.grad == 0).any(), "some voxels lie outside the unit range"

    rows = np.arange(BINS, dtype=float)
    gradient, spread = histogram_gradient(index, image.float(), weights.float(), table, rows)
    np.testing.assert_array_equal(gradient, single.grad)
    np.testing.assert_allclose(spread, weights * index, rtol=1e-6)


def test_threads_do_not_change_a_bit(threads):
    index, image, weights = scene((90, 80, 50))
    results = []
    for number in (1, 2, 3):
        threads(number)
        single = image.float().requires_grad_(True)
        histogram = joint_histogram(index, single, weights.float(), BINS)
        histogram.square().sum().backward()
        results.append((histogram.detach(), single.grad))
    for histogram, gradient in results[1:]:
        assert torch.equal(histogram, results[0][0])
        assert torch.equal(gradient, results[0][1])
