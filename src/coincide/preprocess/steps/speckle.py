"""Speckle: noise that is as strong as the signal is bright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from coincide.image import Image
from coincide.ops.smooth import gaussian
from coincide.options import Positive
from coincide.preprocess.step import Seen, ValueStep


@dataclass(frozen=True)
class Speckle(ValueStep):
    """Each voxel drawn to the mean of its surroundings, the more the less these vary beyond what speckle does.

    Lee 1980, doi:10.1109/TPAMI.1980.4766994, with Gaussian surroundings; for ultrasound and coherent light, before
    any logarithm.

    Args:
        sigma: of the surroundings, mm.
        variation: standard deviation of the speckle as a share of the brightness; 0.52 for one look at amplitudes.
    """

    name: ClassVar[str] = "speckle"
    sigma: Positive = 2.0
    variation: Positive = 0.25

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        values = torch.from_numpy(seen.values)[None]
        # taking the middle off first keeps the digits that a square would lose
        middle = float(values.mean())
        both = torch.cat([values - middle, (values - middle) ** 2])
        mean, square = gaussian(both, self.sigma / seen.spacing).numpy()
        varied = np.maximum(square - mean**2, 1e-12)
        mean = mean + middle
        of_speckle = (self.variation * mean) ** 2
        own = np.maximum(varied - of_speckle, 0) / (1 + self.variation**2)
        return mean + own / varied * (seen.values - mean)
