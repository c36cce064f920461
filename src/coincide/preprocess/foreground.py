"""Where in an image there is something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.image import Image


def foreground_weights(image: Image, threshold: float = 0.1) -> torch.Tensor:
    """Intensity above the background, in the mask, `(*shape)` float32: 0 in air, up to 1 in bright tissue.

    Args:
        image: normalised to 0…1 (see `normalise`).
        threshold: below it is air.
    """
    brightest = image.data[0] if len(image.data) == 1 else image.data.amax(0)
    weights = (brightest - threshold).clamp_(0, 1)
    if image.mask is not None:
        weights *= image.mask
    return weights


def bounding_box(weights: torch.Tensor, share: float = 0.002) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one index along each axis of what holds all but `share` of the weight at either end."""
    start, stop = [], []
    for axis, n in enumerate(weights.shape):
        others = tuple(a for a in range(weights.ndim) if a != axis)
        along = np.cumsum(weights.numpy().sum(axis=others, dtype=np.float64))
        total = along[-1]
        if total <= 0:
            start.append(0)
            stop.append(n)
            continue
        start.append(int(np.searchsorted(along, share * total, side="right")))
        stop.append(min(n, int(np.searchsorted(along, (1 - share) * total, side="left")) + 1))
    return np.array(start), np.array(stop)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mass distribution of a foreground: centre (world mm), principal axes as columns (long to short), radii (mm)."""

    centre: np.ndarray
    axes: np.ndarray
    radii: np.ndarray

    @property
    def size(self) -> float:
        """Geometric mean of the radii, mm."""
        return float(np.exp(np.log(np.maximum(self.radii, 1e-3)).mean()))


def moments(image: Image, weights: torch.Tensor) -> Moments:
    """Centre of mass and principal axes of `weights` `(*shape)` on the image's grid; of the field of view if empty."""
    w = weights.to(torch.float64).numpy()
    if w.sum() <= 0:
        w = np.ones_like(w)
    points = image.grid.points().reshape(-1, image.dim)
    flat = w.ravel() / w.sum()
    # einsum, not a matrix product: BLAS adds in an order that depends on the number of threads
    centre = np.einsum("n,na->a", flat, points)
    apart = points - centre
    values, axes = np.linalg.eigh(np.einsum("n,na,nb->ab", flat, apart, apart))
    order = np.argsort(values)[::-1]
    return Moments(centre, axes[:, order], np.sqrt(np.maximum(values[order], 0)))
