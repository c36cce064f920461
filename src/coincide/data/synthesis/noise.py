"""Smooth random fields: Gaussian control values on a coarse lattice, a cubic B-spline through them."""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel
from coincide.ops._sample_kernels import cubic_weights

_UNIT = np.sqrt(315 / 151)
"""One over the standard deviation that a cubic B-spline of unit white noise has along an axis, on average."""


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale, channels: int = 1) -> np.ndarray:
    """Random fields of zero mean and unit variance whose features are about `scale` voxels wide.

    Args:
        rng: where the numbers come from.
        shape: of a field.
        scale: voxels between control values, one number or one per axis; up to 1 it is white noise.
        channels: how many fields.

    Returns:
        `(channels, *shape)` float32.
    """
    scales = np.maximum(np.broadcast_to(np.asarray(scale, dtype=np.float64), (len(shape),)), 1.0)
    if scales.max() <= 1:
        return rng.standard_normal((channels, *shape), dtype=np.float32)
    counts = [int((n - 1) / s) + 5 for n, s in zip(shape, scales)]
    field = rng.standard_normal((channels, *counts), dtype=np.float32)
    # where the lattice of control values begins is random too: no voxel is special
    for axis, start in enumerate(rng.uniform(0, 1, len(shape))):
        position = np.arange(shape[axis]) / scales[axis] + start
        field = _refined(field, axis + 1, position)
    return field * np.float32(_UNIT ** len(shape))


def taper(shape: tuple[int, ...], width) -> np.ndarray:
    """A window that is 1 inside and falls smoothly to 0 at the border over `width` voxels, `(*shape)` float32."""
    widths = np.broadcast_to(np.asarray(width, dtype=np.float64), (len(shape),))
    window = np.ones(shape, np.float32)
    for axis, (n, w) in enumerate(zip(shape, widths)):
        distance = np.minimum(np.arange(n), np.arange(n)[::-1])
        t = np.clip(distance / max(w, 1e-6), 0, 1)
        ramp = t * t * (3 - 2 * t)
        window *= ramp.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return window


def _refined(field: np.ndarray, axis: int, position: np.ndarray) -> np.ndarray:
    """The spline along one axis at `position` (control values), the other axes as they are."""
    before, after = int(np.prod(field.shape[:axis])), int(np.prod(field.shape[axis + 1 :]))
    out = np.empty((*field.shape[:axis], len(position), *field.shape[axis + 1 :]), np.float32)
    flat = np.ascontiguousarray(field).reshape(before, field.shape[axis], after)
    _spline(flat, position, out.reshape(before, len(position), after))
    return out


@kernel
def _spline(field, position, out):
    number = len(position)
    base, weights, w = np.empty(number, np.int64), np.empty((number, 4), np.float32), np.empty(4)
    for i in range(number):
        base[i] = int(position[i])
        cubic_weights(position[i] - base[i], w)
        for n in range(4):
            weights[i, n] = w[n]
    for p in range(field.shape[0]):
        for i in range(number):
            k, a, b, c, d = base[i], weights[i, 0], weights[i, 1], weights[i, 2], weights[i, 3]
            for q in range(field.shape[2]):
                out[p, i, q] = (
                    a * field[p, k, q]
                    + b * field[p, k + 1, q]
                    + c * field[p, k + 2, q]
                    + d * field[p, k + 3, q]
                )
