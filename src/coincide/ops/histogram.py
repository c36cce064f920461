"""The joint histogram of two images, with a cubic B-spline (Parzen) window along the second; its gradient.

Both images are in the unit range: 0 lies at the centre of the second bin, 1 at that of the last but one, so
that the window never leaves the histogram. The first image is put into its nearest bin, once; only the second
one is differentiated.

Voxels are cut into at most `_PARTS` parts of fixed size, whose histograms are added in their order: the same
result, bit for bit, for any number of threads, in bounded memory.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coincide.ops._parallel import kernel, run
from coincide.ops.moments import BLOCK

_PARTS = 32


def nearest_bin(image: Tensor, bins: int) -> Tensor:
    """The bin, uint8, that each value of the unit range belongs to; values outside go to the range's ends.

    Args:
        image: values of any shape; NaN goes to the lower end.
        bins: number of bins, 5 to 256.
    """
    position = 1 + image.nan_to_num(0.0).clamp(0, 1) * (bins - 3)
    return (position + 0.5).floor().to(torch.uint8)


def joint_histogram(index: Tensor, image: Tensor, weights: Tensor, bins: int) -> Tensor:
    """The joint histogram `(bins, bins)`: a row for each bin of the first image, a column for the second's.

    Not normalised: it sums to the sum of the weights. Differentiable (once) with respect to `image`. float32
    on the CPU is compiled and gives float64; everything else is plain torch and keeps its type.

    Args:
        index: `(*S)` uint8, the first image's bins, from `nearest_bin`.
        image: `(*S)`, the second image, in the unit range; values outside are taken for its ends.
        weights: `(*S)`, ≥ 0.
        bins: number of bins along each axis, 5 to 256.
    """
    if image.dtype == torch.float32 and image.device.type == "cpu":
        return _Histogram.apply(image, index, weights, bins)
    return joint_histogram_reference(index, image, weights, bins)


def joint_histogram_reference(index: Tensor, image: Tensor, weights: Tensor, bins: int) -> Tensor:
    """`joint_histogram` in plain torch."""
    position = image.reshape(-1).nan_to_num(0.0).clamp(0, 1) * (bins - 3)
    base = position.detach().floor().clamp(0, bins - 4)
    t = position - base
    window = (
        (1 - t) ** 3 / 6,
        (4 - 6 * t**2 + 3 * t**3) / 6,
        (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6,
        t**3 / 6,
    )
    flat = index.reshape(-1).to(torch.int64) * bins + base.to(torch.int64)
    histogram = image.new_zeros(bins * bins)
    for k, share in enumerate(window):
        histogram = histogram.index_add(0, flat + k, share * weights.reshape(-1))
    return histogram.view(bins, bins)


def histogram_gradient(
    index: Tensor, image: Tensor, weights: Tensor, table: np.ndarray, rows: np.ndarray
) -> tuple[Tensor, Tensor]:
    """What a change of each value of the second image does to Σ table·histogram, and `weights · rows[index]`.

    Args:
        index: as in `joint_histogram`.
        image: as in `joint_histogram`, float32 on the CPU.
        weights: as in `joint_histogram`.
        table: `(bins, bins)` float64, the derivative of some function with respect to the histogram.
        rows: `(bins)` float64, a number for each bin of the first image.

    Returns:
        two tensors of `image`'s shape: the gradient (zero outside the unit range) and the weighted numbers.
    """
    flat = _flat(index, image, weights)
    gradient, spread = np.empty_like(flat[1]), np.empty_like(flat[1])
    part = _part(flat[1].size)
    run(_gradient_kernel, -(-flat[1].size // part), *flat, table, rows, part, gradient, spread)
    return torch.from_numpy(gradient).view(image.shape), torch.from_numpy(spread).view(image.shape)


def _part(voxels: int) -> int:
    return max(BLOCK, -(-voxels // _PARTS))


def _flat(index: Tensor, image: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index, image, weights = (x.detach().reshape(-1) for x in (index, image, weights))
    return index.numpy(), image.numpy(), weights.numpy()


class _Histogram(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image: Tensor, index: Tensor, weights: Tensor, bins: int) -> Tensor:
        ctx.save_for_backward(image, index, weights)
        flat = _flat(index, image, weights)
        part = _part(flat[1].size)
        partial = np.zeros((max(1, -(-flat[1].size // part)), bins, bins))
        run(_histogram_kernel, len(partial), *flat, part, partial)
        return torch.from_numpy(partial.sum(axis=0))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor):
        image, index, weights = ctx.saved_tensors
        table = np.ascontiguousarray(upstream.numpy(), dtype=np.float64)
        gradient, _ = histogram_gradient(index, image, weights, table, np.zeros(len(table)))
        return gradient, None, None, None


@kernel
def _histogram_kernel(low, high, index, image, weights, part, out):
    bins = out.shape[1]
    span = np.float32(bins - 3)
    for block in range(low, high):
        histogram = out[block]
        for i in range(block * part, min((block + 1) * part, image.size)):
            w = weights[i]
            if w > 0:
                x = image[i]
                # written so that NaN ends at 0: an index must never come from one
                position = min(x, np.float32(1)) * span if x > 0 else np.float32(0)
                base = min(int(position), bins - 4)
                t = position - np.float32(base)
                s = np.float32(1) - t
                first = w * (s * s * s) / np.float32(6)
                last = w * (t * t * t) / np.float32(6)
                second = w * (np.float32(4) - t * t * (np.float32(6) - np.float32(3) * t)) / np.float32(6)
                row = histogram[index[i]]
                row[base] += first
                row[base + 1] += second
                row[base + 2] += w - first - second - last
                row[base + 3] += last


@kernel
def _gradient_kernel(low, high, index, image, weights, table, rows, part, gradient, spread):
    bins = table.shape[0]
    span = np.float64(bins - 3)
    for i in range(low * part, min(high * part, image.size)):
        w, x, f = weights[i], image[i], index[i]
        spread[i] = w * rows[f]
        gradient[i] = 0
        if w > 0 and x >= 0 and x <= 1:
            position = x * span
            base = min(int(position), bins - 4)
            t = position - base
            first, last = -(1 - t) * (1 - t) / 2, t * t / 2
            second = t * (3 * t - 4) / 2
            row = table[f]
            slope = first * row[base] + second * row[base + 1] + last * row[base + 3]
            gradient[i] = w * span * (slope - (first + second + last) * row[base + 2])
