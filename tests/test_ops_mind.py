"""MIND-SSC, held to its definition written out, voxel by voxel, and to its reference."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from coincide.ops import _parallel
from coincide.ops.mind import mind_ssc, mind_ssc_reference


def scene(shape, seed=0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    return torch.from_numpy(image + np.linspace(0, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1)))[None]


def by_definition(image, radius, dilation):
    """The channels of every voxel, in order of size."""
    dim = image.ndim
    reach = radius + dilation
    padded = np.pad(image, reach, mode="edge")
    steps = [s * dilation * e for e in np.eye(dim, dtype=int) for s in (1, -1)]
    pairs = [(p, q) for p, q in itertools.combinations(steps, 2) if np.sum((p - q) ** 2) == 2 * dilation**2]

    def patch(place):
        return padded[tuple(slice(c + reach - radius, c + reach + radius + 1) for c in place)]

    distance = np.empty((len(pairs), *image.shape))
    for place in np.ndindex(image.shape):
        for c, (p, q) in enumerate(pairs):
            distance[(c, *place)] = np.mean((patch(place + p) - patch(place + q)) ** 2)
    distance -= distance.min(0)
    variance = distance.mean(0)
    variance = np.clip(variance, variance.mean() / 1000, variance.mean() * 1000)
    return np.sort(np.exp(-distance / variance), axis=0)


@pytest.mark.parametrize(("radius", "dilation"), [(1, 2), (0, 1), (2, 1)])
@pytest.mark.parametrize("shape", [(8, 6, 7), (11, 9)])
def test_channels_are_those_of_the_definition(shape, radius, dilation):
    image = scene(shape)
    channels = mind_ssc(image, radius, dilation)
    assert len(channels) == {2: 4, 3: 12}[len(shape)]
    expected = by_definition(image[0].numpy(), radius, dilation)
    np.testing.assert_allclose(np.sort(channels, axis=0), expected, atol=1e-12)


@pytest.mark.parametrize(("radius", "dilation"), [(1, 2), (0, 1), (2, 3)])
@pytest.mark.parametrize("shape", [(13, 11, 17), (3, 4, 2), (23, 19), (1, 30)])
def test_compiled_is_the_reference(shape, radius, dilation):
    image = scene(shape)
    compiled = mind_ssc(image.float(), radius, dilation)
    assert compiled.dtype == torch.float32
    assert compiled.is_contiguous()
    np.testing.assert_allclose(compiled, mind_ssc_reference(image, radius, dilation), atol=2e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_flat_tissue_is_all_ones_and_nothing_is_nan(compiled):
    image = torch.full((1, 12, 10, 9), 7.0, dtype=torch.float32 if compiled else torch.float64)
    assert (mind_ssc(image) == 1).all()
    image[0, 6:, 5, 4] = 1000
    channels = mind_ssc(image)
    assert channels.isfinite().all()
    assert (channels[:, 0, 0, 0] == 1).all()
    assert (channels[:, 6, 4, 4] < 1).any()


def test_turning_an_axis_round_permutes_the_channels():
    image = scene((9, 10, 8)).float()
    turned = mind_ssc(image.flip(2)).flip(2)
    np.testing.assert_allclose(turned.sort(0)[0], mind_ssc(image).sort(0)[0], atol=1e-5)


def test_gradient_with_respect_to_the_image():
    image = scene((5, 4, 6)).requires_grad_(True)
    order = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(12, 1, 1, 1)
    # the clamp's bounds move with the image's mean, which is held while differentiating: none may be clamped
    assert torch.autograd.gradcheck(lambda x: (mind_ssc_reference(x) * order).sum(), image, atol=1e-6)


def test_threads_do_not_change_a_bit():
    results = []
    try:
        for number in (1, 2, 3):
            _parallel.set_threads(number)
            results.append([mind_ssc(scene(shape).float()) for shape in ((37, 20, 25), (61, 47))])
    finally:
        _parallel.set_threads(None)
    for volume, picture in results[1:]:
        assert torch.equal(volume, results[0][0])
        assert torch.equal(picture, results[0][1])
