"""How far two label maps on one grid cover each other."""

from __future__ import annotations

import numpy as np

from coincide.errors import LabelError


def present(labels: np.ndarray) -> np.ndarray:
    """The labels in a map, background 0 left out, sorted.

    Args:
        labels: integer array of any type and shape.

    Raises:
        LabelError: the array does not hold integers.
    """
    flat = _integers(labels).ravel()
    # maps are piecewise constant: where the value changes there are far fewer voxels to sort
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    values = np.unique(np.append(flat[starts], flat[:1]))
    return values[values != 0]


def dice(fixed: np.ndarray, moved: np.ndarray, labels=None) -> dict[int, float]:
    """Dice coefficient of each label, `2·|A ∩ B| / (|A| + |B|)`, 0 for a label that one map lacks.

    Args:
        fixed: integer label map.
        moved: integer label map on the same grid, warped by nearest neighbour where it was warped.
        labels: which labels to score; where left out, those present in both maps.

    Raises:
        LabelError: the maps differ in shape, or do not hold integers.
    """
    fixed, moved = matching(fixed, moved)
    if labels is None:
        labels = np.intersect1d(present(fixed), present(moved))
    in_fixed, in_moved = _counts(fixed), _counts(moved)
    in_both = _counts(fixed[fixed == moved])
    scores = {}
    for label in map(int, labels):
        total = in_fixed.get(label, 0) + in_moved.get(label, 0)
        scores[label] = 2 * in_both.get(label, 0) / total if total else 0.0
    return scores


def matching(fixed: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both label maps in one integer type, so that they can be compared voxel by voxel.

    Raises:
        LabelError: the maps differ in shape, or do not hold integers.
    """
    fixed, moved = _integers(fixed), _integers(moved)
    if fixed.shape != moved.shape:
        raise LabelError(
            f"label maps of shapes {fixed.shape} and {moved.shape} cannot be compared voxel by voxel. "
            "Resample one onto the other's grid by nearest neighbour first."
        )
    common = np.promote_types(fixed.dtype, moved.dtype)
    if common.kind not in "iu":  # uint64 beside a signed type
        common = np.dtype(np.int64)
    return fixed.astype(common, copy=False), moved.astype(common, copy=False)


def _integers(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype == bool:
        return labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise LabelError(f"a label map must hold integers, found {labels.dtype}.")
    return labels


def _counts(labels: np.ndarray) -> dict[int, int]:
    values, numbers = np.unique(labels[labels != 0], return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist()))
