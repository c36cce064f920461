"""Numbers that a network can answer with, and the matrices they stand for; lengths in halves of the field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Model = Literal["rigid", "affine"]


@dataclass(frozen=True)
class Pose:
    """Axes of a rotation, logarithms of scales, shears, and the shift: smooth everywhere, and never a reflection.

    The axes are two columns (one in 2-D) of any length, made orthonormal; so no turn is far from its neighbours, as it
    is with angles. Source: Zhou et al., "On the Continuity of Rotation Representations" (2019),
    doi:10.1109/CVPR.2019.00589.

    Args:
        dim: 2 or 3.
        model: `"rigid"` has neither scales nor shears.
    """

    dim: int
    model: Model

    @property
    def size(self) -> int:
        """How many numbers there are."""
        free = self.dim + self._shears if self.model == "affine" else 0
        return self.dim * (self.dim - 1) + free + self.dim

    def matrix(self, numbers: Tensor) -> Tensor:
        """`(batch, dim+1, dim+1)` float32 matrices that `(batch, size)` numbers stand for."""
        dim, turning = self.dim, self.dim * (self.dim - 1)
        numbers = numbers.float()
        linear = _orthonormal(numbers[:, :turning].reshape(-1, dim - 1, dim))
        if self.model == "affine":
            scales, shears = numbers[:, turning : turning + dim], numbers[:, turning + dim : -dim]
            upper = torch.eye(dim, device=numbers.device).repeat(len(numbers), 1, 1)
            row, column = torch.triu_indices(dim, dim, 1)
            upper[:, row, column] = shears
            linear = linear @ upper * scales.exp()[:, None]
        return _homogeneous(linear, numbers[:, -dim:])

    def numbers(self, matrices: Tensor) -> Tensor:
        """The numbers of matrices that do not reflect; of a rigid model, those of the rotation within them."""
        linear, shift = matrices[:, :-1, :-1], matrices[:, :-1, -1]
        rotation, upper = torch.linalg.qr(linear)
        signs = upper.diagonal(dim1=1, dim2=2).sign()
        rotation, upper = rotation * signs[:, None], upper * signs[..., None]
        found = [rotation.mT[:, :-1].flatten(1)]
        if self.model == "affine":
            scales = upper.diagonal(dim1=1, dim2=2)
            row, column = torch.triu_indices(self.dim, self.dim, 1)
            found += [scales.log(), (upper / scales[:, None])[:, row, column]]
        return torch.cat([*found, shift], 1)

    @property
    def _shears(self) -> int:
        return self.dim * (self.dim - 1) // 2


@dataclass(frozen=True)
class Raw:
    """The textbook's numbers: angles and the shift, or the entries of the matrix less the identity.

    Args:
        dim: 2 or 3.
        model: `"rigid"` has angles, in radians, about the axes one after the other, the first axis last.
    """

    dim: int
    model: Model

    @property
    def size(self) -> int:
        """How many numbers there are."""
        dim = self.dim
        return dim * (dim + 1) if self.model == "affine" else dim * (dim - 1) // 2 + dim

    def matrix(self, numbers: Tensor) -> Tensor:
        """`(batch, dim+1, dim+1)` float32 matrices that `(batch, size)` numbers stand for."""
        dim, numbers = self.dim, numbers.float()
        if self.model == "affine":
            rows = numbers.reshape(-1, dim, dim + 1)
            still = torch.eye(dim, device=numbers.device)
            return _homogeneous(rows[..., :dim] + still, rows[..., dim])
        linear = torch.eye(dim, device=numbers.device).expand(len(numbers), -1, -1)
        for plane, angle in zip(self._planes, numbers.T):
            linear = linear @ _turned(dim, plane, angle)
        return _homogeneous(linear, numbers[:, -dim:])

    def numbers(self, matrices: Tensor) -> Tensor:
        """The numbers of matrices; of a rigid model, those of the rotation within them."""
        dim = self.dim
        if self.model == "affine":
            return (matrices - torch.eye(dim + 1, device=matrices.device))[:, :-1].flatten(1)
        rotation = Pose(dim, "rigid").matrix(Pose(dim, "rigid").numbers(matrices))[:, :-1, :-1]
        if dim == 2:
            angles = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])[:, None]
        else:
            across = rotation[:, 0, 2].clamp(-1, 1).asin()
            first = torch.atan2(-rotation[:, 1, 2], rotation[:, 2, 2])
            last = torch.atan2(-rotation[:, 0, 1], rotation[:, 0, 0])
            angles = torch.stack([first, across, last], 1)
        return torch.cat([angles, matrices[:, :-1, -1]], 1)

    @property
    def _planes(self) -> tuple[tuple[int, int], ...]:
        """The pairs of axes that are turned into each other."""
        return ((0, 1),) if self.dim == 2 else ((1, 2), (2, 0), (0, 1))


def _orthonormal(rows: Tensor) -> Tensor:
    """Rotations whose first columns are drawn from `(batch, dim - 1, dim)`, by Gram and Schmidt."""
    first = F.normalize(rows[:, 0], dim=-1, eps=1e-6)
    if rows.shape[-1] == 2:
        return torch.stack([first, torch.stack([-first[:, 1], first[:, 0]], -1)], -1)
    across = rows[:, 1] - (first * rows[:, 1]).sum(-1, keepdim=True) * first
    second = F.normalize(across, dim=-1, eps=1e-6)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _turned(dim: int, plane: tuple[int, int], angle: Tensor) -> Tensor:
    """Rotations by `(batch,)` radians from the first axis of `plane` to the second."""
    found = torch.eye(dim, device=angle.device).repeat(len(angle), 1, 1)
    a, b = plane
    found[:, a, a] = found[:, b, b] = angle.cos()
    found[:, a, b], found[:, b, a] = -angle.sin(), angle.sin()
    return found


def _homogeneous(linear: Tensor, shift: Tensor) -> Tensor:
    last = F.one_hot(torch.tensor(shift.shape[1]), shift.shape[1] + 1).to(linear)
    return torch.cat([torch.cat([linear, shift[..., None]], 2), last.expand(len(linear), 1, -1)], 1)
