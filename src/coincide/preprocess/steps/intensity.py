"""Intensities cut off, scaled and bent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from coincide.errors import OptionError
from coincide.image import Image
from coincide.options import Positive, Range
from coincide.preprocess.step import Seen, ValueStep

Percent = Annotated[float, Range(0, 100)]


@dataclass(frozen=True)
class Window(ValueStep):
    """What lies below and above a window is cut off; what lies inside stays as it is.

    Args:
        low: least value, in the image's unit (Hounsfield units in CT).
        high: greatest value, likewise.
    """

    name: ClassVar[str] = "window"
    low: float = -160.0
    high: float = 240.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise OptionError(
                f"window: low is {self.low} and high {self.high}; expected a lower and a higher value."
            )

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        return np.clip(seen.values, self.low, self.high)


@dataclass(frozen=True)
class Rescale(ValueStep):
    """Two percentiles are laid on two values, and what lies beyond them is cut off.

    Args:
        lower: percentile of the voxels that count, %.
        upper: percentile likewise, %.
        low: what becomes of the lower one.
        high: what becomes of the upper one.
    """

    name: ClassVar[str] = "rescale"
    lower: Percent = 0.5
    upper: Percent = 99.5
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high or self.lower >= self.upper:
            raise OptionError(
                f"rescale: percentiles {self.lower} and {self.upper} are to become {self.low} and {self.high}; "
                "expected a lower and a higher one of each."
            )

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        bottom, top = seen.range(self.lower, self.upper)
        share = np.clip((seen.values - bottom) / (top - bottom), 0, 1)
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True)
class ZScore(ValueStep):
    """The mean of what counts becomes 0 and its standard deviation 1."""

    name: ClassVar[str] = "zscore"

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        seen.range()
        counted = seen.values[seen.known].astype(np.float64)
        return (seen.values - counted.mean()) / counted.std()


@dataclass(frozen=True)
class Gamma(ValueStep):
    """Brightness bent by a power over the image's own range, whose ends stay: the inverse power undoes it.

    Args:
        exponent: below 1 brightens what is dark, above 1 darkens it.
    """

    name: ClassVar[str] = "gamma"
    exponent: Positive = 0.7

    def change(self, seen: Seen, aids: Mapping[str, Image]) -> np.ndarray:  # noqa: ARG002
        bottom, top = seen.range()
        share = np.clip((seen.values - bottom) / (top - bottom), 0, 1)
        return bottom + (top - bottom) * share**self.exponent
