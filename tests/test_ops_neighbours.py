"""The compiled correlations of neighbours are those of plain torch, in value and gradient."""

import numpy as np
import pytest
import torch

from coincide.ops.neighbours import correlations, correlations_reference, offsets

SHAPES = [(2, 3, 5, 6, 7), (1, 2, 1, 4, 3), (2, 3, 6, 7), (1, 1, 1, 1)]


def random(shape, seed, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_the_reference(shape):
    exact = [random(shape, n).requires_grad_() for n in range(2)]
    single = [x.detach().float().requires_grad_() for x in exact]
    expected, found = correlations_reference(*exact), correlations(*single)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    upstream = random(expected.shape, 5)
    expected.backward(upstream)
    found.backward(upstream.float())
    for one, other in zip(exact, single):
        torch.testing.assert_close(other.grad.double(), one.grad, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_finite_differences():
    pair = tuple(random((1, 2, 3, 2, 4), n).requires_grad_() for n in range(2))
    assert torch.autograd.gradcheck(correlations, pair)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_lone_voxel_is_found_where_it_stands(dim):
    one, other = torch.zeros(2, 1, 1, *(5,) * dim).unbind()
    one[(0, 0, *(2,) * dim)] = 3
    place = (1, 3, 2)[:dim]
    other[(0, 0, *place)] = 2
    found = correlations(one, other)
    (at,) = torch.nonzero(found).tolist()
    assert offsets(dim)[at[1]].tolist() == [p - 2 for p in place]
    assert at[2:] == [2] * dim
    assert float(found.max()) == 6
    assert np.array_equal(offsets(dim)[::-1], -offsets(dim))
