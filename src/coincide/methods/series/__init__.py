"""Ways to find where every frame of a series lies. Any ordinary method does it frame by frame."""

from coincide.methods.series.base import AbstractSeriesMethod, Frame, Series, SeriesSolution
from coincide.methods.series.framewise import Framewise
from coincide.methods.series.reference import REFERENCES, aligned, follow
from coincide.methods.series.sequence import Live, Sequence, parse_series

__all__ = [
    "REFERENCES",
    "AbstractSeriesMethod",
    "Frame",
    "Framewise",
    "Live",
    "Sequence",
    "Series",
    "SeriesSolution",
    "aligned",
    "follow",
    "parse_series",
]
