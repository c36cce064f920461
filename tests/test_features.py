"""Keypoints lie where they should, look the same when turned, and are matched and agreed on as other tools do."""

import sys

import numpy as np
import pytest
import torch

from coincide.errors import MissingPackageError, OptionError
from coincide.features.akaze import akaze
from coincide.features.blobs import blobs
from coincide.features.harris import harris
from coincide.features.keypoints import Keypoints
from coincide.features.matching import Matching, match, match_near
from coincide.features.orb import orb
from coincide.features.packages import mahotas_surf, opencv
from coincide.features.patches import frames, gradients, likenesses
from coincide.features.picture import as_picture, as_rows
from coincide.features.sift import sift
from coincide.features.surf import surf
from coincide.features.volume import volume_keypoints
from coincide.grid import Grid
from coincide.methods.classical.features_bend import bend
from coincide.optimise.consensus import Consensus, agree, agree_opencv
from coincide.transforms.linear import about, identity, rotation_matrix

DETECTORS = {
    "akaze": lambda picture, mask: akaze(picture, mask, 1500, 2e-4, False),
    "harris": lambda picture, mask: harris(picture, mask, 1500, 0.01, False),
    "orb": lambda picture, mask: orb(picture, mask, 1500, 10, False),
    "sift": lambda picture, mask: sift(picture, mask, 1500, 0.02, False),
    "surf": lambda picture, mask: surf(picture, mask, 500, 0.1),
}


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """A real picture `(I, J)`, 0 to 1, of a size that halves into odd numbers."""
    from skimage import data

    return np.ascontiguousarray(data.camera()[40:331, 60:413].T / 255.0, np.float32)


def found(name: str, values: np.ndarray, mask=None) -> Keypoints:
    mask = np.ones(values.shape, bool) if mask is None else mask
    return DETECTORS[name](as_picture(values, 0), as_rows(mask))


def nearest(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.linalg.norm(places[:, None] - others[None], axis=-1).min(1)


@pytest.mark.parametrize("name", DETECTORS)
def test_keypoints_turn_with_the_picture(name, values):
    plain = found(name, values)
    turned = found(name, np.ascontiguousarray(values[::-1, ::-1]))
    assert len(plain) > 100
    expected = np.array(values.shape) - 1 - plain.index
    deep = ((expected > 25) & (expected < np.array(values.shape) - 26)).all(1)
    apart = nearest(expected[deep], turned.index)
    assert (apart < 0.5).mean() > 0.8
    # no shift between the two, which a picture turned upside down would show twice
    partner = np.linalg.norm(expected[deep][:, None] - turned.index[None], axis=-1).argmin(1)
    close = apart < 1
    assert np.abs((turned.index[partner] - expected[deep])[close].mean(0)).max() < 0.06


@pytest.mark.parametrize("name", DETECTORS)
def test_nothing_is_found_beyond_the_mask_or_in_nothing(name, values):
    mask = np.zeros(values.shape, bool)
    mask[60:200, 50:180] = True
    inner = found(name, values, mask)
    assert len(inner) > 20
    assert ((inner.index > (56, 46)) & (inner.index < (204, 184))).all()
    assert len(found(name, np.full((120, 90), 0.5, np.float32))) == 0


def test_a_blob_is_found_between_pixels():
    place = np.array((61.3, 47.8))
    i, j = np.meshgrid(np.arange(120), np.arange(100), indexing="ij")
    picture = np.exp(-((i - place[0]) ** 2 + (j - place[1]) ** 2) / (2 * 3.0**2)).astype(np.float32)
    for name in ("akaze", "sift", "surf"):
        assert nearest(place[None], found(name, picture).index)[0] < 0.15, name


def test_upright_descriptions_do_not_turn(values):
    picture, rows = as_picture(values, 3.0), as_rows(np.ones(values.shape, bool))
    for detect in (
        lambda p, u: sift(p, rows, 800, 0.02, u),
        lambda p, u: orb(p, rows, 800, 10, u),
        lambda p, u: akaze(p, rows, 800, 2e-4, u),
        lambda p, u: harris(p, rows, 800, 0.01, u),
    ):
        shares = []
        for upright in (False, True):
            a, b = detect(picture, upright), detect(np.ascontiguousarray(picture[::-1, ::-1]), upright)
            pairs, _ = match(a, b, Matching(ratio=1.0))
            expected = np.array(values.shape) - 1 - a.index[pairs[:, 0]]
            shares.append((np.linalg.norm(expected - b.index[pairs[:, 1]], axis=1) < 2).mean())
        assert shares[0] > 0.8
        assert shares[1] < 0.3


def described(number: int, seed: int, bits: bool = False) -> Keypoints:
    rng = np.random.default_rng(seed)
    shape = (number, 32) if bits else (number, 48)
    descriptors = (
        rng.integers(0, 256, shape).astype(np.uint8) if bits else rng.random(shape).astype(np.float32)
    )
    return Keypoints(rng.uniform(0, 100, (number, 2)), np.ones(number), descriptors)


@pytest.mark.parametrize("bits", [False, True])
def test_brute_force_agrees_with_opencv(bits):
    import cv2

    a, b = described(230, 1, bits), described(1300, 2, bits)
    x, y = (
        k.descriptors if bits else k.descriptors / np.linalg.norm(k.descriptors, axis=1, keepdims=True)
        for k in (a, b)
    )
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING if bits else cv2.NORM_L2, crossCheck=True)
    expected = {(m.queryIdx, m.trainIdx) for m in matcher.match(x, y)}
    pairs, ratios = match(a, b, Matching(ratio=1.0))
    ours = {tuple(p) for p in pairs.tolist()}
    # descriptors are compared in whole numbers; ties among bits may be broken either way
    assert len(ours & expected) > (0.8 if bits else 0.97) * len(expected)
    assert (np.diff(ratios) >= 0).all()


