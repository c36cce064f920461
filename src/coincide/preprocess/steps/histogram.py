"""Histograms evened out in places, or made like that of another image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from coincide.errors import OptionError
from coincide.image import Image
from coincide.options import Count, Positive, Range
from coincide.preprocess.step import Seen, ValueStep, look


@dataclass(frozen=True)
class CLAHE(ValueStep):
    """Contrast-limited adaptive histogram equalisation: local contrast evened out, in the image's own range.

    Zuiderveld 1994, as scikit-image has it, in 2-D and 3-D.

    Args:
        tile: edge of the tiles whose histograms are evened out, mm.
        clip: share of a tile's voxels that one bin may hold; less leaves more of the image as it was.
        bins: of the histograms.
    """

    name: ClassVar[str] = "clahe"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    tile: Positive = 30.0
    clip: Annotated[float, Range(0, 1, above=True)] = 0.01
    bins: Annotated[int, Range(2)] = 256

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        from skimage.exposure import equalize_adapthist

        bottom, top = seen.range()
        share = np.clip((seen.values.astype(np.float64) - bottom) / (top - bottom), 0, 1)
        sizes = [int(np.clip(round(self.tile / s), 1, n)) for s, n in zip(seen.spacing, share.shape)]
        return bottom + (top - bottom) * equalize_adapthist(share, sizes, self.clip, self.bins)


@dataclass(frozen=True)
class Match(ValueStep):
    """The histogram of what counts made like that of another image: each value becomes that of the same rank there.

    Args:
        reference: the other image; a file on the command line.
        quantiles: how many ranks are compared; those between are interpolated.
    """

    name: ClassVar[str] = "match"
    reference: str = ""
    quantiles: Count = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reference:
            raise OptionError("match: no reference image is named. Give one: match:reference=FILE.")

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:
        if self.reference not in aids:
            raise OptionError(
                f"match: the reference {self.reference!r} was not handed over; hand it to the pipeline in `aids`."
            )
        other, _ = look(aids[self.reference], 0)
        ranks = np.linspace(0, 100, self.quantiles + 1)
        here, there = (np.percentile(s.values[s.known].astype(np.float64), ranks) for s in (seen, other))
        # several ranks of one value, as air has, go to the middle of what they would become
        values, place, number = np.unique(here, return_inverse=True, return_counts=True)
        return np.interp(seen.values, values, np.bincount(place.ravel(), there) / number)
