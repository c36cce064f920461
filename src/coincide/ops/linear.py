"""What second-order linear registration needs: values with gradients under a matrix, and the normal equations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops._sample_kernels import fits, split
from coincide.ops.field import lattice
from coincide.ops.sample import sample_reference


def sample_with_gradient(
    image: Tensor, matrix: np.ndarray, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear interpolation of `image` under a matrix, and its slope there.

    Args:
        image: `(1, *shape)`.
        matrix: `(dim, dim + 1)`, from output index to image index.
        shape: of the output.

    Returns:
        Values `(1, *out)`; their gradient along the image's index axes, per voxel, `(dim, *out)`; and whether the
        position lies in the image, `(*out)` float 0 or 1.
    """
    matrix = np.ascontiguousarray(np.asarray(matrix, dtype=np.float64)[: len(shape)])
    if fits(image):
        values = torch.empty((1, *shape), dtype=torch.float32)
        slope = torch.empty((len(shape), *shape), dtype=torch.float32)
        inside = torch.empty(shape, dtype=torch.float32)
        arrays = image[0].numpy(), matrix, values[0].numpy(), slope.numpy(), inside.numpy()
        run(_SAMPLE[len(shape)], shape[0], *arrays)
        return values, slope, inside
    m = torch.as_tensor(matrix, device=image.device, dtype=image.dtype)
    grid = lattice(shape, image)
    index = torch.einsum("ij,j...->i...", m[:, :-1], grid) + m[:, -1].reshape(-1, *[1] * len(shape))
    with torch.enable_grad():
        index.requires_grad_(True)
        values = sample_reference(image.detach(), index, "linear", "edge")
        (slope,) = torch.autograd.grad(values.sum(), index)
    limits = torch.tensor(image.shape[1:], device=image.device).reshape(-1, *[1] * len(shape))
    inside = ((index >= 0) & (index <= limits - 1)).all(0)
    return values.detach(), slope, inside.to(image.dtype)


