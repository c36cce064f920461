"""Compiled loops of label fusion: a voxel at a time, all atlases at once."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

MAJORITY, LOCAL, JOINT = 0, 1, 2


@njit(cache=True, inline="always")
def _within(index, number):
    return min(max(index, 0), number - 1)


@njit(cache=True)
def _patch(image, i, j, k, radius, values):
    """The values round a voxel, of mean zero and length one; what is flat becomes zeros."""
    at, total = 0, 0.0
    for a in range(-radius[0], radius[0] + 1):
        ia = _within(i + a, image.shape[0])
        for b in range(-radius[1], radius[1] + 1):
            jb = _within(j + b, image.shape[1])
            for c in range(-radius[2], radius[2] + 1):
                value = image[ia, jb, _within(k + c, image.shape[2])]
                values[at] = value
                total += value
                at += 1
    mean, square = total / at, 0.0
    for n in range(at):
        values[n] -= mean
        square += values[n] * values[n]
    scale = 1.0 / np.sqrt(square) if square > 1e-6 * at else 0.0
    for n in range(at):
        values[n] *= scale


@njit(cache=True)
def _nearest_patch(image, offsets, i, j, k, radius, wanted, trial, best):
    """The offset whose patch is most like `wanted`, and that patch in `best`."""
    highest, chosen = -2.0, 0
    for n in range(offsets.shape[0]):
        a = _within(i + offsets[n, 0], image.shape[0])
        b = _within(j + offsets[n, 1], image.shape[1])
        c = _within(k + offsets[n, 2], image.shape[2])
        _patch(image, a, b, c, radius, trial)
        alike = 0.0
        for p in range(len(wanted)):
            alike += wanted[p] * trial[p]
        if alike > highest + 1e-6:
            highest, chosen = alike, n
            best[:] = trial
    return chosen


@njit(cache=True)
def _joint_weights(apart, sharpness, ridge, weights):
    """Weights of the least expected error, from how the atlases' errors go together; none below zero."""
    number = len(apart)
    matrix = np.empty((number, number))
    for a in range(number):
        for b in range(a + 1):
            product = 0.0
            for p in range(apart.shape[1]):
                product += apart[a, p] * apart[b, p]
            matrix[a, b] = matrix[b, a] = product**sharpness
    mean = 0.0
    for a in range(number):
        mean += matrix[a, a] / number
    for a in range(number):
        matrix[a, a] += ridge * mean + 1e-9
    solved = np.linalg.solve(matrix, np.ones(number))
    for a in range(number):
        weights[a] = max(solved[a], 0.0)


@njit(cache=True)
def _gather(labels, known, at, around, near, weight, names, votes, number):
    """Add an atlas's votes for the labels round a voxel to those there are; how many names there are then."""
    for n in range(len(near)):
        x = _within(at[0] + around[n, 0], labels.shape[0])
        y = _within(at[1] + around[n, 1], labels.shape[1])
        z = _within(at[2] + around[n, 2], labels.shape[2])
        if not known[x, y, z]:
            continue
        place = 0
        while place < number and names[place] != labels[x, y, z]:
            place += 1
        if place == number:
            names[place], votes[place] = labels[x, y, z], 0.0
            number += 1
        votes[place] += weight * near[n]
    return number


@njit(cache=True)
def _winner(names, votes, number):
    """The name with the most votes, the lowest of those that tie, and its share of them all."""
    total, most, winner = 0.0, -1.0, names[0]
    for n in range(number):
        total += votes[n]
        if votes[n] > most + 1e-12 or (votes[n] > most - 1e-12 and names[n] < winner):
            most, winner = votes[n], names[n]
    return winner, most / total if total > 0 else 0.0


@njit(cache=True, parallel=True)
def fuse_voxels(
    places,
    target,
    images,
    labels,
    known,
    radius,
    offsets,
    around,
    near,
    kind,
    sharpness,
    ridge,
    winner,
    share,
):
    """Vote at `places`, each voxel by its own weights.

    Args:
        places: `(number, 3)` voxels.
        target: `(I, J, K)`.
        images: `(atlas, I, J, K)` on the target's grid.
        labels: `(atlas, I, J, K)` likewise, whole numbers.
        known: `(atlas, I, J, K)` where each atlas says anything.
        radius: of the patches, `(3,)`.
        offsets: `(number, 3)` that are searched, the nearest first.
        around: `(number, 3)` offsets whose labels each atlas votes for, the voxel itself first.
        near: `(number,)` how much each of them counts.
        kind: `MAJORITY`, `LOCAL` or `JOINT`.
        sharpness: exponent of the weights.
        ridge: share of the mean error that the joint weights do not trust.
        winner: `(number,)` to hold the labels.
        share: `(number,)` to hold their share of the weights.
    """
    number = len(images)
    size = (2 * radius[0] + 1) * (2 * radius[1] + 1) * (2 * radius[2] + 1)
    for n in prange(len(places)):
        i, j, k = places[n]
        wanted, trial, best = np.empty(size), np.empty(size), np.empty(size)
        apart = np.zeros((number, size))
        weights, at = np.ones(number), np.empty((number, 3), np.int64)
        there = np.empty(number, np.bool_)
        if kind != MAJORITY:
            _patch(target, i, j, k, radius, wanted)
        for a in range(number):
            x, y, z = i, j, k
            if kind != MAJORITY:
                chosen = _nearest_patch(images[a], offsets, i, j, k, radius, wanted, trial, best)
                x = _within(i + offsets[chosen, 0], target.shape[0])
                y = _within(j + offsets[chosen, 1], target.shape[1])
                z = _within(k + offsets[chosen, 2], target.shape[2])
                square = 0.0
                for p in range(size):
                    apart[a, p] = abs(wanted[p] - best[p])
                    square += apart[a, p] * apart[a, p]
                weights[a] = 1.0 / (square + ridge) ** sharpness
            at[a, 0], at[a, 1], at[a, 2] = x, y, z
            there[a] = known[a, x, y, z]
        if kind == JOINT:
            _joint_weights(apart, sharpness, ridge, weights)
            total = 0.0
            for a in range(number):
                total += weights[a] if there[a] else 0.0
            if total <= 0:
                weights[:] = 1.0
        names, votes = np.empty(number * len(near), labels.dtype), np.empty(number * len(near))
        found = 0
        for a in range(number):
            if there[a]:
                found = _gather(labels[a], known[a], at[a], around, near, weights[a], names, votes, found)
        winner[n], share[n] = _winner(names, votes, found) if found > 0 else (labels.dtype.type(0), 0.0)
