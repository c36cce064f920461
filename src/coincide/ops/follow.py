"""Points followed through matrices and displacement fields, in blocks that stay in the processor's cache.

A block of points is an array `(3, number)` of float64 positions that is changed in place; in 2-D the third one stays
0. Each point is worked out for itself, and the blocks are the same for any number of threads, so the results are too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch

from coincide.ops._parallel import kernel
from coincide.ops._sample_kernels import split
from coincide.ops.blocks import BLOCK, over_blocks
from coincide.ops.sample import sample_reference


def each_block(number: int, work: Callable[[int, int, np.ndarray], None]) -> None:
    """Call `work(low, high, points)` for every block of `number` points, on all threads.

    Args:
        number: how many points there are.
        work: is to fill `points`, `(3, high - low)`, and to use them; the memory is taken again by the next block.
    """
    memory = threading.local()

    def with_points(low: int, high: int) -> None:
        if not hasattr(memory, "points"):
            memory.points = np.empty(3 * BLOCK)
        work(low, high, memory.points[: 3 * (high - low)].reshape(3, -1))

    over_blocks(number, with_points)


def padded(matrix: np.ndarray, dim: int) -> np.ndarray:
    """A homogeneous matrix, or its linear part alone, of `dim` dimensions as the `(3, 4)` these functions take."""
    out = np.eye(3, 4)
    out[:dim, :dim] = matrix[:dim, :dim]
    if matrix.shape[1] > dim:
        out[:dim, 3] = matrix[:dim, dim]
    return out


def voxels(low: int, shape: tuple[int, ...], points: np.ndarray) -> None:
    """Fill `points` with the index positions of the voxels of a lattice of `shape`, from the flat index `low` on."""
    _voxels(low, np.array([*shape, 1][:3]), points)


def chosen_voxels(flat: np.ndarray, shape: tuple[int, ...], points: np.ndarray) -> None:
    """Fill `points` with the index positions of the voxels whose flat indices (int64) are given."""
    _chosen_voxels(flat, np.array([*shape, 1][:3]), points)


def turn(points: np.ndarray, matrix: np.ndarray) -> None:
    """`points ↦ matrix · (points, 1)`, with a `padded` matrix."""
    _turn(points, matrix)


def displace(points: np.ndarray, field: np.ndarray, matrix: np.ndarray, inside: np.ndarray) -> None:
    """`points ↦ points + matrix · field(points)`, the field linear between its voxels.

    Args:
        points: positions in voxels of the field. Further than half a voxel past the outermost centres they stay.
        field: `(dim, *shape)` float32, C-contiguous.
        matrix: `padded`, turns the field's vectors into voxels.
        inside: `(number)` bool, becomes False where a point stays for being outside.
    """
    (_displace_3d if len(field) == 3 else _displace_2d)(points, field, matrix, inside)


def displace_reference(points: np.ndarray, field: np.ndarray, matrix: np.ndarray, inside: np.ndarray) -> None:
    """`displace` in plain torch and NumPy."""
    dim = len(field)
    ends = np.reshape(field.shape[1:], (dim, 1))
    there = ((points[:dim] >= -0.5) & (points[:dim] <= ends - 0.5)).all(0)
    found = sample_reference(
        torch.from_numpy(field).double(), torch.from_numpy(points[:dim]), "linear", "zero"
    )
    points[:dim] += matrix[:dim, :dim] @ found.numpy()
    inside &= there


def nearest(image: np.ndarray, points: np.ndarray, out: np.ndarray) -> None:
    """Values of an image at the voxels nearest to `points`, zero outside; halves go up.

    Args:
        image: `(channel, *shape)` of any type that has a zero of only zero bits.
        points: positions in voxels of the image.
        out: `(channel, number)` of the image's type.
    """
    # what is only copied needs a kernel for each size of number, not for each type
    plain = np.dtype(f"u{image.itemsize}")
    shape = np.array([*image.shape[1:], 1][:3])
    _nearest(image.view(plain).reshape(len(image), -1), shape, points, out.view(plain))


def within(points: np.ndarray, shape: tuple[int, ...], inside: np.ndarray) -> None:
    """Make `inside`, `(number)` bool, False where `points` lie outside the field of view of a lattice of `shape`."""
    _within(points, np.array([*shape, 1][:3]), inside)


def lengths(points: np.ndarray, out: np.ndarray) -> None:
    """Distances of `points` from the origin, `(number)` float32."""
    _lengths(points, out)


@kernel
def _voxels(low, shape, points):
    nj, nk = shape[1], shape[2]
    i, j, k = low // (nk * nj), (low // nk) % nj, low % nk
    p, number = 0, points.shape[1]
    while p < number:
        end = min(number, p + nk - k)
        for q in range(p, end):
            points[0, q] = i
            points[1, q] = j
            points[2, q] = k + q - p
        p, j, k = end, j + 1, 0
        if j == nj:
            i, j = i + 1, 0


@kernel
def _chosen_voxels(flat, shape, points):
    nj, nk = shape[1], shape[2]
    for p in range(points.shape[1]):
        points[0, p] = flat[p] // (nk * nj)
        points[1, p] = (flat[p] // nk) % nj
        points[2, p] = flat[p] % nk


@kernel
def _turn(points, m):
    for p in range(points.shape[1]):
        x, y, z = points[0, p], points[1, p], points[2, p]
        points[0, p] = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        points[1, p] = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        points[2, p] = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]


@kernel
def _between_3d(f, i, j, k, i1, j1, k1, a, b, c):
    """The value of a component between the eight voxels around a position."""
    v00 = f[i, j, k] + (f[i, j, k1] - f[i, j, k]) * c
    v01 = f[i, j1, k] + (f[i, j1, k1] - f[i, j1, k]) * c
    v10 = f[i1, j, k] + (f[i1, j, k1] - f[i1, j, k]) * c
    v11 = f[i1, j1, k] + (f[i1, j1, k1] - f[i1, j1, k]) * c
    v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
    return v0 + (v1 - v0) * a


@kernel
def _displace_3d(points, field, m, inside):
    _, ni, nj, nk = field.shape
    for p in range(points.shape[1]):
        x, y, z = points[0, p], points[1, p], points[2, p]
        # written so that NaN is outside: no index may ever come from one
        if x >= -0.5 and x <= ni - 0.5 and y >= -0.5 and y <= nj - 0.5 and z >= -0.5 and z <= nk - 0.5:
            i, a = split(x, ni)
            j, b = split(y, nj)
            k, c = split(z, nk)
            i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
            dx = _between_3d(field[0], i, j, k, i1, j1, k1, a, b, c)
            dy = _between_3d(field[1], i, j, k, i1, j1, k1, a, b, c)
            dz = _between_3d(field[2], i, j, k, i1, j1, k1, a, b, c)
            points[0, p] = x + (m[0, 0] * dx + m[0, 1] * dy + m[0, 2] * dz)
            points[1, p] = y + (m[1, 0] * dx + m[1, 1] * dy + m[1, 2] * dz)
            points[2, p] = z + (m[2, 0] * dx + m[2, 1] * dy + m[2, 2] * dz)
        else:
            inside[p] = False


@kernel
def _displace_2d(points, field, m, inside):
    _, ni, nj = field.shape
    for p in range(points.shape[1]):
        x, y = points[0, p], points[1, p]
        if x >= -0.5 and x <= ni - 0.5 and y >= -0.5 and y <= nj - 0.5:
            i, a = split(x, ni)
            j, b = split(y, nj)
            i1, j1 = min(i + 1, ni - 1), min(j + 1, nj - 1)
            f, g = field[0], field[1]
            v0, v1 = f[i, j] + (f[i, j1] - f[i, j]) * b, f[i1, j] + (f[i1, j1] - f[i1, j]) * b
            w0, w1 = g[i, j] + (g[i, j1] - g[i, j]) * b, g[i1, j] + (g[i1, j1] - g[i1, j]) * b
            dx, dy = v0 + (v1 - v0) * a, w0 + (w1 - w0) * a
            points[0, p] = x + (m[0, 0] * dx + m[0, 1] * dy)
            points[1, p] = y + (m[1, 0] * dx + m[1, 1] * dy)
        else:
            inside[p] = False


@kernel
def _nearest(image, shape, points, out):
    ni, nj, nk = shape[0], shape[1], shape[2]
    for p in range(points.shape[1]):
        # floor(x + ½) and not rint: halves go the same way at every voxel
        x, y, z = np.floor(points[0, p] + 0.5), np.floor(points[1, p] + 0.5), np.floor(points[2, p] + 0.5)
        inside = x >= 0 and x < ni and y >= 0 and y < nj and z >= 0 and z < nk
        flat = (int(x) * nj + int(y)) * nk + int(z) if inside else 0
        for n in range(len(image)):
            out[n, p] = image[n, flat] if inside else 0


@kernel
def _within(points, shape, inside):
    for p in range(points.shape[1]):
        x, y, z = points[0, p], points[1, p], points[2, p]
        here = x >= -0.5 and y >= -0.5 and z >= -0.5
        here = here and x <= shape[0] - 0.5 and y <= shape[1] - 0.5 and z <= shape[2] - 0.5
        inside[p] = inside[p] and here


@kernel
def _lengths(points, out):
    for p in range(points.shape[1]):
        x, y, z = points[0, p], points[1, p], points[2, p]
        out[p] = np.sqrt(x * x + y * y + z * z)
