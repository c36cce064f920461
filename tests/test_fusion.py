"""Label fusion: votes against plain loops, and rules that tell a good atlas from a bad one."""

import numpy as np
import pytest
from scipy import ndimage

from coincide.cohort.fusion import FUSIONS, Joint, Local, Majority, fuse
from coincide.errors import OptionError
from coincide.options import build


def scene(dim: int, atlases: int = 4, seed: int = 0):
    """A target with a bright body, and atlases of it that are shifted by a voxel or two, or plainly wrong."""
    rng = np.random.default_rng(seed)
    shape = (22, 19, 16)[:dim]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)

    def body(shift):
        apart = (index - np.array(shape) / 2 - shift) / (np.array(shape) / 3.2)
        inside = np.linalg.norm(apart, axis=-1) < 1
        upper = inside & (index[..., 0] - shift[0] > shape[0] / 2)
        return np.where(upper, 614454277, np.where(inside, 3, 0)), 0.4 * inside + 0.4 * upper

    truth, picture = body(np.zeros(dim))
    images, labels = [], []
    for shift in rng.integers(-2, 3, (atlases, dim)):
        name, grey = body(shift)
        labels.append(name)
        images.append((grey + 0.02 * rng.standard_normal(shape)).astype(np.float32))
    target = (picture + 0.02 * rng.standard_normal(shape)).astype(np.float32)
    return target, images, labels, [np.ones(shape, bool)] * atlases, truth


@pytest.mark.parametrize("dim", [2, 3])
def test_a_majority_is_a_majority(dim):
    target, images, labels, known, _ = scene(dim, 5)
    fused, share = fuse(target, images, labels, known, Majority(smooth=0))
    stack = np.stack(labels)
    for place in np.ndindex(target.shape):
        names, votes = np.unique(stack[(slice(None), *place)], return_counts=True)
        assert fused[place] == names[votes.argmax()]  # the lowest of those that tie
        assert share[place] == pytest.approx(votes.max() / 5)
    assert fused.dtype == labels[0].dtype


def patch(image, place, radius):
    """The values round a place, of mean zero and length one; the border's go on outside."""
    wide = np.pad(image.astype(float), radius, mode="edge")
    values = wide[tuple(slice(p, p + 2 * radius + 1) for p in place)].ravel()
    values = values - values.mean()
    return values / np.linalg.norm(values)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    "rule",
    [Joint(0, search=0), Local(0, search=0), Joint(0, radius=1, search=0, sharpness=1.5)],
)
def test_weights_are_those_of_the_formula(dim, rule):
    target, images, labels, known, _ = scene(dim)
    fused, share = fuse(target, images, labels, known, rule)
    stack, tried = np.stack(labels), 0
    for place in np.random.default_rng(1).permutation(list(np.ndindex(target.shape)))[:150]:
        at = tuple(place)
        if len(set(stack[(slice(None), *at)])) == 1:
            assert share[at] == 1
            continue
        wanted = patch(target, at, rule.radius)
        apart = np.abs([wanted - patch(image, at, rule.radius) for image in images])
        if isinstance(rule, Local):
            weights = ((apart**2).sum(1) + 0.02) ** -rule.power
        else:
            matrix = (apart @ apart.T) ** rule.sharpness
            matrix += (rule.ridge * np.trace(matrix) / len(matrix) + 1e-9) * np.eye(len(matrix))
            weights = np.maximum(np.linalg.solve(matrix, np.ones(len(matrix))), 0)
        votes = {name: weights[stack[(slice(None), *at)] == name].sum() for name in stack[(slice(None), *at)]}
        assert share[at] == pytest.approx(max(votes.values()) / weights.sum(), abs=1e-4)
        assert votes[fused[at]] == pytest.approx(max(votes.values()), rel=1e-4)
        tried += 1
    assert tried > 20


