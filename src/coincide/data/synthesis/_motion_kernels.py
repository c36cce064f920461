"""Compiled: where places come from under a displacement field; what it does is said in `motion.py`."""

from __future__ import annotations

import numpy as np

from coincide.ops._field_kernels import _solve_3d, _value_and_matrix_3d
from coincide.ops._parallel import kernel

_QUADRATIC = 0.02**2
"""Squared residual (voxels) from which a Newton step ends within a thousandth of a voxel, unchecked."""


@kernel
def preimages(field, target, out):
    """Newton's method on `x + u(x) = target` in voxels, from where the neighbour's solution leads."""
    x, best, r = np.zeros(3), np.zeros(3), np.empty(3)
    value, matrix = np.empty(3), np.empty((3, 3))
    for p in range(target.shape[1]):
        for d in range(3):
            x[d] = target[d, p] if p == 0 else best[d] + target[d, p] - target[d, p - 1]
        least = 1e30
        for step in range(30):
            _value_and_matrix_3d(field, x, value, matrix)
            error = 0.0
            for d in range(3):
                r[d] = target[d, p] - x[d] - value[d]
                error += r[d] * r[d]
            if error < least:
                least = error
                for d in range(3):
                    best[d] = x[d]
            # a plain step now and then leaves the cycles that Newton's can run into
            solved = step % 6 != 5 and _solve_3d(matrix, r)
            if error < _QUADRATIC and solved:
                for d in range(3):
                    best[d] = x[d] + r[d]
                break
            length = np.sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
            shrink = min(1.0, 2.0 / max(length, 1e-12)) * (1.0 if step < 10 else 0.6)
            for d in range(3):
                x[d] += shrink * r[d]
        for d in range(3):
            out[d, p] = best[d]