@pytest.mark.parametrize("bits", [False, True])
def test_flann_finds_most_of_what_brute_force_finds(bits):
    b = described(900, 2, bits)
    rng = np.random.default_rng(3)
    order = rng.permutation(900)[:400]
    noisy = b.descriptors[order].copy()
    noisy = noisy ^ (rng.random(noisy.shape) < 0.02).astype(np.uint8) if bits else noisy + 0.02
    a = Keypoints(b.index[order], b.size[order], noisy)
    pairs, _ = match(a, b, Matching("flann", ratio=0.9))
    assert (order[pairs[:, 0]] == pairs[:, 1]).all()
    assert len(pairs) > 0.9 * len(match(a, b, Matching(ratio=0.9))[0]) > 300


def test_near_matches_are_those_within_reach():
    a, b = described(150, 4), described(400, 5)
    expected = a.index + 3.0
    pairs, _ = match_near(a, b, expected, 8.0, 1.0)
    apart = np.linalg.norm(expected[:, None] - b.index[None], axis=-1)
    x, y = (k.descriptors / np.linalg.norm(k.descriptors, axis=1, keepdims=True) for k in (a, b))
    unlike = np.where(apart <= 8.0, np.linalg.norm(x[:, None] - y[None], axis=-1), np.inf)
    wanted = {
        (i, j)
        for i, j in enumerate(unlike.argmin(1))
        if np.isfinite(unlike[i, j]) and unlike[:, j].argmin() == i
    }
    assert len(wanted ^ {tuple(p) for p in pairs.tolist()}) <= 2
    assert len(pairs) > 20
    assert len(match_near(a, b, expected + 1000, 8.0, 1.0)[0]) == 0


