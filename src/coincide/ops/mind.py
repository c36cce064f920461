"""MIND-SSC: a description of each voxel by how alike the patches around it are to each other.

For every pair of the voxel's face neighbours (`dilation` voxels away) that are not opposite, the squared
difference of the patches around the two is one channel: 12 in 3-D, 4 in 2-D. It is made relative to the
voxel's own mean over the channels, so contrast falls out, and turned into a likeness between 0 and 1.

The difference of the patches at +a and +b is the difference of those at −b and −a, seen from another
place: so 6 fields of differences (2 in 2-D) make all channels.

Source: Heinrich et al. 2013, doi:10.1007/978-3-642-40811-3_24.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coincide.ops._parallel import kernel, run

_LEAST, _MOST = 1e-3, 1e3


def mind_ssc(image: Tensor, radius: int = 1, dilation: int = 2) -> Tensor:
    """The MIND-SSC channels `(C, *S)` of an image `(1, *S)`: 12 in 3-D, 4 in 2-D, each in 0 to 1.

    Beyond its edge the image is continued by its edge values. Where it is flat all channels are 1.
    float32 on the CPU that asks for no gradient is compiled; everything else is plain torch.

    Args:
        image: the values; neighbourhoods are in voxels, so voxels should be nearly cubic.
        radius: of the patches, in voxels; 1 makes patches of 3 voxels an axis.
        dilation: how far the neighbours are away, in voxels.
    """
    if image.dtype == torch.float32 and image.device.type == "cpu" and not image.requires_grad:
        return _compiled(image, radius, dilation)
    return mind_ssc_reference(image, radius, dilation)


def mind_ssc_reference(image: Tensor, radius: int = 1, dilation: int = 2) -> Tensor:
    """`mind_ssc` in plain torch."""
    dim = image.ndim - 1
    reach = radius + dilation
    padded = F.pad(image[None], (reach,) * 2 * dim, mode="replicate")[0, 0]
    size = [n + 2 * radius for n in image.shape[1:]]

    def at(place):
        return padded[
            tuple(slice(dilation + p * dilation, dilation + p * dilation + n) for p, n in zip(place, size))
        ]

    box = F.avg_pool3d if dim == 3 else F.avg_pool2d
    distances = torch.stack(
        [
            box(((at(base + step) - at(base)) ** 2)[None, None], 2 * radius + 1, stride=1)[0, 0]
            for base, step in _pairs(dim)
        ]
    )
    distances = distances - distances.amin(0)
    variance = distances.mean(0)
    mean = variance.mean()
    floor = max(float(mean.detach()) * _LEAST, torch.finfo(image.dtype).tiny)
    return torch.exp(-distances / variance.clamp(floor, max(float(mean.detach()) * _MOST, floor)))


def _pairs(dim: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each channel one of the two neighbours and the step from it to the other, in dilations."""
    unit = np.eye(dim, dtype=np.int64)
    pairs = []
    for a, b in itertools.combinations(unit, 2):
        pairs += [(b, a - b), (-a, a - b), (-b, a + b), (-a, a + b)]
    return pairs


def _compiled(image: Tensor, radius: int, dilation: int) -> Tensor:
    values = image[0].numpy()
    # a 2-D image is a 3-D one of a single column in the middle, so that its rows can be shared among threads
    used = np.array([1, 1, 1] if values.ndim == 3 else [1, 0, 1])
    shape = values.shape if values.ndim == 3 else (values.shape[0], 1, values.shape[1])
    padded = np.pad(values.reshape(shape), [(n, n) for n in (radius + dilation) * used], mode="edge")
    bases, steps = (np.array(x) for x in zip(*_pairs(values.ndim)))
    if values.ndim == 2:
        bases, steps = np.insert(bases, 1, 0, axis=1), np.insert(steps, 1, 0, axis=1)
    # the corner of the box that holds both places from which a field of differences is looked at
    origins = np.minimum(bases[0::2], bases[1::2])
    lookups = (bases - np.repeat(origins, 2, axis=0)) * dilation
    out = np.empty((len(bases), *shape), np.float32)
    variance = np.empty(shape[0])
    starts = (origins + used) * dilation
    layout = (starts, steps[::2] * dilation, lookups, radius * used, dilation * used)
    run(_distance_kernel, shape[0], padded, *layout, out, variance)
    mean = variance.sum() / math.prod(shape)
    floor = max(mean * _LEAST, np.finfo(np.float32).tiny)
    run(_likeness_kernel, shape[0], np.float32(floor), np.float32(max(mean * _MOST, floor)), out)
    return torch.from_numpy(out).view(len(out), *image.shape[1:])


