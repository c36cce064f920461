"""Compiled painting of shapes on a lattice of labels; what each does is said in `canvas.py`."""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel


@kernel
def span(low, high, origin, step, n):
    """First and one past the last voxel between two positions along an axis."""
    first = int(np.ceil((low - origin) / step))
    last = int(np.floor((high - origin) / step)) + 1
    return max(first, 0), min(last, n)


@kernel
def ellipsoid_distance(x, y, z, e):
    """About how far outside (mm, negative inside) of the ellipsoid `e` a place is."""
    x, y, z = x - e[0], y - e[1], z - e[2]
    u = (e[6] * x + e[7] * y + e[8] * z) / e[3]
    v = (e[9] * x + e[10] * y + e[11] * z) / e[4]
    w = (e[12] * x + e[13] * y + e[14] * z) / e[5]
    k = np.sqrt(u * u + v * v + w * w)
    s = np.sqrt((u / e[3]) ** 2 + (v / e[4]) ** 2 + (w / e[5]) ** 2)
    return k * (k - 1) / s if s > 1e-9 else -min(e[3], e[4], e[5])


@kernel
def capsule_distance(x, y, z, c):
    """How far outside (mm) of the round cone `c` a place is."""
    ax, ay, az = c[3] - c[0], c[4] - c[1], c[5] - c[2]
    x, y, z = x - c[0], y - c[1], z - c[2]
    square = ax * ax + ay * ay + az * az
    t = (ax * x + ay * y + az * z) / square if square > 0 else 0.0
    t = min(max(t, 0.0), 1.0)
    x, y, z = x - t * ax, y - t * ay, z - t * az
    return np.sqrt(x * x + y * y + z * z) - (c[6] + t * (c[7] - c[6]))


@kernel
def paint_ellipsoids(labels, origin, step, noise, onto, shapes, names, rough):
    for s in range(len(shapes)):
        e, name, amount = shapes[s], names[s], rough[s]
        reach = max(e[3], e[4], e[5]) + 3 * amount
        i0, i1 = span(e[0] - reach, e[0] + reach, origin[0], step[0], labels.shape[0])
        j0, j1 = span(e[1] - reach, e[1] + reach, origin[1], step[1], labels.shape[1])
        k0, k1 = span(e[2] - reach, e[2] + reach, origin[2], step[2], labels.shape[2])
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    if onto[labels[i, j, k]]:
                        x, y, z = origin[0] + i * step[0], origin[1] + j * step[1], origin[2] + k * step[2]
                        if ellipsoid_distance(x, y, z, e) < amount * noise[i, j, k]:
                            labels[i, j, k] = name


@kernel
def paint_capsules(labels, origin, step, noise, onto, shapes, names, rough):
    for s in range(len(shapes)):
        c, name, amount = shapes[s], names[s], rough[s]
        reach = max(c[6], c[7]) + 3 * amount
        i0, i1 = span(min(c[0], c[3]) - reach, max(c[0], c[3]) + reach, origin[0], step[0], labels.shape[0])
        j0, j1 = span(min(c[1], c[4]) - reach, max(c[1], c[4]) + reach, origin[1], step[1], labels.shape[1])
        k0, k1 = span(min(c[2], c[5]) - reach, max(c[2], c[5]) + reach, origin[2], step[2], labels.shape[2])
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    if onto[labels[i, j, k]]:
                        x, y, z = origin[0] + i * step[0], origin[1] + j * step[1], origin[2] + k * step[2]
                        if capsule_distance(x, y, z, c) < amount * noise[i, j, k]:
                            labels[i, j, k] = name


@kernel
def hull_depth(origin, step, shapes, blend, out):
    """How deep (mm, negative outside) each voxel lies in the smooth union of ellipsoids."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, y, z = origin[0] + i * step[0], origin[1] + j * step[1], origin[2] + k * step[2]
                d = 1e9
                for s in range(len(shapes)):
                    e = ellipsoid_distance(x, y, z, shapes[s])
                    h = max(blend - abs(d - e), 0.0) / blend
                    d = min(d, e) - 0.25 * h * h * blend
                out[i, j, k] = -d


@kernel
def paint_shell(labels, depth, noise, onto, low, high, amount, name):
    """Voxels whose depth lies between two values."""
    for p in range(len(labels)):
        d = depth[p] + amount * noise[p]
        if low <= d < high and onto[labels[p]]:
            labels[p] = name


@kernel
def _between(f, x, y, z):
    """Trilinear value of `f` at a position in voxels, the border's beyond."""
    x = min(max(x, 0.0), f.shape[0] - 1.001)
    y = min(max(y, 0.0), f.shape[1] - 1.001)
    z = min(max(z, 0.0), f.shape[2] - 1.001)
    i, j, k = int(x), int(y), int(z)
    a, b, c = x - i, y - j, z - k
    v00 = f[i, j, k] + (f[i, j, k + 1] - f[i, j, k]) * c
    v01 = f[i, j + 1, k] + (f[i, j + 1, k + 1] - f[i, j + 1, k]) * c
    v10 = f[i + 1, j, k] + (f[i + 1, j, k + 1] - f[i + 1, j, k]) * c
    v11 = f[i + 1, j + 1, k] + (f[i + 1, j + 1, k + 1] - f[i + 1, j + 1, k]) * c
    v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
    return v0 + (v1 - v0) * a