def doubtful(truth, number: int, share: float, dim: int, noise: float, seed: int = 0):
    """Pairs of points, of which a `share` follow `truth` to `noise` mm and the others nothing."""
    rng = np.random.default_rng(seed)
    source = rng.uniform(-100, 100, (number, dim))
    target = rng.uniform(-100, 100, (number, dim))
    right = rng.random(number) < share
    target[right] = truth(source[right]) + noise * rng.standard_normal((int(right.sum()), dim))
    return source, target, right


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_one_in_five_right_pairs_is_enough(model, dim):
    angles = 130 if dim == 2 else (40, -110, 70)
    linear = rotation_matrix(angles) * (1.0 if model == "rigid" else 0.8)
    if model == "affine":
        linear = linear @ (np.eye(dim) + 0.08 * np.arange(dim * dim).reshape(dim, dim) / dim**2)
    truth = about(linear, np.array((12.0, -7.0, 5.0))[:dim], np.zeros(dim))
    source, target, right = doubtful(truth, 500, 0.2, dim, 0.5)
    found = agree(source, target, model, 10.0, np.full(dim, 200.0), 0, Consensus())
    assert found is not None
    assert found.chance < -30
    assert 0.5 < found.tolerance < 4
    assert (found.inlier[right]).mean() > 0.9
    assert found.inlier[~right].mean() < 0.05
    error = np.linalg.norm(source @ (found.matrix - truth.matrix)[:dim, :dim].T, axis=1).mean()
    assert error < 0.5


def test_agreement_is_as_good_as_that_of_opencv():
    truth = about(1.2 * rotation_matrix(50) @ np.array([[1.05, 0.1], [0, 0.95]]), (3, 4), (0, 0))
    source, target, _ = doubtful(truth, 400, 0.4, 2, 0.3)
    extent = np.full(2, 200.0)
    corners = 100.0 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    errors = []
    for found in (
        agree(source, target, "affine", 10.0, extent, 0, Consensus()),
        agree_opencv(source, target, "affine", 1.5, extent, Consensus("magsac")),
        agree_opencv(source, target, "affine", 1.5, extent, Consensus("ransac")),
    ):
        mapped = corners @ found.matrix[:2, :2].T + found.matrix[:2, 2]
        errors.append(np.linalg.norm(mapped - truth(corners), axis=1).max())
    assert max(errors) < 0.25


def test_chance_is_told_from_agreement():
    worst = []
    for seed in range(10):
        source, target, _ = doubtful(identity(2), 300, 0.0, 2, 0.0, seed)
        found = agree(source, target, "similarity", 8.0, np.full(2, 200.0), 0, Consensus(trials=1000))
        worst.append(0.0 if found is None else found.chance)
    # by its definition at most one in ten would be below −1; now and then one may be
    assert np.sum(np.array(worst) < -1) <= 2
    assert min(worst) > -3
    assert agree(source[:3], target[:3], "similarity", 8.0, np.full(2, 200.0), 0, Consensus()) is None


def test_mirrored_and_stretched_agreement_is_refused():
    mirror = about(np.diag((1.0, -1.0)), (0, 0), (0, 0))
    source, target, _ = doubtful(mirror, 200, 1.0, 2, 0.1)
    found = agree(source, target, "affine", 8.0, np.full(2, 200.0), 0, Consensus())
    assert found is None or found.inlier.mean() < 0.3
    stretched = about(np.diag((1.0, 2.5)), (0, 0), (0, 0))
    source, target, _ = doubtful(stretched, 200, 1.0, 2, 0.1)
    assert agree(source, target, "affine", 8.0, np.full(2, 400.0), 0, Consensus()).inlier.mean() > 0.9
    found = agree(source, target, "affine", 8.0, np.full(2, 400.0), 0, Consensus(stretch=2.0))
    assert found is None or found.inlier.mean() < 0.3


def test_neighbours_bear_out_a_bend():
    def bent(points):
        return points + 5 * np.sin(points[:, ::-1] / 30)

    source, target, right = doubtful(bent, 600, 0.5, 2, 0.2)
    target[~right] = bent(source[~right]) + np.random.default_rng(1).uniform(
        -10, 10, (int((~right).sum()), 2)
    )
    spline, inlier, _ = bend(
        source, target, identity(2), 10.0, Grid.from_spacing((21, 21), 10.0, (-100, -100))
    )
    far = np.linalg.norm(target - bent(source), axis=1) > 3
    assert inlier[right].mean() > 0.85
    assert inlier[far].mean() < 0.05
    inner = np.abs(source).max(1) < 80
    assert np.linalg.norm(spline(source[inner]) - bent(source[inner]), axis=1).mean() < 0.3
    assert bend(source[:10], target[:10], identity(2), 10.0, Grid.from_spacing((5, 5), 10.0)) is None


def balls(shape, places, radius) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return sum(np.exp(-((index - p) ** 2).sum(-1) / (2 * radius**2)) for p in places).astype(np.float32)


