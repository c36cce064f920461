"""What second-order linear registration needs, against the reference and finite differences."""

import numpy as np
import pytest
import torch

from coincide.ops.linear import normal_equations, sample_with_gradient
from coincide.ops.sample import sample_affine

CASES = [
    ((9, 8), (7, 6)),
    ((8, 9, 7), (6, 7, 5)),
    ((5, 1, 6), (4, 3, 5)),
    ((6, 1), (4, 5)),
    ((6, 5, 4), (1, 4, 6)),
]


def image_of(shape):
    return torch.from_numpy(np.random.default_rng(0).standard_normal((1, *shape)))


def matrix_of(dim, seed=1):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [np.eye(dim) + 0.15 * rng.standard_normal((dim, dim)), rng.uniform(0, 1, (dim, 1))], 1
    )


@pytest.mark.parametrize(("shape", "out"), CASES)
def test_kernel_is_the_reference(shape, out):
    image, matrix = image_of(shape), matrix_of(len(shape))
    values, slope, inside = sample_with_gradient(image.float(), matrix, out)
    expected = sample_with_gradient(image, matrix, out)
    np.testing.assert_allclose(values, expected[0], atol=2e-5)
    np.testing.assert_array_equal(inside, expected[2])
    # outside of the image the slope counts for nothing
    np.testing.assert_allclose(slope * inside, expected[1] * expected[2], atol=2e-5)


@pytest.mark.parametrize(("shape", "out"), CASES)
def test_values_are_those_of_sampling_with_the_edge_going_on(shape, out):
    image, matrix = image_of(shape).float(), matrix_of(len(shape))
    values, _, inside = sample_with_gradient(image, matrix, out)
    np.testing.assert_allclose(values, sample_affine(image, matrix, out, "edge"), atol=1e-5)
    lattice = np.stack(np.meshgrid(*(np.arange(n) for n in out), indexing="ij"), -1)
    at = lattice @ matrix[:, :-1].T + matrix[:, -1]
    np.testing.assert_array_equal(
        inside, np.all((at >= 0) & (at <= np.array(shape) - 1), -1).astype(np.float32)
    )


@pytest.mark.parametrize(("shape", "out"), CASES[:2])
def test_slope_is_that_of_finite_differences(shape, out):
    image, matrix, h = image_of(shape), matrix_of(len(shape)), 1e-6
    _, slope, inside = sample_with_gradient(image, matrix, out)
    for axis in range(len(shape)):
        ahead, behind = matrix.copy(), matrix.copy()
        ahead[axis, -1] += h
        behind[axis, -1] -= h
        difference = (sample_affine(image, ahead, out) - sample_affine(image, behind, out))[0] / (2 * h)
        counts = inside.bool()
        np.testing.assert_allclose(slope[axis][counts], difference[counts], atol=1e-6)
    assert inside.sum() > 10


@pytest.mark.parametrize("shape", [(7, 6), (6, 7, 5), (1, 6), (6, 1), (1, 5, 4), (4, 5, 1), (5, 1, 4)])
def test_normal_equations_are_the_sums_they_say(shape):
    dim = len(shape)
    rng = np.random.default_rng(2)
    g, h, s = rng.standard_normal((1, *shape)), rng.random(shape), rng.standard_normal((dim, *shape))
    z = np.stack([*np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), np.ones(shape)]).reshape(
        dim + 1, -1
    )
    moves = s.reshape(dim, 1, -1) * z[None]  # what a change of L does to each value
    first = (moves * g.reshape(-1)).sum(-1)
    second = np.einsum("apn,bqn,n->apbq", moves, moves, h.reshape(-1))
    for kind, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        found = normal_equations(*(torch.from_numpy(x).to(kind) for x in (g, h, s)))
        np.testing.assert_allclose(found[0], first, atol=tolerance * max(1, np.abs(first).max()))
        np.testing.assert_allclose(found[1], second, atol=tolerance * max(1, np.abs(second).max()))


@pytest.mark.parametrize("dim", [2, 3])
def test_the_gradient_leads_downhill_by_as_much_as_it_says(dim):
    shape, out = (11, 12, 10)[:dim], (7, 6, 8)[:dim]
    unit = np.stack(np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij"))
    image = torch.from_numpy(np.sin(unit[0] + 0.3) * np.cos(1.3 * unit[-1]) + unit[1] ** 2)[None]
    target = sample_affine(image, matrix_of(dim, 5), out)

    def value(matrix):
        return 0.5 * float((sample_affine(image, matrix, out) - target).square().sum())

    matrix = matrix_of(dim)
    warped, slope, _ = sample_with_gradient(image, matrix, out)
    gradient, _ = normal_equations(warped - target, torch.ones(out, dtype=torch.float64), slope)
    change = np.random.default_rng(3).standard_normal(matrix.shape)
    h = 1e-5
    difference = (value(matrix + h * change) - value(matrix - h * change)) / (2 * h)
    assert float((gradient * change).sum()) == pytest.approx(difference, rel=1e-4)
