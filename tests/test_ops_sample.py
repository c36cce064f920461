"""Sampling between voxels: held to scipy and SimpleITK; kernels to the reference, slopes to differences."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from coincide.ops.sample import bspline_coefficients, sample, sample_affine, sample_reference, sampler

SHAPES = [(9, 7), (8, 9, 7)]
THIN = [(6, 1), (1, 6), (1, 1), (5, 1, 4), (1, 5, 4), (5, 4, 1), (1, 1, 6), (1, 1, 1)]
BIG_LABEL = 614454277  # float32 turns it into …272


def values(shape, channels=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((channels, *shape), generator=generator, dtype=torch.float64).to(dtype)


def inner(shape, number=200, seed=1):
    """Positions strictly between the outermost voxel centres."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(0.01, 0.99, (len(shape), number)) * (np.array(shape)[:, None] - 1))


def around(shape, number=400, seed=2):
    """Positions inside and up to three voxels outside."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(-3, np.array(shape)[:, None] + 2, (len(shape), number)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "order"), [("linear", 1), ("cubic", 3)])
def test_inside_it_is_what_scipy_says(shape, mode, order):
    image, index = values(shape), inner(shape)
    expected = [map_coordinates(c.double().numpy(), index.numpy(), order=order, mode="mirror") for c in image]
    np.testing.assert_allclose(sample(image, index, mode), expected, atol=2e-5)
    precise = values(shape, dtype=torch.float64)
    expected = [map_coordinates(c.numpy(), index.numpy(), order=order, mode="mirror") for c in precise]
    np.testing.assert_allclose(sample(precise, index, mode), expected, atol=1e-9)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_simpleitk_samples_the_same(mode):
    shape, index = (8, 9, 7), inner((8, 9, 7), 60)
    image = values(shape, channels=1)
    theirs = sitk.GetImageFromArray(np.ascontiguousarray(image[0].numpy().T))
    how = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}[mode]
    expected = [
        theirs.EvaluateAtContinuousIndex(p, sitk.sitkBSpline if mode == "cubic" else how)
        for p in index.T.tolist()
    ]
    np.testing.assert_allclose(sample(image, index, mode)[0], expected, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES + THIN)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", ["zero", "edge"])
def test_kernels_are_the_reference(shape, mode, outside):
    image, index = values(shape), around(shape)
    source = bspline_coefficients(image) if mode == "cubic" else image
    expected = sample_reference(source.double(), index, mode, outside)
    compiled = sample(image, index, mode, outside)
    assert compiled.dtype == torch.float32
    np.testing.assert_allclose(compiled, expected, atol=3e-5)


@pytest.mark.parametrize("shape", [*SHAPES, (5, 1, 4), (1, 1)])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic", "label"])
def test_outside_begins_half_a_voxel_past_the_last_centre(shape, mode):
    image = torch.ones((1, *shape), dtype=torch.int32 if mode == "label" else torch.float32)
    for axis, n in enumerate(shape):
        for position, is_in in [(-0.49, True), (-0.51, False), (n - 0.51, True), (n - 0.49, False)]:
            index = torch.full((len(shape), 1), 0.0, dtype=torch.float64)
            index[axis] = position
            assert sample(image, index, mode, "zero").item() == pytest.approx(float(is_in))
            assert sample(image, index, mode, "edge").item() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_past_the_border_the_edge_goes_on(shape):
    image, index = values(shape), around(shape)
    clamped = torch.stack([x.clamp(0, n - 1) for x, n in zip(index, shape)])
    for mode in ("linear", "cubic"):
        np.testing.assert_allclose(
            sample(image, index, mode, "edge"), sample(image, clamped, mode, "edge"), atol=1e-6
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest", "label"])
@pytest.mark.parametrize("outside", ["zero", "edge"])
def test_a_position_that_is_no_number_reads_nothing_wild(shape, mode, outside):
    image = torch.full((1, *shape), 7, dtype=torch.int32 if mode == "label" else torch.float32)
    index = torch.zeros((len(shape), 3), dtype=torch.float64)
    index[0, 0], index[-1, 1] = float("nan"), float("nan")
    index[:, 2] = float("inf")
    found = sample(image, index, mode, outside)[0]
    assert set(found.double().round().tolist()) <= {0.0, 7.0}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_slopes_are_those_of_finite_differences(shape, mode):
    image = values(shape, channels=1, dtype=torch.float64)
    # linear interpolation has a corner at each voxel: stay away from them
    index = (
        inner(shape, 30).floor() + 0.3 + 0.4 * torch.rand((len(shape), 30), dtype=torch.float64)
    ).requires_grad_()
    leaf = image.clone().requires_grad_()
    for outside in ("zero", "edge"):
        assert torch.autograd.gradcheck(
            lambda x, i, o=outside: sample_reference(x, i, mode, o), (leaf, index)
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_at_the_voxels_every_mode_gives_the_voxels(shape):
    image = values(shape)
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"))
    for mode in ("linear", "nearest", "cubic"):
        np.testing.assert_allclose(sample(image, index, mode), image, atol=2e-6)


LABEL_TYPES = [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64]


@pytest.mark.parametrize("dtype", LABEL_TYPES)
@pytest.mark.parametrize("mode", ["nearest", "label"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outside", ["zero", "edge"])
def test_labels_keep_their_type_and_no_label_is_made_up(dtype, mode, shape, outside):
    top = {torch.uint8: 200, torch.int16: 30001, torch.uint16: 60001}.get(dtype, BIG_LABEL)
    kinds = np.array([3, 17, 90, top - 1, top])
    picked = np.random.default_rng(0).choice(kinds, (1, *shape))
    labels = torch.from_numpy(picked.astype(str(dtype).removeprefix("torch.")))
    found = sample(labels, around(shape), mode, outside)
    assert found.dtype == dtype
    allowed = set(kinds.tolist()) | ({0} if outside == "zero" else set())
    assert set(np.unique(found.numpy()).tolist()) <= allowed
    assert top in found.numpy()
    if outside == "zero":
        assert 0 in found.numpy()


def test_the_smooth_label_is_the_one_with_the_largest_share():
    rng = np.random.default_rng(3)
    shape = (6, 7, 5)
    labels = rng.integers(0, 4, (1, *shape)).astype(np.int32)
    index = inner(shape, 300)
    shares = np.stack(
        [map_coordinates((labels[0] == n).astype(float), index.numpy(), order=1) for n in range(4)]
    )
    # where two are next to equal, either is right
    top = np.sort(shares, axis=0)
    clear = top[-1] - top[-2] > 1e-6
    found = sample(torch.from_numpy(labels), index, "label")[0].numpy()
    assert clear.sum() > 250
    np.testing.assert_array_equal(found[clear], shares.argmax(0)[clear])


def test_halves_go_the_same_way_at_every_voxel():
    index = torch.tensor([[0.5, 1.5, 2.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
    image = torch.arange(5.0)[None, :, None].expand(1, 5, 2)
    assert sample(image, index, "nearest")[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("shape", [*SHAPES, (5, 1, 4), (1, 6)])
@pytest.mark.parametrize("outside", ["zero", "edge"])
def test_a_matrix_samples_as_its_positions_do(shape, outside):
    dim, out = len(shape), (6, 5, 7)[: len(shape)]
    rng = np.random.default_rng(4)
    matrix = np.concatenate(
        [np.eye(dim) + 0.3 * rng.standard_normal((dim, dim)), rng.normal(size=(dim, 1))], 1
    )
    lattice = np.stack(np.meshgrid(*(np.arange(n) for n in out), indexing="ij"), -1)
    index = torch.from_numpy(np.moveaxis(lattice @ matrix[:, :dim].T + matrix[:, dim], -1, 0).copy())
    image = values(shape)
    expected = sample(image.double(), index, "linear", outside)
    np.testing.assert_allclose(sample_affine(image, matrix, out, outside), expected, atol=2e-5)
    np.testing.assert_allclose(sample_affine(image.double(), matrix, out, outside), expected, atol=1e-12)


def test_a_sampler_may_be_asked_again():
    image = values((8, 9, 7))
    for mode in ("linear", "nearest", "cubic"):
        ask = sampler(image, mode)
        for seed in (1, 2):
            index = inner((8, 9, 7), seed=seed)
            assert torch.equal(ask(index), sample(image, index, mode))


def test_positions_of_another_dimension_are_refused():
    for mode in ("linear", "nearest", "cubic", "label"):
        image = torch.ones((1, 4, 5), dtype=torch.int32 if mode == "label" else torch.float32)
        with pytest.raises(ValueError, match="does not fit a 2-D image"):
            sample(image, torch.zeros((3, 4)), mode)


def test_gradients_flow_where_a_network_asks_for_them():
    image = values((6, 5, 4)).requires_grad_()
    index = inner((6, 5, 4), 20).float().requires_grad_()
    sample(image, index).square().sum().backward()
    assert image.grad.abs().sum() > 0
    assert index.grad.abs().sum() > 0
    # an image that asks for nothing, at positions that do
    index.grad = None
    sample(image.detach(), index).square().sum().backward()
    assert index.grad.abs().sum() > 0
