"""What a network is shown of an image."""

from __future__ import annotations

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.shrink import resample_smooth
from coincide.transforms.linear import Affine


def shown(image: Image, grid: Grid, matrix: np.ndarray) -> torch.Tensor:
    """The first channel of `image` on `grid`, dark where it is not known, `(1, *grid.shape)`.

    Args:
        image: normalised.
        grid: what the network sees.
        matrix: from the world of `grid` to the image's, mm.
    """
    data = resample_smooth(image.data[:1], image.grid, grid, matrix)
    outside = ~image.grid.inside(Affine(matrix)(grid.points()))
    return data.masked_fill(torch.from_numpy(outside)[None], float(image.data[:1].min()))
