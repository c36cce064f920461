"""Which keypoint of one image looks like which of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import KDTree

from coincide.features.keypoints import Keypoints
from coincide.features.packages import opencv
from coincide.options import Checked, PositiveShare

Search = Literal["brute", "flann"]
_BLOCK = 1024
_LENGTH = 2000
"""Descriptors are brought to this length in whole numbers: sums of their products are then exact in float32, and the
same in whatever order threads add them."""


@dataclass(frozen=True)
class Matching(Checked):
    """How keypoints are matched.

    Args:
        search: `"brute"` compares all with all; `"flann"` searches trees (bits: hash tables) for most of the nearest,
            which pays beyond some ten thousand keypoints.
        ratio: the nearest must be closer than this share of the distance to the next (Lowe's test); 1 takes all.
        cross: whether each must be the other's nearest.

    Raises:
        OptionError: an unknown search, or a ratio that is not above 0 and at most 1.
    """

    search: Literal["brute", "flann"] = "brute"
    ratio: PositiveShare = 0.95
    cross: bool = True


def match(a: Keypoints, b: Keypoints, matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of keypoints that look alike, the surest first.

    Args:
        a: keypoints of one image.
        b: of the other, with descriptors of the same kind.
        matching: by which rules.

    Returns:
        `(number, 2)` indices into `a` and `b`, and `(number,)` ratios of the nearest distance to the next.
    """
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), int), np.zeros(0)
    partner, first, second, back = _flann(a, b) if matching.search == "flann" else _brute(a, b)
    ratios = _ratios(first, second)
    keep = (partner >= 0) & (ratios <= matching.ratio)
    if matching.cross:
        keep &= back[partner] == np.arange(len(a))
    pairs = np.stack([np.arange(len(a)), partner], 1)[keep]
    return _single(a, b, pairs, ratios[keep])


def match_near(a: Keypoints, b: Keypoints, expected: np.ndarray, reach: float, ratio: float):
    """Pairs of keypoints that look alike and lie where they are expected; each is the other's nearest there.

    Args:
        a: keypoints of one image.
        b: of the other.
        expected: where those of `a` should lie in the other image, `(number, dim)` voxels of it.
        reach: how far from there a partner may lie, voxels.
        ratio: as in `Matching`, among those within reach alone.

    Returns:
        As `match`.
    """
    if not len(a) or not len(b):
        return np.zeros((0, 2), int), np.zeros(0)
    lists = KDTree(b.index).query_ball_point(expected, reach)
    i = np.repeat(np.arange(len(a)), [len(found) for found in lists])
    j = np.array([k for found in lists for k in sorted(found)], int)
    distance = _each(_comparable(a), _comparable(b), i, j)
    by_a, by_b = np.lexsort((j, distance, i)), np.lexsort((i, distance, j))
    best = by_a[np.flatnonzero(np.diff(i[by_a], prepend=-1))]
    follows = np.flatnonzero(np.diff(i[by_a], prepend=-1)) + 1
    rivalled = (follows < len(i)) & (i[by_a[np.minimum(follows, len(i) - 1)]] == i[best])
    second = np.where(rivalled, distance[by_a[np.minimum(follows, len(i) - 1)]], np.inf)
    ratios = _ratios(distance[best], second)
    mutual = np.isin(best, by_b[np.flatnonzero(np.diff(j[by_b], prepend=-1))])
    keep = mutual & (ratios <= ratio)
    return _single(a, b, np.stack([i[best], j[best]], 1)[keep], ratios[keep])


def _each(x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Squared distances of the pairs `(i, j)` of descriptors."""
    parts = [slice(start, start + _BLOCK * 64) for start in range(0, len(i), _BLOCK * 64)]
    return np.concatenate(
        [((x[i[part]] - y[j[part]]) ** 2).sum(1) for part in parts] or [np.zeros(0, np.float32)]
    )


def _ratios(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance of the nearest by that of the next, from their squares: 0 where there is no next, or no nearest."""
    return np.sqrt(
        np.divide(first, second, out=np.zeros_like(first), where=np.isfinite(second) & (second > 0))
    )


def _single(a: Keypoints, b: Keypoints, pairs: np.ndarray, ratios: np.ndarray):
    """Pairs in the order of their ratios; of several at the same two places, as one corner at two scales, the best."""
    order = np.argsort(ratios, kind="stable")
    places = np.hstack([np.round(a.index[pairs[order, 0]]), np.round(b.index[pairs[order, 1]])])
    first = np.sort(np.unique(places, axis=0, return_index=True)[1])
    return pairs[order[first]], ratios[order[first]]


def _comparable(keypoints: Keypoints) -> np.ndarray:
    """Descriptors whose squared distance is exact in float32: whole numbers of one length, or bits as ±1."""
    if keypoints.binary:
        return np.unpackbits(keypoints.descriptors, axis=1).astype(np.float32) * 2 - 1
    values = keypoints.descriptors.astype(np.float64)
    length = np.maximum(np.sqrt(np.einsum("nd,nd->n", values, values)), 1e-12)
    return np.round(values * (_LENGTH / length)[:, None]).astype(np.float32)


def _brute(a: Keypoints, b: Keypoints):
    """For each of `a` the nearest of `b`, the squared distances to it and to the next; for each of `b` its nearest."""
    x, y = _comparable(a), _comparable(b)
    lengths = np.einsum("nd,nd->n", y, y)
    partner, first, second = np.empty(len(a), int), np.empty(len(a)), np.empty(len(a))
    back, least = np.zeros(len(b), int), np.full(len(b), np.inf)
    for start in range(0, len(a), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(a)))
        block = x[rows]
        distance = np.einsum("nd,nd->n", block, block)[:, None] + lengths - 2 * (block @ y.T)
        lowest = distance.argmin(0)
        nearer = (value := np.take_along_axis(distance, lowest[None], 0)[0]) < least
        back[nearer], least[nearer] = lowest[nearer] + start, value[nearer]
        partner[rows] = nearest = distance.argmin(1)
        each = np.arange(len(block))
        first[rows] = distance[each, nearest]
        distance[each, nearest] = np.inf
        second[rows] = distance.min(1)
    return partner, first, second, back


def _flann(a: Keypoints, b: Keypoints):
    """As `_brute` (-1: none), by OpenCV's approximate search."""
    partner, first, second = _flann_one_way(a, b)
    return partner, first, second, _flann_one_way(b, a)[0]


def _flann_one_way(a: Keypoints, b: Keypoints):
    cv2 = opencv()
    cv2.setRNGSeed(1)
    if a.binary:
        index, kind = {"algorithm": 6, "table_number": 12, "key_size": 16, "multi_probe_level": 2}, np.uint8
        x, y = a.descriptors, b.descriptors
    else:
        index, kind = {"algorithm": 1, "trees": 4}, np.float32
        x, y = _comparable(a), _comparable(b)
    found = cv2.FlannBasedMatcher(index, {"checks": 128}).knnMatch(x.astype(kind), y.astype(kind), k=2)
    partner, first, second = np.full(len(a), -1), np.full(len(a), np.inf), np.full(len(a), np.inf)
    for pair in found:
        for best, distances in zip(pair, (first, second)):
            # bits differ by a squared distance of 4 each once they are ±1
            distances[best.queryIdx] = 4 * best.distance if a.binary else best.distance**2
        if pair:
            partner[pair[0].queryIdx] = pair[0].trainIdx
    return partner, first, second
