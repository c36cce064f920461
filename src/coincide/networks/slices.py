"""Networks that see pictures, asked about volumes: slice by slice along every axis."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_AT_ONCE = 16
"""Slices that a network is shown together."""
_EMPTY = 0.1
"""Share of the volume's standard deviation that a slice must have to show anything."""


@torch.no_grad()
def along_every_axis(network: Callable[[Tensor], Tensor], image: Tensor, multiple: int) -> Tensor:
    """What a network makes of a volume's slices along each of its axes, or of a picture.

    Args:
        network: `(batch, 1, *shape)` to `(batch, channel, *shape)`, in 2-D.
        image: `(1, *shape)`, 2-D or 3-D.
        multiple: what every length of a slice must be a multiple of.

    Returns:
        `(views, channel, *shape)`, three views of a volume and one of a picture; 0 in slices that show nothing.
    """
    if image.ndim == 3:
        return _asked(network, image[None], multiple)
    views = []
    for axis in range(3):
        slices = image[0].movedim(axis, 0)[:, None]
        shows = slices.flatten(1).std(1) > _EMPTY * image.std()
        some = slices[shows] if bool(shows.any()) else slices[:1] * 0
        parts = torch.cat([_asked(network, part, multiple) for part in some.split(_AT_ONCE)])
        whole = parts.new_zeros(len(slices), *parts.shape[1:])
        if bool(shows.any()):
            whole[shows] = parts
        views.append(whole.movedim(0, 1).movedim(1, axis + 1))
    return torch.stack(views)


def _asked(network: Callable[[Tensor], Tensor], pictures: Tensor, multiple: int) -> Tensor:
    """`pictures` `(batch, 1, *shape)` through a network, as if they went on beyond their border."""
    rows, columns = pictures.shape[2:]
    padded = F.pad(pictures, (0, -columns % multiple, 0, -rows % multiple), mode="replicate")
    return network(padded)[..., :rows, :columns]
