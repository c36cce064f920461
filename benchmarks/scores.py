"""What a displacement is worth: overlap, landmark error, folding, inverse residual. Plain NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import map_coordinates

from benchmarks.geometry import Lattice


def warp_labels(labels: np.ndarray, moving: Lattice, displacement: np.ndarray, fixed: Lattice) -> np.ndarray:
    """`labels` at the mapped voxels of the fixed lattice, by nearest neighbour, 0 outside."""
    index = np.rint(moving.index(fixed.points() + displacement)).astype(np.int64)
    inside = np.all((index >= 0) & (index < moving.shape), axis=-1)
    warped = np.zeros(fixed.shape, labels.dtype)
    warped[inside] = labels[tuple(index[inside].T)]
    return warped


def dice(fixed: np.ndarray, warped: np.ndarray, present: np.ndarray) -> dict[int, float]:
    """Dice of every label in `fixed` that the moving image holds too (`present`); 0 left out."""
    (known, a), (other, b), (common, both) = (
        np.unique(x, return_counts=True) for x in (fixed, warped, fixed[fixed == warped])
    )
    a, b, both = dict(zip(known, a)), dict(zip(other, b)), dict(zip(common, both))
    labels = [v for v in np.intersect1d(known, present) if v != 0]
    return {int(v): float(2 * both.get(v, 0) / (a[v] + b.get(v, 0))) for v in labels}


def at_points(displacement: np.ndarray, fixed: Lattice, points: np.ndarray) -> np.ndarray:
    """The displacement at world `points`, linear between voxels, beyond the outermost that of the border."""
    index = fixed.index(points).T
    return np.stack(
        [map_coordinates(displacement[..., k], index, order=1, mode="nearest") for k in range(fixed.dim)],
        axis=-1,
    )


def landmark_errors(
    displacement: np.ndarray, fixed: Lattice, points: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Distance (mm) of each mapped fixed point to its moving point."""
    return np.linalg.norm(points + at_points(displacement, fixed, points) - target, axis=1)


def summary(errors: np.ndarray) -> dict[str, float]:
    """Mean, median and 90th percentile."""
    return {
        "mean": float(errors.mean()),
        "median": float(np.median(errors)),
        "p90": float(np.percentile(errors, 90)),
    }


def folding(displacement: np.ndarray, fixed: Lattice, mask: np.ndarray | None) -> dict[str, float]:
    """Folding inside `mask`: % of voxels with J ≤ 0, and the smallest J, by several differences.

    `any` looks at all 2^dim combinations of one-sided differences and the central ones. A voxel on the rim,
    where a difference does not exist, does not count in that combination.
    """
    if mask is not None:
        displacement, mask = _boxed(displacement, mask)
    dim, shape = fixed.dim, displacement.shape[:-1]
    counted = np.ones(shape, bool) if mask is None else mask
    inverse = np.linalg.inv(fixed.affine[:-1, :-1])
    forward, backward = [], []
    for axis in range(dim):
        step = (np.diff(displacement, axis=axis) @ inverse.T).astype(np.float32)
        step[..., axis] += 1
        rim = [(0, 0)] * (dim + 1)
        forward.append(np.pad(step, [*rim[:axis], (0, 1), *rim[axis + 1 :]], constant_values=np.nan))
        backward.append(np.pad(step, [*rim[:axis], (1, 0), *rim[axis + 1 :]], constant_values=np.nan))
    central = _determinant([(f + b) / 2 for f, b in zip(forward, backward)])
    lowest = np.full(shape, np.inf, np.float32)
    out = {}
    for choice in product((0, 1), repeat=dim):
        jacobian = _determinant([(forward, backward)[side][axis] for axis, side in enumerate(choice)])
        if not any(choice):
            out["folds_forward_percent"] = _share(jacobian, counted)
            out["min_jacobian"] = float(np.nanmin(np.where(counted, jacobian, np.nan)))
        np.fmin(lowest, jacobian, out=lowest)
    np.fmin(lowest, central, out=lowest)
    out["folds_central_percent"] = _share(central, counted)
    out["folds_any_percent"] = _share(lowest, counted)
    out["min_jacobian_any"] = float(lowest[counted].min())
    return out


def _boxed(displacement: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both cut down to the mask's box with one voxel around it."""
    where = np.nonzero(mask)
    box = tuple(slice(max(int(w.min()) - 1, 0), int(w.max()) + 2) for w in where)
    return displacement[box], mask[box].astype(bool)


def _share(jacobian: np.ndarray, counted: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(100 * np.count_nonzero((jacobian <= 0) & counted) / max(np.count_nonzero(counted), 1))


def _determinant(columns: list[np.ndarray]) -> np.ndarray:
    """Determinant of the matrix whose column `k` (derivative along index axis `k`) is `columns[k]`."""
    if len(columns) == 2:
        a, b = columns
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    a, b, c = columns
    return (
        a[..., 0] * (b[..., 1] * c[..., 2] - b[..., 2] * c[..., 1])
        - a[..., 1] * (b[..., 0] * c[..., 2] - b[..., 2] * c[..., 0])
        + a[..., 2] * (b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0])
    )


def round_trip(
    there, back, lattice: Lattice, other: Lattice, mask: np.ndarray | None, number: int = 50_000
) -> dict:
    """How far `back(there(x))` ends from `x`, over up to `number` voxels that `there` maps into `other`.

    Args:
        there: maps `(number, dim)` points of this lattice's world to the other's, mm.
        back: maps them back.
        mask: voxels of `lattice` to draw from; all where None.
    """
    index = (
        np.argwhere(mask)
        if mask is not None
        else np.stack(np.unravel_index(np.arange(np.prod(lattice.shape)), lattice.shape), -1)
    )
    if len(index) > number:
        index = index[np.random.default_rng(0).choice(len(index), number, replace=False)]
    start = lattice.world(index.astype(float))
    mapped = there(start)
    kept = other.inside(mapped)
    if not kept.any():
        return {"points": 0}
    apart = back(mapped[kept]) - start[kept]
    voxels = np.linalg.norm(apart @ np.linalg.inv(lattice.affine[:-1, :-1]).T, axis=1)
    return {
        "points": int(kept.sum()),
        "mean_mm": float(np.linalg.norm(apart, axis=1).mean()),
        "mean_voxels": float(voxels.mean()),
        "p999_voxels": float(np.percentile(voxels, 99.9)),
        "max_voxels": float(voxels.max()),
    }
