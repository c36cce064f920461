"""What a similarity asks of a deformation: its value under a field, and the force that it exerts on it."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from coincide.ops.bundle import bundle_force, bundle_stiffness, bundled, bundles, warp_bundle
from coincide.ops.field import warp
from coincide.ops.force import force, stiffness
from coincide.ops.moments import total
from coincide.similarity.base import Prepared, combined
from coincide.similarity.mse import SquaredError


class Pull(Protocol):
    """A prepared similarity and the moving features that it is asked about."""

    def __call__(self, field: Tensor, known: Tensor | None, out: Tensor) -> float:
        """The value under `field`, and in `out` the force there.

        Args:
            field: `(dim, *shape)` in voxels.
            known: `(*shape)` bool, where the warped moving image is known, or None for everywhere.
            out: `(dim, *shape)`, see `ops.force.force`.
        """
        ...

    def stiffness(self) -> Tensor:
        """Under the field last asked about, see `ops.force.stiffness`; `(1, *shape)`."""
        ...


def pull_of(prepared: Prepared, features: Tensor) -> Pull:
    """The pull of `prepared` on moving `features` `(channel, *shape)`."""
    if (
        isinstance(prepared, SquaredError)
        and prepared.unit
        and prepared.fused(features)
        and bundles(features)
    ):
        return Bundled(prepared, features)
    return Plain(prepared, features)


class Plain:
    """The pull of any similarity, channel by channel."""

    def __init__(self, prepared: Prepared, features: Tensor):
        self._prepared, self._features, self._stretches = prepared, features, prepared.needed()
        self._warped, self._curvature = torch.zeros_like(features), None

    def __call__(self, field: Tensor, known: Tensor | None, out: Tensor) -> float:
        self._curvature = None  # freed before the next one is made
        warp(self._features, field, out=self._warped, stretches=self._stretches)
        evaluation = self._prepared.value_and_gradient(self._warped, known)
        force(self._warped, evaluation.gradient, out=out)
        self._curvature = evaluation.curvature
        return evaluation.value

    def stiffness(self) -> Tensor:
        assert self._curvature is not None  # a force was asked for before
        return stiffness(self._warped, self._curvature)


class Bundled:
    """The pull of a squared error over many channels that lie within 0 to 1: all channels of a voxel together."""

    def __init__(self, prepared: SquaredError, features: Tensor):
        self._weights, self._channels = prepared.weights, len(features)
        self._fixed, self._moving = bundled(prepared.fixed), bundled(features)
        self._warped = self._fixed.copy()
        self._known: Tensor | None = None
        self._over(None)

    def _over(self, known: Tensor | None) -> None:
        self._known, self._both = known, combined(self._weights, known)
        self._sum = total(self._both.reshape(-1).numpy()) * self._channels

    def __call__(self, field: Tensor, known: Tensor | None, out: Tensor) -> float:
        if known is not self._known:
            self._over(known)
        if not self._sum > 0:
            out.zero_()
            return math.inf
        warp_bundle(self._moving, field, self._warped)
        return bundle_force(self._warped, self._fixed, self._both, 2 / self._sum, out) / self._sum

    def stiffness(self) -> Tensor:
        return bundle_stiffness(self._warped, self._both * (2 / max(self._sum, 1e-30)))
