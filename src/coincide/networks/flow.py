"""Fields of a whole batch: what `ops.field` does for one, for networks.

Lattices that lie within each other share their outline: a voxel of the coarser one covers 2 × 2 × 2 of the finer.
Displacements are in voxels of their own lattice, `(batch, dim, *shape)`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coincide.ops.field import exponentiate, lattice, warp


def warped(images: Tensor, fields: Tensor) -> Tensor:
    """`images(x + u(x))`, `(batch, channel, *shape)`, linear between voxels, the border's value outside."""
    if not (torch.is_grad_enabled() and images.requires_grad):
        return torch.stack([warp(image.contiguous(), field) for image, field in zip(images, fields)])
    shape = fields.shape[2:]
    place = lattice(tuple(shape), fields) + fields
    size = torch.tensor(shape, dtype=fields.dtype, device=fields.device).reshape(-1, *[1] * len(shape))
    # torch counts in halves of the field of view, and the axes from the last one
    unit = ((2 * place + 1) / size - 1).flip(1).movedim(1, -1)
    return F.grid_sample(images, unit, padding_mode="border", align_corners=False)


@torch.no_grad()
def to_the_middle(velocities: Tensor) -> tuple[Tensor, Tensor]:
    """Displacements from the middle between two images to the first and to the second, without gradients.

    Args:
        velocities: from the first to the second.
    """
    half = velocities.detach().float() / 2
    return tuple(torch.stack([exponentiate(v.contiguous()) for v in way]) for way in (-half, half))  # type: ignore[return-value] - two


def refined(coefficients: Tensor) -> Tensor:
    """Fields on a lattice twice as fine, in its voxels, that lead to the same quadratic B-splines.

    Subdivision of coefficients; there is nothing in it to be learned. Source: Chaikin, "An algorithm for high-speed
    curve generation" (1974), doi:10.1016/0146-664X(74)90028-8.
    """
    mode = "bilinear" if coefficients.ndim == 4 else "trilinear"
    return 2 * F.interpolate(coefficients, scale_factor=2, mode=mode, align_corners=False)


def strain(fields: Tensor) -> Tensor:
    """Mean square of the derivatives of fields, which has no unit; `(batch,)`."""
    parts = [fields.diff(dim=axis).square().sum(1).flatten(1).mean(1) for axis in range(2, fields.ndim)]
    return torch.stack(parts).sum(0)
