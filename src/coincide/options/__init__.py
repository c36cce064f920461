"""Options: fields of small frozen dataclasses, read from a SPEC, described, and held to their types and ranges."""

from coincide.options.ranges import (
    Checked,
    Count,
    Fraction,
    NotNegative,
    Positive,
    PositiveShare,
    Range,
    Share,
    ShareBelowOne,
    Whole,
    check,
    check_value,
)
from coincide.options.spec import Family, build, describe, type_name

__all__ = [
    "Checked",
    "Count",
    "Family",
    "Fraction",
    "NotNegative",
    "Positive",
    "PositiveShare",
    "Range",
    "Share",
    "ShareBelowOne",
    "Whole",
    "build",
    "check",
    "check_value",
    "describe",
    "type_name",
]
