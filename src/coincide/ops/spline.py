"""Tensor products of cubic B-splines on a lattice: from control points to samples, and the adjoint.

Along each axis a sample is a weighted sum of four neighbouring control points; which four, and the weights, stands in
a `Taps`. Source: Unser 1999, doi:10.1109/79.799930.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits


@dataclass(frozen=True, eq=False)
class Taps:
    """Where samples along one axis lie among control points.

    Args:
        first: `(samples,)` int64, the first of the four control points that each sample sees.
        weights: `(samples, 4)` float32, of the four.
        controls: number of control points.
    """

    first: np.ndarray
    weights: np.ndarray
    controls: int

    @property
    def matrix(self) -> np.ndarray:
        """The same as a matrix `(samples, controls)`, float64."""
        matrix = np.zeros((len(self.first), self.controls))
        for tap in range(4):
            matrix[np.arange(len(self.first)), self.first + tap] += self.weights[:, tap]
        return matrix


def taps(positions: np.ndarray, controls: int, derivative: int = 0) -> Taps:
    """The taps of samples at `positions`, in control-point distances from the second control point.

    Args:
        positions: `(samples,)`, from 0 to `controls` − 3.
        controls: number of control points.
        derivative: of the spline that is sampled, 0 to 2, per control-point distance.
    """
    positions = np.asarray(positions, dtype=np.float64)
    first = np.clip(np.floor(positions), 0, controls - 4).astype(np.int64)
    t = positions - first
    weights = {
        0: [(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3],
        1: [-3 * (1 - t) ** 2, -12 * t + 9 * t**2, 3 + 6 * t - 9 * t**2, 3 * t**2],
        2: [6 * (1 - t), -12 + 18 * t, 6 - 18 * t, 6 * t],
    }[derivative]
    return Taps(first, (np.stack(weights, axis=1) / 6).astype(np.float32), controls)


def expand(coefficients: Tensor, axes: list[Taps]) -> Tensor:
    """Samples `(channel, *samples)` of the splines with `coefficients` `(channel, *controls)`."""
    if not fits(coefficients):
        return _by_matrices(coefficients, [a.matrix for a in axes])
    out = coefficients
    for axis in reversed(range(len(axes))):
        out = _along(out, axis + 1, axes[axis], _expand, len(axes[axis].first))
    return out


def collect(samples: Tensor, axes: list[Taps]) -> Tensor:
    """The adjoint of `expand`: `(channel, *samples)` to `(channel, *controls)`."""
    if not fits(samples):
        return _by_matrices(samples, [a.matrix.T for a in axes])
    out = samples
    for axis, along in enumerate(axes):
        out = _along(out, axis + 1, along, _collect, along.controls)
    return out


def pull(image: Tensor, field: Tensor, upstream: Tensor) -> Tensor:
    """Derivative of `Σ upstream · warp(image, field)` with respect to the field, `(dim, *shape)`, per voxel.

    Args:
        image: `(channel, *shape)`, linear between its voxels.
        field: `(dim, *shape)` voxels.
        upstream: `(channel, *shape)`.
    """
    if fits(image) and fits(field) and fits(upstream):
        out = torch.empty_like(field)
        views = [x.numpy() for x in (image, field, upstream, out)]
        if len(field) == 2:
            views = [v[:, None] for v in views]
        run(_pull, views[1].shape[1] if len(field) == 3 else 1, *views)
        return out
    from coincide.ops.field import lattice
    from coincide.ops.sample import sample_reference

    with torch.enable_grad():
        leaf = field.detach().requires_grad_(True)
        warped = sample_reference(
            image.detach(), lattice(tuple(field.shape[1:]), field) + leaf, "linear", "edge"
        )
        (gradient,) = torch.autograd.grad((warped * upstream).sum(), leaf)
    return gradient


def _by_matrices(values: Tensor, matrices: list[np.ndarray]) -> Tensor:
    for axis, matrix in enumerate(matrices, start=1):
        m = torch.from_numpy(matrix).to(values)
        values = torch.tensordot(m, values.movedim(axis, 0), dims=1).movedim(0, axis)
    return values


def _along(values: Tensor, axis: int, along: Taps, compiled, length: int) -> Tensor:
    shape = values.shape
    outer, inner = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    out = torch.zeros((*shape[:axis], length, *shape[axis + 1 :]), dtype=torch.float32)
    source = values.contiguous().reshape(outer, shape[axis], inner).numpy()
    run(compiled, outer, source, along.first, along.weights, out.view(outer, length, inner).numpy())
    return out


@kernel
def _expand(low, high, source, first, weights, out):
    for o in range(low, high):
        for i in range(out.shape[1]):
            row = out[o, i]
            a, b, c, d = weights[i, 0], weights[i, 1], weights[i, 2], weights[i, 3]
            p, q = source[o, first[i]], source[o, first[i] + 1]
            r, s = source[o, first[i] + 2], source[o, first[i] + 3]
            for k in range(row.size):
                row[k] = (a * p[k] + b * q[k]) + (c * r[k] + d * s[k])


@kernel
def _collect(low, high, source, first, weights, out):
    for o in range(low, high):
        for i in range(source.shape[1]):
            row = source[o, i]
            for tap in range(4):
                w, target = weights[i, tap], out[o, first[i] + tap]
                for k in range(row.size):
                    target[k] += w * row[k]


@kernel
def _pull(low, high, image, field, upstream, out):
    """3-D; a picture is a volume of one plane, whose two vectors lie in it."""
    channels, ni, nj, nk = image.shape
    flat = field.shape[0] == 2
    one, zero = np.float32(1), np.float32(0)
    for u in range(low, high):
        for v in range(nj):
            for w in range(nk):
                x = np.float32(u) if flat else np.float32(u) + field[0, u, v, w]
                y = np.float32(v) + field[field.shape[0] - 2, u, v, w]
                z = np.float32(w) + field[field.shape[0] - 1, u, v, w]
                # past the border its value goes on, and the slope is zero
                in_x, in_y, in_z = 0 <= x <= ni - 1, 0 <= y <= nj - 1, 0 <= z <= nk - 1
                x = min(max(zero, x), np.float32(ni - 1))
                y = min(max(zero, y), np.float32(nj - 1))
                z = min(max(zero, z), np.float32(nk - 1))
                i, j, k = (
                    min(int(x), max(ni - 2, 0)),
                    min(int(y), max(nj - 2, 0)),
                    min(int(z), max(nk - 2, 0)),
                )
                a, b, c = x - np.float32(i), y - np.float32(j), z - np.float32(k)
                i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
                sx, sy, sz = zero, zero, zero
                for n in range(channels):
                    g = upstream[n, u, v, w]
                    if g != 0:
                        f = image[n]
                        d00, d01 = f[i, j, k1] - f[i, j, k], f[i, j1, k1] - f[i, j1, k]
                        d10, d11 = f[i1, j, k1] - f[i1, j, k], f[i1, j1, k1] - f[i1, j1, k]
                        v00, v01 = f[i, j, k] + d00 * c, f[i, j1, k] + d01 * c
                        v10, v11 = f[i1, j, k] + d10 * c, f[i1, j1, k] + d11 * c
                        v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
                        sx += g * (v1 - v0)
                        sy += g * ((v01 - v00) * (one - a) + (v11 - v10) * a)
                        e0, e1 = d00 + (d01 - d00) * b, d10 + (d11 - d10) * b
                        sz += g * (e0 + (e1 - e0) * a)
                if not flat:
                    out[0, u, v, w] = sx if in_x else zero
                out[field.shape[0] - 2, u, v, w] = sy if in_y else zero
                out[field.shape[0] - 1, u, v, w] = sz if in_z else zero
