"""Values of an image between its voxels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coincide.ops import _sample_kernels as kernels
from coincide.ops._parallel import run

Mode = Literal["linear", "nearest", "cubic", "label"]
Outside = Literal["zero", "edge"]

_SLAB = 1_000_000
"""Voxels whose positions are worked out at a time."""


def sample(image: Tensor, index: Tensor, mode: Mode = "linear", outside: Outside = "zero") -> Tensor:
    """Values of `image` at fractional voxel positions.

    Args:
        image: `(channel, *shape)`, 2-D or 3-D.
        index: `(dim, *out)` positions in voxels (centres at integers), float32 or float64.
        mode: `"linear"`; `"nearest"`; `"cubic"`, an interpolating B-spline of order 3; or `"label"`, the label that
            has the largest share of the linear weights (smooth outlines, and never a label that is not there).
        outside: beyond half a voxel past the outermost centres, `"zero"` or the value at the `"edge"`; within that
            half voxel always the edge's.

    Returns:
        `(channel, *out)` in the image's type (float32 at least for linear and cubic).
    """
    return sampler(image, mode, outside)(index)


def sampler(image: Tensor, mode: Mode = "linear", outside: Outside = "zero") -> Callable[[Tensor], Tensor]:
    """`sample` for many sets of positions: what depends on the image alone is done once; arguments as there."""
    if mode == "nearest":
        return lambda index: _nearest(image, _checked(image, index), outside)
    if mode == "label":
        return _label_sampler(image, outside)
    if mode == "cubic":
        image = bspline_coefficients(image)
    if not kernels.fits(image):
        return lambda index: sample_reference(image, _checked(image, index), mode, outside)
    compiled = kernels.POINTWISE[f"{mode}_{image.ndim - 1}d"]

    def pointwise(index: Tensor) -> Tensor:
        if index.requires_grad and torch.is_grad_enabled():
            return sample_reference(image, _checked(image, index), mode, outside)
        out = torch.empty((image.shape[0], _checked(image, index)[0].numel()), dtype=torch.float32)
        kernels.run_flat(compiled, image.numpy(), _flat(index), outside == "zero", out.numpy())
        return out.reshape(image.shape[0], *index.shape[1:])

    return pointwise


def _checked(image: Tensor, index: Tensor) -> Tensor:
    if index.shape[0] != image.ndim - 1:
        raise ValueError(f"index of shape {tuple(index.shape)} does not fit a {image.ndim - 1}-D image.")
    return index


def _flat(index: Tensor) -> np.ndarray:
    return index.detach().reshape(index.shape[0], -1).to(torch.float64).numpy()


def _label_sampler(image: Tensor, outside: Outside) -> Callable[[Tensor], Tensor]:
    values, compact = np.unique(image.numpy(), return_inverse=True)
    compact = np.ascontiguousarray(compact.reshape(image.shape), dtype=np.int32)
    if 0 not in values:
        # "zero" outside must not name a label that is in the image
        values = np.append(values, values.dtype.type(0))
    zero = int(np.flatnonzero(values == 0)[0]) if outside == "zero" else -1
    compiled = kernels.POINTWISE[f"label_{image.ndim - 1}d"]

    def vote(index: Tensor) -> Tensor:
        out = np.empty((image.shape[0], _checked(image, index)[0].numel()), dtype=np.int32)
        kernels.run_flat(compiled, compact, _flat(index), zero, out)
        return torch.from_numpy(values[out].reshape(image.shape[0], *index.shape[1:]))

    return vote


def _nearest(image: Tensor, index: Tensor, outside: Outside) -> Tensor:
    array, shape = image.numpy(), image.shape[1:]
    # floor(x + ½) and not rint: halves go the same way at every voxel
    nearest = [_rounded(x.detach(), n) for x, n in zip(index, shape)]
    inside = np.logical_and.reduce([(x >= 0) & (x < n) for x, n in zip(nearest, shape)])
    out = array[(slice(None), *(np.clip(x, 0, n - 1) for x, n in zip(nearest, shape)))]
    if outside == "zero":
        out[:, ~inside] = 0
    return torch.from_numpy(np.ascontiguousarray(out))


def _rounded(x: Tensor, n: int) -> np.ndarray:
    # what is no number, or far away, becomes a position outside
    return torch.floor(x.to(torch.float64) + 0.5).nan_to_num(-2).clamp(-2, n + 1).to(torch.int64).numpy()


def sample_reference(
    image: Tensor, index: Tensor, mode: Mode = "linear", outside: Outside = "zero"
) -> Tensor:
    """`sample` in plain torch: any device, any floating type, differentiable; `image` holds coefficients if cubic."""
    shape = image.shape[1:]
    index = index.to(image.dtype)
    inside = torch.ones_like(index[0], dtype=torch.bool)
    weights, positions = [], []
    for position, n in zip(index, shape):
        inside = inside & (position >= -0.5) & (position <= n - 0.5)
        x = position.clamp(0, n - 1)
        base = x.detach().floor().clamp(0, max(n - 2, 0))
        t = x - base
        offsets = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
        weights.append([1 - t, t] if mode == "linear" else _cubic_weights(t))
        positions.append([_mirror(base.long() + o, n) for o in offsets])
    out = torch.zeros((image.shape[0], *index.shape[1:]), dtype=image.dtype, device=image.device)
    for corner in itertools.product(range(len(weights[0])), repeat=len(shape)):
        weight = torch.stack([weights[d][c] for d, c in enumerate(corner)]).prod(0)
        out = out + weight * image[(slice(None), *(positions[d][c] for d, c in enumerate(corner)))]
    return torch.where(inside, out, torch.zeros_like(out)) if outside == "zero" else out


def _cubic_weights(t: Tensor) -> list[Tensor]:
    return [
        (1 - t) ** 3 / 6,
        (4 - 6 * t**2 + 3 * t**3) / 6,
        (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6,
        t**3 / 6,
    ]


def _mirror(i: Tensor, n: int) -> Tensor:
    if n == 1:
        return torch.zeros_like(i)
    i = i.abs() % (2 * n - 2)
    return torch.where(i >= n, 2 * n - 2 - i, i)


def bspline_coefficients(image: Tensor) -> Tensor:
    """Cubic B-spline coefficients `(channel, *shape)` that interpolate `image`, mirrored at its borders."""
    from scipy.ndimage import spline_filter

    precise = image.detach().cpu().to(torch.float64).numpy()
    coefficients = np.stack([spline_filter(channel, order=3, mode="mirror") for channel in precise])
    kind = image.dtype if image.is_floating_point() else torch.float32
    return torch.from_numpy(coefficients).to(image.device, kind)


def sample_affine_cubic(image: Tensor, matrix: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """As `sample_affine`, by an interpolating cubic B-spline; past the border the image goes on as it ends."""
    matrix = np.asarray(matrix, dtype=np.float64)[: len(shape)]
    look_up = sampler(image, "cubic", "edge")
    out = torch.empty((image.shape[0], *shape), dtype=image.dtype, device=image.device)
    planes = max(1, _SLAB * shape[0] // int(np.prod(shape)))
    for low in range(0, shape[0], planes):
        axes = [np.arange(low, min(low + planes, shape[0])), *(np.arange(n) for n in shape[1:])]
        index = sum(
            column.reshape(-1, *[1] * len(shape))
            * axis.reshape([-1 if a == d else 1 for a in range(len(shape))])
            for d, (axis, column) in enumerate(zip(axes, matrix.T))
        )
        index = index + matrix[:, -1].reshape(-1, *[1] * len(shape))
        out[:, low : low + planes] = look_up(torch.from_numpy(index).to(image.device))
    return out


def sample_affine(
    image: Tensor, matrix: np.ndarray, shape: tuple[int, ...], outside: Outside = "edge"
) -> Tensor:
    """Linear interpolation of `image` on a lattice of `shape` whose voxel `i` stands at `matrix·(i, 1)`.

    Args:
        image: `(channel, *shape)`.
        matrix: `(dim, dim + 1)` or homogeneous, from output index to image index.
        shape: of the output.
        outside: as in `sample`.

    Returns:
        `(channel, *shape)`.
    """
    matrix = np.ascontiguousarray(np.asarray(matrix, dtype=np.float64)[: len(shape)])
    if kernels.fits(image):
        out = torch.empty((image.shape[0], *shape), dtype=torch.float32)
        run(kernels.AFFINE[len(shape)], shape[0], image.numpy(), matrix, outside == "zero", out.numpy())
        return out
    axes = [torch.arange(n, dtype=torch.float64, device=image.device) for n in shape]
    lattice = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    m = torch.as_tensor(matrix, device=image.device)
    index = torch.einsum("ij,j...->i...", m[:, :-1], lattice) + m[:, -1].reshape(-1, *[1] * len(shape))
    return sample_reference(image, index, "linear", outside)
