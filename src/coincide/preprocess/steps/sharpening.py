"""Blur taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from coincide.image import Image
from coincide.ops.smooth import gaussian
from coincide.options import Count, Positive
from coincide.preprocess.step import Seen, ValueStep

_FWHM = 2 * np.sqrt(2 * np.log(2))
"""Width at half its height of a Gaussian of standard deviation 1."""


@dataclass(frozen=True)
class Unsharp(ValueStep):
    """What a Gaussian takes away is put on top: edges stand out, and so does noise.

    Args:
        sigma: of the Gaussian, mm.
        amount: how many times.
    """

    name: ClassVar[str] = "unsharp"
    sigma: Positive = 1.5
    amount: Positive = 0.7

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        blurred = gaussian(torch.from_numpy(seen.values)[None], self.sigma / seen.spacing, truncate=4.0)[
            0
        ].numpy()
        return seen.values + self.amount * (seen.values - blurred)


@dataclass(frozen=True)
class Deconvolve(ValueStep):
    """Richardson and Lucy's deconvolution of a Gaussian blur; the sum of the values stays.

    Richardson 1972, doi:10.1364/JOSA.62.000055.

    Args:
        fwhm: width of the blur at half its height, mm.
        iterations: more takes back more, and brings out more noise.
    """

    name: ClassVar[str] = "deconvolve"
    fwhm: Positive = 2.0
    iterations: Count = 10

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        bottom, top = seen.range()
        # the method is for what cannot be negative
        given = (torch.from_numpy(seen.values)[None] - bottom).clamp_min(0)
        sigma = self.fwhm / _FWHM / seen.spacing
        least = 1e-6 * (top - bottom)
        found = given.clone()
        for _ in range(self.iterations):
            ratio = given / gaussian(found, sigma, truncate=4.0).clamp_min(least)
            found = found * gaussian(ratio, sigma, truncate=4.0)
        return found[0].numpy() + bottom