@kernel
def _difference_plane(padded, start, step, q, rows, radius, out):
    """Patch sums, along the last two axes, of the squared differences in plane q; `rows` is working space."""
    r1, r2 = radius[1], radius[2]
    height, width = out.shape
    squares = rows[height + 2 * r1]
    for j in range(height + 2 * r1):
        near = padded[q + start[0], j + start[1], start[2] :]
        far = padded[q + start[0] + step[0], j + start[1] + step[1], start[2] + step[2] :]
        for k in range(width + 2 * r2):
            d = far[k] - near[k]
            squares[k] = d * d
        row = rows[j]
        for k in range(width):
            row[k] = squares[k]
        for c in range(1, 2 * r2 + 1):
            for k in range(width):
                row[k] += squares[k + c]
    for j in range(height):
        target = out[j]
        for k in range(width):
            target[k] = rows[j, k]
        for b in range(1, 2 * r1 + 1):
            for k in range(width):
                target[k] += rows[j + b, k]


@kernel
def _distance_kernel(low, high, padded, starts, steps, lookups, radius, reach, out, variance):
    """Patch distances less their minimum over channels; the sum over each plane of their mean."""
    channels, _, height, width = out.shape
    depth = reach[0] + 2 * radius[0] + 1
    ring = np.empty((len(starts), depth, height + reach[1], width + reach[2]), np.float32)
    rows = np.empty((height + reach[1] + 2 * radius[1] + 1, width + reach[2] + 2 * radius[2]), np.float32)
    least = np.empty(width, np.float32)
    for i in range(low, high):
        for q in range(i if i == low else i + depth - 1, i + depth):
            for v in range(len(starts)):
                _difference_plane(padded, starts[v], steps[v], q, rows, radius, ring[v, q % depth])
        total = 0.0
        for j in range(height):
            for k in range(width):
                least[k] = np.inf
            for c in range(channels):
                target = out[c, i, j]
                k0 = lookups[c, 2]
                for a in range(2 * radius[0] + 1):
                    source = ring[c // 2, (i + lookups[c, 0] + a) % depth, j + lookups[c, 1]]
                    if a == 0:
                        for k in range(width):
                            target[k] = source[k + k0]
                    else:
                        for k in range(width):
                            target[k] += source[k + k0]
                for k in range(width):
                    least[k] = min(least[k], target[k])
            for c in range(channels):
                target = out[c, i, j]
                for k in range(width):
                    target[k] -= least[k]
                # on its own: a loop that also writes would not always sum in the same order
                for k in range(width):
                    total += target[k]
        variance[i] = total / channels


@kernel
def _likeness_kernel(low, high, floor, ceiling, out):
    """exp(−D / V), with V the mean of D over the channels, kept between floor and ceiling."""
    channels, _, height, width = out.shape
    scale = np.empty(width, np.float32)
    for i in range(low, high):
        for j in range(height):
            for k in range(width):
                scale[k] = 0
            for c in range(channels):
                for k in range(width):
                    scale[k] += out[c, i, j, k]
            for k in range(width):
                scale[k] = np.float32(-1) / min(max(scale[k] / np.float32(channels), floor), ceiling)
            for c in range(channels):
                for k in range(width):
                    out[c, i, j, k] = math.exp(out[c, i, j, k] * scale[k])
