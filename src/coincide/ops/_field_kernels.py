"""Compiled field operations, 2-D and 3-D; what each does is said in `field.py`."""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel
from coincide.ops._sample_kernels import split

_SHORT = np.float32(0.5)
"""Steps, as the sum of their three components in voxels, for which mixed differences come to little: their share is
a sixteenth at most, and the field's smoothing keeps them small. On brains, hands and lungs nothing changes."""
_QUADRATIC = 0.03**2
"""Squared residual (voxels) from which a Newton step ends within two thousandths of a voxel, unchecked."""


@kernel
def _warp_3d(low, high, image, field, scale, add, stretch, out):
    channels, ni, nj, nk = image.shape
    s = np.float32(scale)
    for u in range(low, high):
        for v in range(field.shape[2]):
            first, last = 0, field.shape[3]
            if stretch.size > 0:
                first, last = stretch[0, u, v], stretch[1, u, v]
            for w in range(first, last):
                dx, dy, dz = s * field[0, u, v, w], s * field[1, u, v, w], s * field[2, u, v, w]
                # in this order a NaN ends at 0: no index may ever come from one
                x = min(max(np.float32(0), np.float32(u) + dx), np.float32(ni - 1))
                y = min(max(np.float32(0), np.float32(v) + dy), np.float32(nj - 1))
                z = min(max(np.float32(0), np.float32(w) + dz), np.float32(nk - 1))
                i, j, k = int(x), int(y), int(z)
                a, b, c = x - np.float32(i), y - np.float32(j), z - np.float32(k)
                i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
                for n in range(channels):
                    v00 = image[n, i, j, k] + (image[n, i, j, k1] - image[n, i, j, k]) * c
                    v01 = image[n, i, j1, k] + (image[n, i, j1, k1] - image[n, i, j1, k]) * c
                    v10 = image[n, i1, j, k] + (image[n, i1, j, k1] - image[n, i1, j, k]) * c
                    v11 = image[n, i1, j1, k] + (image[n, i1, j1, k1] - image[n, i1, j1, k]) * c
                    v0 = v00 + (v01 - v00) * b
                    v1 = v10 + (v11 - v10) * b
                    value = v0 + (v1 - v0) * a
                    if add:
                        value += s * field[n, u, v, w]
                    out[n, u, v, w] = value


@kernel
def _nudge_3d(low, high, outer, inner, scale, out):
    """Composition with steps of at most one voxel an axis: three neighbours suffice, and rows run as vectors.

    Rows of short steps look at the six nearest neighbours only, and leave the mixed differences out.
    """
    _, ni, nj, nk = outer.shape
    s, one, zero = np.float32(scale), np.float32(1), np.float32(0)
    w, share = np.empty((3, 3, nk), np.float32), np.empty(nk, np.float32)
    total, line = np.empty((3, nk), np.float32), np.empty(nk + 2, np.float32)
    for u in range(low, high):
        for v in range(nj):
            moved = zero
            for n in range(3):
                for k in range(nk):
                    d = s * inner[n, u, v, k]
                    w[n, 0, k], w[n, 1, k], w[n, 2, k] = max(-d, zero), one - abs(d), max(d, zero)
                    total[n, k] = d
            for k in range(nk):
                share[k] = (w[0, 1, k] + w[1, 1, k]) + (w[2, 1, k] - np.float32(2))
            for k in range(nk):
                moved = max(moved, one - share[k])
            i0, i1, j0, j1 = max(u - 1, 0), min(u + 1, ni - 1), max(v - 1, 0), min(v + 1, nj - 1)
            if moved <= _SHORT:
                for n in range(3):
                    _padded(outer[n, u, v], line)
                    if moved > 0:
                        before, after = line[:nk], line[2:]
                        for k in range(nk):
                            total[n, k] += (
                                w[0, 0, k] * outer[n, i0, v, k] + w[0, 2, k] * outer[n, i1, v, k]
                            ) + (w[1, 0, k] * outer[n, u, j0, k] + w[1, 2, k] * outer[n, u, j1, k])
                        for k in range(nk):
                            total[n, k] += (w[2, 0, k] * before[k] + w[2, 2, k] * after[k]) + share[
                                k
                            ] * outer[n, u, v, k]
                        for k in range(nk):
                            out[n, u, v, k] = total[n, k]
                    else:
                        for k in range(nk):
                            out[n, u, v, k] = outer[n, u, v, k]
                continue
            for a in range(3):
                i = (i0, u, i1)[a]
                for b in range(3):
                    j = (j0, v, j1)[b]
                    for k in range(nk):
                        share[k] = w[0, a, k] * w[1, b, k]
                    for n in range(3):
                        _padded(outer[n, i, j], line)
                        before, at, after = line[:nk], line[1:], line[2:]
                        for k in range(nk):
                            total[n, k] += share[k] * (
                                w[2, 0, k] * before[k] + w[2, 1, k] * at[k] + w[2, 2, k] * after[k]
                            )
            for n in range(3):
                for k in range(nk):
                    out[n, u, v, k] = total[n, k]


