"""Keypoints of volumes: blobs, each described in a frame of its own."""

from __future__ import annotations

from typing import Literal

import numpy as np

from coincide.features.blobs import blobs
from coincide.features.keypoints import Keypoints, inside
from coincide.features.patches import frames, gradients, likenesses

Describe = Literal["gradient", "mind"]


def volume_keypoints(
    values: np.ndarray, mask: np.ndarray, number: int, contrast: float, upright: bool, describe: Describe
) -> Keypoints:
    """The strongest blobs of a volume.

    Args:
        values: `(I, J, K)`, 0 to 1 for nearly all, with voxels that are cubes.
        mask: `(I, J, K)`; where False, nothing is looked for.
        number: the most keypoints.
        contrast: least height of a blob, in the values' units.
        upright: take the volume's own axes as the frame of every description; else a frame that turns with it.
        describe: `"gradient"`, directions of the gradients; `"mind"`, likeness of the surroundings to each other.
    """
    levels = blobs(values, contrast)
    heights = np.concatenate([level.height for level in levels] or [np.zeros(0)])
    least = np.sort(heights)[-number] if len(heights) > number else -np.inf
    describer = {"gradient": gradients, "mind": likenesses}[describe]
    index, size, descriptors = [np.zeros((0, 3))], [np.zeros(0)], [np.zeros((0, 324), np.float32)]
    for level in levels:
        places = level.index[(level.height >= least) & inside(level.index * level.factor, mask)]
        turns = np.broadcast_to(np.eye(3), (len(places), 3, 3))
        turns = turns if upright else frames(level.values, places, level.sigma)
        index.append(places * level.factor)
        size.append(np.full(len(places), 2 * level.sigma * level.factor))
        descriptors.append(describer(level.values, places, turns, level.sigma))
    return Keypoints(np.concatenate(index), np.concatenate(size), np.concatenate(descriptors))
