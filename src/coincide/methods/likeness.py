"""How two images that lie roughly on one another hang together, from which the similarity is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.image import Image
from coincide.methods.classical.bending import level_of
from coincide.ops.smooth import box, gaussian
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.shrink import coarse_grid, resample_smooth
from coincide.transforms.base import Transform


def fine_detail(image: Image) -> float:
    """Standard deviation of what a Gaussian of 2 mm takes away, as a share of the image's, inside the anatomy."""
    grid = coarse_grid(image.grid, 2.0)
    data = resample_smooth(image.data, image.grid, grid)
    inside = foreground_weights(Image(data, grid)) > 0
    deep = box(inside.to(torch.float32)[None], 2)[0] > 5**grid.dim - 0.5
    if int(deep.sum()) < 200:
        return 0.0
    fine = data - gaussian(data, 2.0 / grid.spacing)
    return float(fine[0][deep].double().std() / data[0][inside].double().std())


@dataclass(frozen=True)
class Likeness:
    """How the intensities of two roughly aligned images hang together where both show anatomy.

    Args:
        correlation: Pearson's.
        linearity: share of the dependence (correlation ratio, the worse of both ways) that a straight line explains.
        histograms: mean difference of the standardised quantiles of the two.
    """

    correlation: float
    linearity: float
    histograms: float

    @property
    def same_modality(self) -> bool:
        """Whether both come from one modality; the bounds are in the widest gap among images of both kinds."""
        close = self.histograms < 0.14 or self.correlation > 0.75
        return self.correlation > 0.3 and self.linearity > 0.87 and close

    @classmethod
    def of(cls, fixed: Image, moving: Image, transform: Transform) -> Likeness:
        """The likeness through `transform` (fixed-world mm → moving-world mm) of images that are normalised already."""
        grid = coarse_grid(fixed.grid, 2.0 * float(np.prod(fixed.grid.spacing) ** (1 / fixed.dim)))
        level = level_of(grid, fixed, moving, transform, cubic=False)
        inside = torch.ones(grid.shape, dtype=torch.bool)
        for mask in (level.fixed_mask, level.moving_mask):
            if mask is not None:
                inside &= mask
        for data in (level.fixed, level.moving):
            inside &= foreground_weights(Image(data, grid)) > 0
        x, y = level.fixed[0][inside].double().numpy(), level.moving[0][inside].double().numpy()
        if len(x) < 200 or x.std() == 0 or y.std() == 0:
            return cls(0.0, 0.0, 1.0)
        correlation = float(np.corrcoef(x, y)[0, 1])
        linearity = correlation**2 / max(_correlation_ratio(x, y), _correlation_ratio(y, x), 1e-9)
        at = np.linspace(0.02, 0.98, 25)
        qx, qy = np.quantile(x, at), np.quantile(y, at)
        apart = np.abs((qx - qx.mean()) / (qx.std() + 1e-9) - (qy - qy.mean()) / (qy.std() + 1e-9)).mean()
        return cls(correlation, min(linearity, 1.0), float(apart))


def _correlation_ratio(x: np.ndarray, y: np.ndarray, bins: int = 32) -> float:
    """Share of the variance of `y` that its mean within each of `bins` equally filled bins of `x` explains."""
    order = np.argsort(x, kind="stable")
    means = [part.mean() for part in np.array_split(y[order], bins)]
    sizes = [len(part) for part in np.array_split(order, bins)]
    return float(np.average((np.array(means) - y.mean()) ** 2, weights=sizes) / y.var())