@kernel
def _padded(row, line):
    """`row` with its end values once more at either end, in `line`."""
    n = len(row)
    for k in range(n):
        line[k + 1] = row[k]
    line[0], line[n + 1] = row[0], row[n - 1]


@kernel
def _warp_2d(low, high, image, field, scale, add, stretch, out):  # noqa: ARG001 - as in 3-D
    channels, ni, nj = image.shape
    s = np.float32(scale)
    for u in range(low, high):
        for v in range(field.shape[2]):
            x = min(max(np.float32(0), np.float32(u) + s * field[0, u, v]), np.float32(ni - 1))
            y = min(max(np.float32(0), np.float32(v) + s * field[1, u, v]), np.float32(nj - 1))
            i, j = int(x), int(y)
            a, b = x - np.float32(i), y - np.float32(j)
            i1, j1 = min(i + 1, ni - 1), min(j + 1, nj - 1)
            for n in range(channels):
                v0 = image[n, i, j] + (image[n, i, j1] - image[n, i, j]) * b
                v1 = image[n, i1, j] + (image[n, i1, j1] - image[n, i1, j]) * b
                value = v0 + (v1 - v0) * a
                if add:
                    value += s * field[n, u, v]
                out[n, u, v] = value


@kernel
def _solve_3d(m, r):
    """The solution of the 3x3 system `m x = r`, in `r`; False where the matrix is all but singular."""
    c00 = m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1]
    c01 = m[1, 2] * m[2, 0] - m[1, 0] * m[2, 2]
    c02 = m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0]
    det = m[0, 0] * c00 + m[0, 1] * c01 + m[0, 2] * c02
    if abs(det) < 1e-3:
        return False
    c10 = m[0, 2] * m[2, 1] - m[0, 1] * m[2, 2]
    c11 = m[0, 0] * m[2, 2] - m[0, 2] * m[2, 0]
    c12 = m[0, 1] * m[2, 0] - m[0, 0] * m[2, 1]
    c20 = m[0, 1] * m[1, 2] - m[0, 2] * m[1, 1]
    c21 = m[0, 2] * m[1, 0] - m[0, 0] * m[1, 2]
    c22 = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    x = (c00 * r[0] + c10 * r[1] + c20 * r[2]) / det
    y = (c01 * r[0] + c11 * r[1] + c21 * r[2]) / det
    z = (c02 * r[0] + c12 * r[1] + c22 * r[2]) / det
    r[0], r[1], r[2] = x, y, z
    return True


@kernel
def _value_and_matrix_3d(field, x, value, matrix):
    """Displacement at `x` and the Jacobian matrix of `x + u(x)`; outside the lattice the border's value goes on."""
    _, ni, nj, nk = field.shape
    i, a = split(x[0], ni)
    j, b = split(x[1], nj)
    k, c = split(x[2], nk)
    i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
    in_i, in_j, in_k = 0 <= x[0] <= ni - 1, 0 <= x[1] <= nj - 1, 0 <= x[2] <= nk - 1
    for n in range(3):
        f = field[n]
        v00 = f[i, j, k] + (f[i, j, k1] - f[i, j, k]) * c
        v01 = f[i, j1, k] + (f[i, j1, k1] - f[i, j1, k]) * c
        v10 = f[i1, j, k] + (f[i1, j, k1] - f[i1, j, k]) * c
        v11 = f[i1, j1, k] + (f[i1, j1, k1] - f[i1, j1, k]) * c
        v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
        value[n] = v0 + (v1 - v0) * a
        d0 = (f[i, j, k1] - f[i, j, k]) * (1 - b) + (f[i, j1, k1] - f[i, j1, k]) * b
        d1 = (f[i1, j, k1] - f[i1, j, k]) * (1 - b) + (f[i1, j1, k1] - f[i1, j1, k]) * b
        matrix[n, 0] = (v1 - v0) if in_i else 0.0
        matrix[n, 1] = ((v01 - v00) * (1 - a) + (v11 - v10) * a) if in_j else 0.0
        matrix[n, 2] = (d0 + (d1 - d0) * a) if in_k else 0.0
        matrix[n, n] += 1.0


