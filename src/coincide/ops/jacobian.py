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
def _sides(u, i0, i, i1, j0, j, j1, first, last, ahead, behind):
    """Forward and backward differences of row `(i, j)` along the axis in which the other rows lie.

    At a border, `first` or `last`, the side that is there stands for both.
    """
    for n in range(3):
        for k in range(u.shape[3]):
            ahead[n, k] = u[n, i1, j1, k] - u[n, i, j, k]
        for k in range(u.shape[3]):
            behind[n, k] = u[n, i, j, k] - u[n, i0, j0, k]
    if first or last:
        for n in range(3):
            for k in range(u.shape[3]):
                ahead[n, k] = behind[n, k] = ahead[n, k] if first else behind[n, k]


@kernel
def _sides_within(u, i, j, ahead, behind):
    """Forward and backward differences of row `(i, j)` along itself."""
    last = u.shape[3] - 1
    for n in range(3):
        for k in range(last):
            ahead[n, k] = u[n, i, j, k + 1] - u[n, i, j, k]
        ahead[n, last] = ahead[n, last - 1] if last > 0 else np.float32(0)
        for k in range(last):
            behind[n, k + 1] = ahead[n, k]
        behind[n, 0] = ahead[n, 0]


@kernel
def _determinants_3d(low, high, u, forward, central, least):
    """A row at a time: differences first, then the eight determinants; each loop writes one array, for vectors."""
    _, ni, nj, nk = u.shape
    one, eighth = np.float32(1), np.float32(0.125)
    x, y, z = (
        np.empty((2, 3, nk), np.float32),
        np.empty((2, 3, nk), np.float32),
        np.empty((2, 3, nk), np.float32),
    )
    c, d = np.empty((3, nk), np.float32), np.empty((8, nk), np.float32)
    for i in range(low, high):
        i0, i1 = max(i - 1, 0), min(i + 1, ni - 1)
        for j in range(nj):
            j0, j1 = max(j - 1, 0), min(j + 1, nj - 1)
            _sides(u, i0, i, i1, j, j, j, i == 0, i == ni - 1, x[0], x[1])
            _sides(u, i, i, i, j0, j, j1, j == 0, j == nj - 1, y[0], y[1])
            _sides_within(u, i, j, z[0], z[1])
            for side in range(2):
                for k in range(nk):
                    x[side, 0, k] += one
                for k in range(nk):
                    y[side, 1, k] += one
                for k in range(nk):
                    z[side, 2, k] += one
            for a in range(4):
                p, q = y[a // 2], z[a % 2]
                for k in range(nk):
                    c[0, k] = p[1, k] * q[2, k] - p[2, k] * q[1, k]
                for k in range(nk):
                    c[1, k] = p[2, k] * q[0, k] - p[0, k] * q[2, k]
                for k in range(nk):
                    c[2, k] = p[0, k] * q[1, k] - p[1, k] * q[0, k]
                for side in range(2):
                    for k in range(nk):
                        d[2 * a + side, k] = (
                            x[side, 0, k] * c[0, k] + x[side, 1, k] * c[1, k] + x[side, 2, k] * c[2, k]
                        )
            for k in range(nk):
                forward[i, j, k] = d[0, k]
            for k in range(nk):
                central[i, j, k] = (
                    ((d[0, k] + d[1, k]) + (d[2, k] + d[3, k])) + ((d[4, k] + d[5, k]) + (d[6, k] + d[7, k]))
                ) * eighth
            for k in range(nk):
                least[i, j, k] = min(d[0, k], d[1, k], d[2, k], d[3, k], d[4, k], d[5, k], d[6, k], d[7, k])