@pytest.mark.parametrize("dim", [2, 3])
def test_atlases_vote_for_what_lies_round_a_place_too(dim):
    """Shares of a majority are those of the labels' maps, smoothed by a Gaussian that ends two voxels out."""
    target, images, labels, known, _ = scene(dim, 5)
    sigma = 1.0
    fused, share = fuse(target, images, labels, known, Majority(smooth=sigma))
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * dim, indexing="ij"))
    kernel = np.exp(-(grid**2).sum(0) / (2 * sigma**2)) * ((grid**2).sum(0) <= 4)
    names, stack = np.unique(labels), np.stack(labels)
    votes = np.stack(
        [ndimage.correlate((stack == n).mean(0), kernel / kernel.sum(), mode="nearest") for n in names]
    )
    split = (stack != stack[0]).any(0)
    assert split.sum() > 30
    np.testing.assert_allclose(share[split], votes.max(0)[split], atol=1e-5)
    clear = split & (np.diff(np.sort(votes, 0)[-2:], axis=0)[0] > 1e-6)
    np.testing.assert_array_equal(fused[clear], names[votes.argmax(0)][clear])
    np.testing.assert_array_equal(fused[~split], labels[0][~split])


@pytest.mark.parametrize("spec", ["joint:search=0,ridge=0.1", "local:search=0,power=2"])
def test_an_atlas_that_looks_right_outvotes_those_that_do_not(spec):
    target, images, labels, known, truth = scene(3)
    # one atlas is right, the others are alike and wrong: a majority has no chance
    shifted = np.roll(truth, 3, axis=0), np.roll(target, 3, axis=0)
    noise = np.random.default_rng(5).standard_normal((4, *target.shape)) * 0.01
    images = [target + noise[0].astype(np.float32), *(shifted[1] + n.astype(np.float32) for n in noise[1:])]
    labels = [truth, *[shifted[0]] * 3]
    fused, share = fuse(target, images, labels, known, build("fusion", spec, FUSIONS))
    wrong, _ = fuse(target, images, labels, known, Majority())
    assert (fused == truth).mean() > 0.97
    assert (wrong == truth).mean() < 0.9
    assert share.min() > 0


@pytest.mark.parametrize("name", ["joint", "local"])
def test_a_search_makes_good_a_small_shift(name):
    target, _, _, known, truth = scene(3)
    index = [np.roll(np.arange(n), 1) for n in target.shape]
    images = [target, *[target[np.ix_(*index)]] * 2]
    labels = [np.zeros_like(truth), *[truth[np.ix_(*index)]] * 2]
    found = {
        search: fuse(target, images[1:], [labels[1], np.roll(labels[2], 1, 0)], known[:2],
                     build("fusion", f"{name}:search={search}", FUSIONS))[0]
        for search in (0, 2)
    }  # fmt: skip
    assert (found[2] == truth).mean() > (found[0] == truth).mean() + 0.02


def test_where_an_atlas_is_not_known_it_has_no_vote():
    target, images, labels, known, _ = scene(2, 3)
    known = [np.ones(target.shape, bool) for _ in range(3)]
    known[0][:11] = False
    for layer in known:
        layer[:, :2] = False
    fused, share = fuse(target, images, labels, known, Majority(smooth=0))
    both = labels[1][:11, 2:] == labels[2][:11, 2:]
    np.testing.assert_array_equal(fused[:11, 2:][both], labels[1][:11, 2:][both])
    assert share[:11, 2:][~both] == pytest.approx(0.5)
    assert not fused[:, :2].any()
    assert not share[:, :2].any()


def test_slabs_do_not_show(monkeypatch):
    target, images, labels, known, _ = scene(3)
    whole = fuse(target, images, labels, known, Joint())
    monkeypatch.setattr("coincide.cohort.fusion._BLOCK", 1)
    parts = fuse(target, images, labels, known, Joint())
    for a, b in zip(whole, parts):
        np.testing.assert_array_equal(a, b)


def test_types_without_a_common_one_are_brought_together():
    target, images, labels, known, _ = scene(2, 2)
    known[1] = np.zeros(target.shape, bool)
    fused, _ = fuse(
        target, images, [labels[0].astype(np.uint64), labels[1].astype(np.int8)], known, Majority()
    )
    assert fused.dtype == np.int64
    assert 614454277 in fused


@pytest.mark.parametrize(
    "spec",
    [
        "joint:radius=0",
        "joint:search=9",
        "joint:ridge=0",
        "joint:sharpness=-1",
        "local:power=0",
        "majority:smooth=3",
        "staple",
    ],
)
def test_odd_options_are_refused(spec):
    with pytest.raises(OptionError):
        build("fusion", spec, FUSIONS)