@kernel
def _invert_3d(low, high, field, tolerance, iterations, out):
    _, _, nj, nk = field.shape
    x, best, last, y, r = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    value, matrix = np.empty(3), np.empty((3, 3))
    for u in range(low, high):
        for v in range(nj):
            for w in range(nk):
                y[0], y[1], y[2] = u, v, w
                if w == 0:
                    for d in range(3):
                        x[d] = y[d] - field[d, u, v, w]
                elif w == 1:
                    x[0], x[1], x[2] = best[0], best[1], best[2] + 1.0
                else:  # on along the line through the last two
                    for d in range(3):
                        x[d] = best[d] + min(max(best[d] - last[d], -2.0), 2.0)
                for d in range(3):
                    last[d] = best[d]
                least = 1e30
                for step in range(iterations):
                    _value_and_matrix_3d(field, x, value, matrix)
                    error = 0.0
                    for d in range(3):
                        r[d] = y[d] - x[d] - value[d]
                        error += r[d] * r[d]
                    if error < least:
                        least = error
                        for d in range(3):
                            best[d] = x[d]
                    if error < tolerance * tolerance:
                        break
                    # a plain fixed-point step where Newton's is undefined, and now and then to leave a cycle
                    solved = step % 6 != 5 and _solve_3d(matrix, r)
                    if solved and error < _QUADRATIC:
                        for d in range(3):
                            best[d] = x[d] + r[d]
                        break
                    length = np.sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
                    shrink = min(1.0, 2.0 / max(length, 1e-12)) * (1.0 if step < 10 else 0.6)
                    for d in range(3):
                        x[d] += shrink * r[d]
                for d in range(3):
                    out[d, u, v, w] = best[d] - y[d]


@kernel
def _invert_2d(low, high, field, tolerance, iterations, out):
    _, ni, nj = field.shape
    bx, by = 0.0, 0.0
    for u in range(low, high):
        for v in range(nj):
            x, y = (u - field[0, u, v], v - field[1, u, v]) if v == 0 else (bx, by + 1.0)
            least = 1e30
            for step in range(iterations):
                i, a = split(x, ni)
                j, b = split(y, nj)
                i1, j1 = min(i + 1, ni - 1), min(j + 1, nj - 1)
                in_i, in_j = 0 <= x <= ni - 1, 0 <= y <= nj - 1
                f, g = field[0], field[1]
                f0, f1 = f[i, j] + (f[i, j1] - f[i, j]) * b, f[i1, j] + (f[i1, j1] - f[i1, j]) * b
                g0, g1 = g[i, j] + (g[i, j1] - g[i, j]) * b, g[i1, j] + (g[i1, j1] - g[i1, j]) * b
                rx, ry = u - x - f0 - (f1 - f0) * a, v - y - g0 - (g1 - g0) * a
                error = rx * rx + ry * ry
                if error < least:
                    least, bx, by = error, x, y
                if error < tolerance * tolerance:
                    break
                m00 = 1.0 + ((f1 - f0) if in_i else 0.0)
                m10 = (g1 - g0) if in_i else 0.0
                m01 = ((f[i, j1] - f[i, j]) * (1 - a) + (f[i1, j1] - f[i1, j]) * a) if in_j else 0.0
                m11 = 1.0 + (((g[i, j1] - g[i, j]) * (1 - a) + (g[i1, j1] - g[i1, j]) * a) if in_j else 0.0)
                det = m00 * m11 - m01 * m10
                if step % 6 != 5 and abs(det) > 1e-3:
                    rx, ry = (m11 * rx - m01 * ry) / det, (m00 * ry - m10 * rx) / det
                shrink = min(1.0, 2.0 / max(np.sqrt(rx * rx + ry * ry), 1e-12)) * (1.0 if step < 10 else 0.6)
                x += shrink * rx
                y += shrink * ry
            out[0, u, v], out[1, u, v] = bx - u, by - v


NUDGE_3D = _nudge_3d
WARP = {2: _warp_2d, 3: _warp_3d}
INVERT = {2: _invert_2d, 3: _invert_3d}
