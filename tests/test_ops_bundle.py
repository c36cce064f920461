"""Channels kept together do what the same channels do apart."""

import numpy as np
import pytest
import torch

from coincide.ops.bundle import LANES, UNIT, bundled, bundles, warp_bundle
from coincide.ops.field import warp
from coincide.optimise.pull import Bundled, Plain, pull_of
from coincide.similarity import LNCC, MIND, MSE
from coincide.similarity.mse import SquaredError

SHAPES = [(9, 11, 13), (1, 6, 5), (6, 1, 5), (6, 5, 1)]


def smooth(channels, shape, seed=0):
    values = torch.from_numpy(np.random.default_rng(seed).random((channels, *shape), dtype=np.float32))
    return values.clamp(0, 1).contiguous()


def field(shape, scale=1.5):
    return torch.from_numpy(
        np.random.default_rng(7).standard_normal((3, *shape)).astype(np.float32) * np.float32(scale)
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [9, 12, LANES])
def test_a_warped_bundle_is_the_warped_channels(shape, channels):
    features, u = smooth(channels, shape), field(shape)
    bundle = bundled(features)
    out = np.empty_like(bundle)
    warp_bundle(bundle, u, out)
    found = np.moveaxis(out[..., :channels], -1, 0) / UNIT
    np.testing.assert_allclose(found, warp(features, u), atol=2 / UNIT)
    assert not out[..., channels:].any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_together_they_pull_as_they_do_apart(shape, weighted):
    fixed, moving, u = smooth(12, shape), smooth(12, shape, 1), field(shape)
    weights = smooth(1, shape, 2)[0] if weighted else torch.ones(shape)
    known = (smooth(1, shape, 3)[0] > 0.3) if weighted else None
    together, apart = (c(SquaredError(fixed, weights, unit=True), moving) for c in (Bundled, Plain))
    forces = torch.empty_like(u), torch.empty_like(u)
    values = [pull(u, known, out) for pull, out in zip((together, apart), forces)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    scale = float(forces[1].abs().max())
    np.testing.assert_allclose(forces[0] / scale, forces[1] / scale, atol=1e-3)
    stiff = apart.stiffness()
    np.testing.assert_allclose(together.stiffness() / stiff.max(), stiff / stiff.max(), atol=1e-3)


def test_where_nothing_is_known_nothing_pulls():
    shape = (9, 11, 13)
    pull = Bundled(SquaredError(smooth(12, shape), torch.ones(shape), unit=True), smooth(12, shape, 1))
    out = torch.ones((3, *shape))
    assert pull(field(shape), torch.zeros(shape, dtype=torch.bool), out) == np.inf
    assert not out.any()
    assert np.isfinite(pull(field(shape), None, out))


def test_a_position_that_is_no_number_stays_inside():
    features, u = smooth(12, (5, 5, 5)), torch.full((3, 5, 5, 5), torch.nan)
    bundle = bundled(features)
    warp_bundle(bundle, u, out := np.empty_like(bundle))
    assert (out == bundle[0, 0, 0]).all()


def test_only_what_fits_is_bundled():
    volume = smooth(1, (12, 13, 14))
    for similarity, cls in ((MIND(), Bundled), (LNCC(), Plain), (MSE(), Plain)):
        assert type(pull_of(similarity.prepare(volume), similarity.features(volume))) is cls
    picture = smooth(1, (12, 13))
    assert type(pull_of(MIND().prepare(picture), MIND().features(picture))) is Plain
    assert not bundles(smooth(12, (5, 5, 5)).double())
