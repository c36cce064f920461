"""Jacobian determinants of `x ↦ x + u(x)` on a lattice, by every finite difference a fold could hide from."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits


class Determinants(NamedTuple):
    """Determinants at each voxel, `(*shape)` each.

    Args:
        forward: by forward differences.
        central: by central differences.
        least: the smallest over all `2**dim` combinations of one-sided differences, each the volume of a
            simplex spanned by the voxel and one neighbour along every axis. The determinant is linear in each
            row, so the central one is the mean of these, and never below `least`.
    """

    forward: Tensor
    central: Tensor
    least: Tensor


def determinants(field: Tensor) -> Determinants:
    """Jacobian determinants of `x ↦ x + u(x)`; at a border the side that is there stands for both.

    Args:
        field: `u` in voxels, `(dim, *shape)`, 2-D or 3-D.
    """
    if not fits(field):
        return determinants_reference(field)
    out = [torch.empty(field.shape[1:], dtype=torch.float32) for _ in range(3)]
    compiled = _determinants_3d if field.shape[0] == 3 else _determinants_2d
    run(compiled, field.shape[1], field.numpy(), *(o.numpy() for o in out))
    return Determinants(*out)


def determinants_reference(field: Tensor) -> Determinants:
    """`determinants` in plain torch: any device, any floating type, differentiable."""
    dim = field.shape[0]
    unit = torch.eye(dim, dtype=field.dtype, device=field.device)
    sides = []
    for axis in range(dim):
        base = unit[axis].reshape(dim, *[1] * dim)
        if field.shape[axis + 1] == 1:
            sides.append((base.expand_as(field),) * 2)
            continue
        step = field.diff(dim=axis + 1) + base
        length = step.shape[axis + 1]
        forward = torch.cat([step, step.narrow(axis + 1, length - 1, 1)], axis + 1)
        backward = torch.cat([step.narrow(axis + 1, 0, 1), step], axis + 1)
        sides.append((forward, backward))
    one_sided = [_determinant(rows) for rows in itertools.product(*sides)]
    central = _determinant([(forward + backward) / 2 for forward, backward in sides])
    return Determinants(one_sided[0], central, torch.stack(one_sided).amin(0))


def _determinant(rows) -> Tensor:
    if len(rows) == 2:
        (a, b), (c, d) = rows
        return a * d - b * c
    x, y, z = rows
    return (x * torch.linalg.cross(y, z, dim=0)).sum(0)


@kernel
def _pair(behind, here, ahead, one, i, n):
    """Forward and backward difference at `i` of `n`; at a border the one that is there, twice."""
    f, b = ahead - here + one, here - behind + one
    if i == n - 1:
        f = b
    if i == 0:
        b = f
    return f, b


@kernel
def _determinants_2d(low, high, u, forward, central, least):
    _, ni, nj = u.shape
    one, zero = np.float32(1), np.float32(0)
    for i in range(low, high):
        i0, i1 = max(i - 1, 0), min(i + 1, ni - 1)
        for j in range(nj):
            j0, j1 = max(j - 1, 0), min(j + 1, nj - 1)
            fx0, bx0 = _pair(u[0, i0, j], u[0, i, j], u[0, i1, j], one, i, ni)
            fx1, bx1 = _pair(u[1, i0, j], u[1, i, j], u[1, i1, j], zero, i, ni)
            fy0, by0 = _pair(u[0, i, j0], u[0, i, j], u[0, i, j1], zero, j, nj)
            fy1, by1 = _pair(u[1, i, j0], u[1, i, j], u[1, i, j1], one, j, nj)
            ff, fb = fx0 * fy1 - fx1 * fy0, fx0 * by1 - fx1 * by0
            bf, bb = bx0 * fy1 - bx1 * fy0, bx0 * by1 - bx1 * by0
            forward[i, j] = ff
            central[i, j] = ((ff + fb) + (bf + bb)) * np.float32(0.25)
            least[i, j] = min(ff, fb, bf, bb)


@kernel
def _both(x0, x1, x2, bx0, bx1, bx2, y0, y1, y2, z0, z1, z2):
    """Determinants with the rows y and z, and either the row x or the row bx."""
    c0, c1, c2 = y1 * z2 - y2 * z1, y2 * z0 - y0 * z2, y0 * z1 - y1 * z0
    return x0 * c0 + x1 * c1 + x2 * c2, bx0 * c0 + bx1 * c1 + bx2 * c2


@kernel
def _determinants_3d(low, high, u, forward, central, least):
    _, ni, nj, nk = u.shape
    one, zero = np.float32(1), np.float32(0)
    for i in range(low, high):
        i0, i1 = max(i - 1, 0), min(i + 1, ni - 1)
        for j in range(nj):
            j0, j1 = max(j - 1, 0), min(j + 1, nj - 1)
            for k in range(nk):
                k0, k1 = max(k - 1, 0), min(k + 1, nk - 1)
                h0, h1, h2 = u[0, i, j, k], u[1, i, j, k], u[2, i, j, k]
                x0, p0 = _pair(u[0, i0, j, k], h0, u[0, i1, j, k], one, i, ni)
                x1, p1 = _pair(u[1, i0, j, k], h1, u[1, i1, j, k], zero, i, ni)
                x2, p2 = _pair(u[2, i0, j, k], h2, u[2, i1, j, k], zero, i, ni)
                y0, q0 = _pair(u[0, i, j0, k], h0, u[0, i, j1, k], zero, j, nj)
                y1, q1 = _pair(u[1, i, j0, k], h1, u[1, i, j1, k], one, j, nj)
                y2, q2 = _pair(u[2, i, j0, k], h2, u[2, i, j1, k], zero, j, nj)
                z0, r0 = _pair(u[0, i, j, k0], h0, u[0, i, j, k1], zero, k, nk)
                z1, r1 = _pair(u[1, i, j, k0], h1, u[1, i, j, k1], zero, k, nk)
                z2, r2 = _pair(u[2, i, j, k0], h2, u[2, i, j, k1], one, k, nk)
                a, b = _both(x0, x1, x2, p0, p1, p2, y0, y1, y2, z0, z1, z2)
                c, d = _both(x0, x1, x2, p0, p1, p2, y0, y1, y2, r0, r1, r2)
                e, f = _both(x0, x1, x2, p0, p1, p2, q0, q1, q2, z0, z1, z2)
                g, h = _both(x0, x1, x2, p0, p1, p2, q0, q1, q2, r0, r1, r2)
                forward[i, j, k] = a
                central[i, j, k] = (((a + b) + (c + d)) + ((e + f) + (g + h))) * np.float32(0.125)
                least[i, j, k] = min(a, b, c, d, e, f, g, h)
