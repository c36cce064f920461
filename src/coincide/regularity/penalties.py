"""What a deformation is charged for, with gradients, for a whole batch of fields at once.

Fields are `(batch, dim, *shape)` displacements in voxels; all penalties are without unit, 0 for a field that is the
same everywhere, and means over the lattice, so they do not depend on its size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coincide.ops.field import compose

_INWARD = 0.05
"""Share of its volume below which a voxel counts as about to fold."""


def bending(fields: Tensor) -> Tensor:
    """Mean square of the second derivatives, the mixed ones twice, `(batch,)`.

    Source: Rueckert et al. 1999, doi:10.1109/42.796284.
    """
    axes, total = range(2, fields.ndim), torch.zeros(len(fields), dtype=fields.dtype, device=fields.device)
    for one in axes:
        for other in range(one, fields.ndim):
            second = fields.diff(dim=one).diff(dim=other)
            total = total + (1 + (one != other)) * second.square().sum(1).flatten(1).mean(1)
    return total


def folding(fields: Tensor) -> Tensor:
    """Mean of how far the Jacobian determinant (forward differences) lies below 1/20, `(batch,)`."""
    dim = fields.shape[1]
    inner = tuple(slice(0, n - 1) for n in fields.shape[2:])
    rows = [fields.diff(dim=axis + 2)[(..., *_but(inner, axis))] for axis in range(dim)]
    jacobian = torch.stack(rows, 2).movedim((1, 2), (-2, -1)) + torch.eye(dim, dtype=fields.dtype).to(fields)
    return F.relu(_INWARD - _determinant(jacobian)).flatten(1).mean(1)


def inverse_consistency(there: Tensor, back: Tensor) -> Tensor:
    """Mean square of how far one ends from where one began by going there and back, square voxels, `(batch,)`."""
    ways = [compose(one, other) for one, other in zip(back, there)]
    return torch.stack(ways).square().sum(1).flatten(1).mean(1)


def _but(inner: tuple[slice, ...], axis: int) -> tuple[slice, ...]:
    return tuple(slice(None) if n == axis else part for n, part in enumerate(inner))


def _determinant(matrix: Tensor) -> Tensor:
    """Of `(…, dim, dim)`, dim 2 or 3; written out, as torch's own factorises each one."""
    if matrix.shape[-1] == 2:
        return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
    one, two, three = matrix.unbind(-2)
    return (one * torch.linalg.cross(two, three)).sum(-1)