def test_balls_are_found_between_voxels_and_at_their_size():
    places = np.array([(18.3, 20.7, 22.1), (40.6, 41.2, 19.6)])
    for radius in (2.5, 4.0):
        levels = blobs(balls((60, 58, 50), places, radius), 0.02)
        index = np.concatenate([level.index * level.factor for level in levels])
        height = np.concatenate([level.height for level in levels])
        sigma = np.concatenate([np.full(len(level.index), level.sigma * level.factor) for level in levels])
        assert nearest(places, index).max() < 0.2
        strongest = np.argsort(-height)[:2]
        assert (np.abs(np.log(sigma[strongest] / radius)) < 0.35).all()
    tube = balls((40, 40, 40), [(20, 20, k) for k in range(40)], 2.5)
    assert not sum(len(level.index) for level in blobs(tube, 0.02))


def test_descriptions_turn_with_a_volume():
    rng = np.random.default_rng(2)
    places = rng.uniform(8, 40, (60, 3))
    values = torch.from_numpy(balls((48, 48, 48), places, 2.0) * np.float32(0.7))
    turned = torch.from_numpy(np.ascontiguousarray(np.rot90(values.numpy(), axes=(0, 1))))
    here = rng.uniform(14, 33, (40, 3))
    # rot90 takes (i, j) to (n − 1 − j, i)
    there = np.stack([47 - here[:, 1], here[:, 0], here[:, 2]], 1)
    upright = np.broadcast_to(np.eye(3), (40, 3, 3))
    own, others = frames(values, here, 1.8), frames(turned, there, 1.8)
    np.testing.assert_allclose(np.linalg.det(own), 1)
    for describe in (gradients, likenesses):
        same = describe(values, here, own, 1.8), describe(turned, there, others, 1.8)
        likeness = [
            cosines(*same),
            cosines(describe(values, here, upright, 1.8), describe(turned, there, upright, 1.8)),
        ]
        assert likeness[0] > 0.95 > 0.85 > likeness[1]


def cosines(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.median((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))


def test_self_similarity_does_not_mind_an_inverted_contrast():
    values = balls((40, 40, 40), np.random.default_rng(3).uniform(5, 35, (40, 3)), 2.0)
    mask = np.ones(values.shape, bool)
    for describe, least in (("mind", 0.98), ("gradient", None)):
        a = volume_keypoints(values, mask, 100, 0.01, True, describe)
        b = volume_keypoints(1 - values, mask, 100, 0.01, True, describe)
        np.testing.assert_allclose(a.index, b.index, atol=1e-3)
        assert (cosines(a.descriptors, b.descriptors) > 0.98) == (least is not None)
    few = volume_keypoints(values, mask, 10, 0.01, True, "mind")
    assert 10 <= len(few) <= 11
    assert (
        len(
            volume_keypoints(np.zeros((20, 20, 20), np.float32), mask[:20, :20, :20], 10, 0.01, False, "mind")
        )
        == 0
    )


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "mahotas.features.surf", None)
    for needed, package in ((opencv, "opencv-python-headless"), (mahotas_surf, "mahotas")):
        with pytest.raises(MissingPackageError, match=rf"{package}.*pip install 'coincide\[features\]'"):
            needed()


def test_an_opencv_without_a_detector_is_told_apart():
    with pytest.raises(MissingPackageError, match="has no XYZ_create; expected a version 4"):
        opencv("XYZ_create")


def test_rules_out_of_range_are_refused():
    for wrong in (
        lambda: Matching(search="brutish"),
        lambda: Matching(ratio=0.0),
        lambda: Matching(ratio=1.2),
        lambda: Consensus(kind="magsak"),
        lambda: Consensus(tolerance=-1.0),
        lambda: Consensus(trials=0),
        lambda: Consensus(stretch=1.0),
    ):
        with pytest.raises(OptionError):
            wrong()


def test_keypoints_must_fit_each_other():
    with pytest.raises(ValueError, match="3 positions, but 2 sizes"):
        Keypoints(np.zeros((3, 2)), np.zeros(2), np.zeros((3, 8)))