def normal_equations(gradient: Tensor, curvature: Tensor, slope: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives with respect to a linear change of the sampling position.

    A voxel at index `z` moves by `L (z, 1)` in the image's index space, `L` being `(dim, dim + 1)`.

    Args:
        gradient: of the similarity with respect to each sampled value, `(1, *shape)`.
        curvature: `(*shape)`, as in `similarity.Evaluation`.
        slope: of the sampled values along the image's index axes, `(dim, *shape)`.

    Returns:
        The gradient with respect to `L`, `(dim, dim + 1)`, and the Gauss–Newton Hessian,
        `(dim, dim + 1, dim, dim + 1)`, both float64.
    """
    dim = slope.shape[0]
    if fits(gradient) and fits(slope):
        planes = slope.shape[1]
        first, second = np.zeros((planes, dim, dim + 1)), np.zeros((planes, dim, dim, dim + 1, dim + 1))
        views = [x.numpy() for x in (gradient[0], curvature, slope)]
        if dim == 2:
            # a picture is a volume whose first index is its own plane number and whose second is always zero
            views = [v.reshape(*v.shape[:-2], planes, 1, -1) for v in views]
        run(_NORMAL[dim], planes, *views, first, second)
        return first.sum(0), second.sum(0).transpose(0, 2, 1, 3)
    ones = torch.ones((1, *slope.shape[1:]), dtype=slope.dtype, device=slope.device)
    z = torch.cat([lattice(tuple(slope.shape[1:]), slope), ones]).flatten(1).double()
    s = slope.flatten(1).double()
    g = torch.einsum("n,an,pn->ap", gradient.flatten().double(), s, z)
    h = torch.einsum("n,an,bn,pn,qn->apbq", curvature.flatten().double(), s, s, z, z)
    return g.cpu().numpy(), h.cpu().numpy()


@kernel
def _sample_3d(low, high, image, m, values, slope, inside):
    ni, nj, nk = image.shape
    one = np.float32(1)
    for u in range(low, high):
        for v in range(values.shape[1]):
            for w in range(values.shape[2]):
                x = m[0, 0] * u + m[0, 1] * v + m[0, 2] * w + m[0, 3]
                y = m[1, 0] * u + m[1, 1] * v + m[1, 2] * w + m[1, 3]
                z = m[2, 0] * u + m[2, 1] * v + m[2, 2] * w + m[2, 3]
                ok = x >= 0 and x <= ni - 1 and y >= 0 and y <= nj - 1 and z >= 0 and z <= nk - 1
                inside[u, v, w] = one if ok else np.float32(0)
                i, a = split(x, ni)
                j, b = split(y, nj)
                k, c = split(z, nk)
                i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
                d00, d01 = image[i, j, k1] - image[i, j, k], image[i, j1, k1] - image[i, j1, k]
                d10, d11 = image[i1, j, k1] - image[i1, j, k], image[i1, j1, k1] - image[i1, j1, k]
                v00, v01 = image[i, j, k] + d00 * c, image[i, j1, k] + d01 * c
                v10, v11 = image[i1, j, k] + d10 * c, image[i1, j1, k] + d11 * c
                v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
                values[u, v, w] = v0 + (v1 - v0) * a
                slope[0, u, v, w] = v1 - v0
                slope[1, u, v, w] = (v01 - v00) * (one - a) + (v11 - v10) * a
                e0, e1 = d00 + (d01 - d00) * b, d10 + (d11 - d10) * b
                slope[2, u, v, w] = e0 + (e1 - e0) * a


@kernel
def _sample_2d(low, high, image, m, values, slope, inside):
    ni, nj = image.shape
    one = np.float32(1)
    for u in range(low, high):
        for v in range(values.shape[1]):
            x = m[0, 0] * u + m[0, 1] * v + m[0, 2]
            y = m[1, 0] * u + m[1, 1] * v + m[1, 2]
            ok = x >= 0 and x <= ni - 1 and y >= 0 and y <= nj - 1
            inside[u, v] = one if ok else np.float32(0)
            i, a = split(x, ni)
            j, b = split(y, nj)
            i1, j1 = min(i + 1, ni - 1), min(j + 1, nj - 1)
            d0, d1 = image[i, j1] - image[i, j], image[i1, j1] - image[i1, j]
            v0, v1 = image[i, j] + d0 * b, image[i1, j] + d1 * b
            values[u, v] = v0 + (v1 - v0) * a
            slope[0, u, v] = v1 - v0
            slope[1, u, v] = d0 + (d1 - d0) * a


@kernel
def _normal_3d(low, high, gradient, curvature, slope, first, second):
    _, nj, nk = curvature.shape
    for i in range(low, high):
        for j in range(nj):
            g, h = gradient[i, j], curvature[i, j]
            z = (float(i), float(j))
            for a in range(3):
                sa = slope[a, i, j]
                t0, t1 = np.float32(0), np.float32(0)
                for k in range(nk):
                    t = g[k] * sa[k]
                    t0 += t
                    t1 += t * np.float32(k)
                first[i, a, 0] += t0 * z[0]
                first[i, a, 1] += t0 * z[1]
                first[i, a, 2] += t1
                first[i, a, 3] += t0
                for b in range(a + 1):
                    sb = slope[b, i, j]
                    t0, t1, t2 = np.float32(0), np.float32(0), np.float32(0)
                    for k in range(nk):
                        t = h[k] * sa[k] * sb[k]
                        kk = np.float32(k)
                        t0 += t
                        t1 += t * kk
                        t2 += t * kk * kk
                    s = second[i, a, b]
                    s[0, 0] += t0 * z[0] * z[0]
                    s[0, 1] += t0 * z[0] * z[1]
                    s[0, 2] += t1 * z[0]
                    s[0, 3] += t0 * z[0]
                    s[1, 1] += t0 * z[1] * z[1]
                    s[1, 2] += t1 * z[1]
                    s[1, 3] += t0 * z[1]
                    s[2, 2] += t2
                    s[2, 3] += t1
                    s[3, 3] += t0
        for a in range(3):
            for b in range(a + 1):
                for p in range(4):
                    for q in range(p):
                        second[i, a, b, p, q] = second[i, a, b, q, p]
                for p in range(4):
                    for q in range(4):
                        second[i, b, a, p, q] = second[i, a, b, p, q]


@kernel
def _normal_2d(low, high, gradient, curvature, slope, first, second):
    nk = curvature.shape[2]
    for i in range(low, high):
        g, h = gradient[i, 0], curvature[i, 0]
        z = float(i)
        for a in range(2):
            sa = slope[a, i, 0]
            t0, t1 = np.float32(0), np.float32(0)
            for k in range(nk):
                t = g[k] * sa[k]
                t0 += t
                t1 += t * np.float32(k)
            first[i, a, 0] += t0 * z
            first[i, a, 1] += t1
            first[i, a, 2] += t0
            for b in range(2):
                sb = slope[b, i, 0]
                t0, t1, t2 = np.float32(0), np.float32(0), np.float32(0)
                for k in range(nk):
                    t = h[k] * sa[k] * sb[k]
                    kk = np.float32(k)
                    t0 += t
                    t1 += t * kk
                    t2 += t * kk * kk
                s = second[i, a, b]
                s[0, 0] += t0 * z * z
                s[1, 1] += t2
                s[2, 2] += t0
                s[0, 1] += t1 * z
                s[0, 2] += t0 * z
                s[1, 2] += t1
                s[1, 0], s[2, 0], s[2, 1] = s[0, 1], s[0, 2], s[1, 2]


_SAMPLE = {2: _sample_2d, 3: _sample_3d}
_NORMAL = {2: _normal_2d, 3: _normal_3d}
