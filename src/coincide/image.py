"""An image: values on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from coincide.errors import DimensionError, IntensityError, LabelError, MaskError
from coincide.grid import Grid

Kind = Literal["intensity", "label"]


@dataclass(frozen=True, eq=False)
class Image:
    """Values on a grid.

    Args:
        data: `(channel, *grid.shape)` tensor. Intensities are floating point (integers are turned into float32);
            labels keep the integer type they came with, unsigned ones included.
        grid: where the voxels lie.
        kind: `"intensity"` or `"label"`; decides how the image is interpolated.
        mask: `(*grid.shape)` bool tensor of the voxels that count, or None for all.
        name: what to call the image in messages, a file's name where there is one.

    Raises:
        DimensionError: data and grid disagree in shape.
        IntensityError: the values are complex.
        LabelError: labels that are not integers.
        MaskError: the mask has another shape than the grid, or is empty.
    """

    data: torch.Tensor
    grid: Grid
    kind: Kind = "intensity"
    mask: torch.Tensor | None = None
    name: str = "image"

    def __post_init__(self) -> None:
        data = self.data if isinstance(self.data, torch.Tensor) else torch.from_numpy(np.asarray(self.data))
        if data.ndim == self.grid.dim:
            data = data[None]
        if tuple(data.shape[1:]) != self.grid.shape or data.ndim != self.grid.dim + 1:
            raise DimensionError(
                f"{self.name}: data of shape {tuple(data.shape)} do not fit a grid of {self.grid.shape}; "
                "expected (channel, *grid shape)."
            )
        if data.is_complex():
            raise IntensityError(
                f"{self.name}: the values are complex. Take the magnitude or one part first."
            )
        if self.kind == "label":
            if data.is_floating_point():
                raise LabelError(f"{self.name}: labels must be integers, found {data.dtype}.")
        elif not data.is_floating_point():
            data = data.to(torch.float32)
        object.__setattr__(self, "data", data)
        if self.mask is not None:
            mask = (
                self.mask if isinstance(self.mask, torch.Tensor) else torch.from_numpy(np.asarray(self.mask))
            )
            if tuple(mask.shape) != self.grid.shape:
                raise MaskError(
                    f"{self.name}: the mask has shape {tuple(mask.shape)}, its image {self.grid.shape}. "
                    "Resample the mask onto the image first."
                )
            mask = mask.to(torch.bool)
            if not bool(mask.any()):
                raise MaskError(
                    f"{self.name}: the mask is empty (0 of {mask.numel():,} voxels). Check it, or leave it out."
                )
            object.__setattr__(self, "mask", mask)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.grid.dim

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.data.shape[0])

    def numpy(self) -> np.ndarray:
        """The values as an array `(channel, *shape)`, sharing memory on the CPU."""
        return self.data.detach().cpu().numpy()

    def with_data(self, data: torch.Tensor, **changes) -> Image:
        """A copy with other values (and whatever else is named)."""
        return replace(self, data=data, **changes)

    def with_mask(self, mask: torch.Tensor | None) -> Image:
        """A copy with another mask."""
        return replace(self, mask=mask)

    def __repr__(self) -> str:
        return (
            f"Image({self.name!r}, {self.kind}, {self.channels} channel(s), {self.data.dtype}, {self.grid!r})"
        )