@kernel
def sheet_distance(f, x, y, z, step):
    """About how far (mm) a place, in voxels of `f`, is from where `f` is zero."""
    h = 0.5
    gx = _between(f, x + h, y, z) - _between(f, x - h, y, z)
    gy = _between(f, x, y + h, z) - _between(f, x, y - h, z)
    gz = _between(f, x, y, z + h) - _between(f, x, y, z - h)
    slope = np.sqrt(gx * gx + gy * gy + gz * gz)
    return abs(_between(f, x, y, z)) * step / max(slope, 1e-3)


@kernel
def paint_folded(labels, depth, origin, step, noise, fold, fold_origin, fold_step, clefts, size, names):
    """A folded ribbon; `size` and `names` as in `cortex.Folded`."""
    radial, sulcus, gap, ribbon, fissure, floor, cx, cy, cz, reach = size
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            for k in range(labels.shape[2]):
                d = depth[i, j, k]
                if d <= 0:
                    continue
                x, y, z = origin[0] + i * step[0], origin[1] + j * step[1], origin[2] + k * step[2]
                n = noise[i, j, k]
                left = x + 1.5 * n < 0
                e = d
                if d < sulcus + ribbon + gap:
                    # folds run inwards: places on one ray from the centre share most of their pattern
                    px, py, pz = x - cx, y - cy, z - cz
                    r = np.sqrt(px * px + py * py + pz * pz)
                    s = (reach / max(r, 0.2 * reach)) ** radial
                    u = (cx + px * s - fold_origin[0]) / fold_step
                    v = (cy + py * s - fold_origin[1]) / fold_step
                    w = (cz + pz * s - fold_origin[2]) / fold_step
                    q = sheet_distance(fold, u, v, w, fold_step) / s
                    deep = max(0.0, d - sulcus * (1 + 0.25 * n))
                    e = min(e, np.sqrt(q * q + deep * deep) - gap)
                if fissure > 0:
                    below = max(0.0, floor - z)
                    wall = abs(x + 1.5 * n)
                    e = min(e, np.sqrt(wall * wall + below * below) - fissure)
                for s in range(len(clefts)):
                    e = min(e, capsule_distance(x, y, z, clefts[s]))
                if e < 0:
                    labels[i, j, k] = names[0]
                elif e < ribbon + 0.3 * n:
                    labels[i, j, k] = names[1] if left else names[2]
                else:
                    labels[i, j, k] = names[3] if left else names[4]


@kernel
def paint_rods(labels, outer, inner, origin, step, noise, rods, names, wall):
    """Round cones seen through along the third axis; `outer` and `inner` are mm of the whole and of its marrow."""
    for s in range(len(rods)):
        x0, y0, x1, y1, r0, r1 = rods[s]
        reach = max(r0, r1) * 1.2
        i0, i1 = span(min(x0, x1) - reach, max(x0, x1) + reach, origin[0], step[0], labels.shape[0])
        j0, j1 = span(min(y0, y1) - reach, max(y0, y1) + reach, origin[1], step[1], labels.shape[1])
        ax, ay = x1 - x0, y1 - y0
        square = ax * ax + ay * ay
        for i in range(i0, i1):
            for j in range(j0, j1):
                x, y = origin[0] + i * step[0] - x0, origin[1] + j * step[1] - y0
                t = min(max((ax * x + ay * y) / square, 0.0), 1.0) if square > 0 else 0.0
                r = (r0 + t * (r1 - r0)) * (1 + 0.05 * noise[i, j])
                d = (x - t * ax) ** 2 + (y - t * ay) ** 2
                if d < r * r:
                    outer[i, j] = max(outer[i, j], 2 * np.sqrt(r * r - d))
                    if names[s] > 0:
                        labels[i, j] = names[s]
                    core = max(r - max(wall * r, 0.6), 0.0)
                    if d < core * core:
                        inner[i, j] = max(inner[i, j], 2 * np.sqrt(core * core - d))


@kernel
def see_through(labels, table, rank, layers, flat):
    """Sum `table[:, label]` along the second axis into `layers`; keep the first label of the highest `rank`."""
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            for k in range(labels.shape[2]):
                n = labels[i, j, k]
                for m in range(len(table)):
                    layers[m, i, k] += table[m, n]
                if rank[n] > rank[flat[i, k]]:
                    flat[i, k] = n
