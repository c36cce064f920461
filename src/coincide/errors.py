"""Every error coincide raises on purpose.

::

    CoincideError                    exit code
    ├── InputError                   3   what was handed in cannot be used
    │   ├── MissingFileError             no such file, or a folder
    │   ├── UnreadableFileError          truncated, gzip-broken, unknown format
    │   ├── GeometryError                zero or NaN spacing, singular affine, sheared where it must not be
    │   ├── DimensionError               2-D against 3-D, 4-D without a choice of volume
    │   ├── IntensityError               constant, all NaN, complex, coloured
    │   ├── MaskError                    empty, or on another grid
    │   ├── LabelError                   not integers, or on another grid
    │   ├── PointsError                  bad CSV, wrong number or order of landmarks
    │   ├── OverlapError                 the images share no space
    │   ├── TransformError               a transform file that cannot be used, or a map that has no inverse
    │   ├── MissingPackageError          an optional package is not installed, or of a version that will not do
    │   └── OptionError                  unknown method, option or value (names the nearest known one)
    ├── OutputError                  3   the results cannot be written where they were asked for
    ├── RegistrationFailedError      4   ran, but was judged failed (only with throw=True)
    ├── ResourceError                5   would need, or ran out of, memory or time
    └── CancelledError             130   interrupted

A message says where, what was found, what was expected, and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CoincideError(Exception):
    """Root of every error coincide raises on purpose."""

    exit_code = 6


class InputError(CoincideError, ValueError):
    """Something handed in cannot be used."""

    exit_code = 3


class MissingFileError(InputError, FileNotFoundError):
    """There is no such file."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnreadableFileError(InputError):
    """The file is there, but it is broken or of a format coincide does not read."""


class GeometryError(InputError):
    """Spacing, direction or affine cannot be right."""


class DimensionError(InputError):
    """The number of dimensions does not fit."""


class IntensityError(InputError):
    """The voxel values cannot be registered."""


class MaskError(InputError):
    """The mask is empty or does not lie on its image's grid."""


class LabelError(InputError):
    """The label map is not one, or does not lie on its image's grid."""


class PointsError(InputError):
    """The landmarks cannot be used."""


class OverlapError(InputError):
    """The images share no space."""


class TransformError(InputError):
    """The transform cannot be read, or has no inverse."""


class MissingPackageError(InputError, ImportError):
    """A package that only some methods need is not installed, or of a version that will not do."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class OptionError(InputError):
    """A method, an option or a value is not known."""


class OutputError(CoincideError, OSError):
    """The results cannot be written."""

    exit_code = 3

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class RegistrationFailedError(CoincideError):
    """The registration ran and was judged failed."""

    exit_code = 4


class ResourceError(CoincideError):
    """Memory or time does not suffice."""

    exit_code = 5


class CancelledError(CoincideError):
    """The user interrupted."""

    exit_code = 130


def unknown(what: str, given: str, known: Iterable[str], of: str = "") -> OptionError:
    """An `OptionError` for `given` that names the nearest of the `known` names and lists them all.

    Args:
        what: it was to be: `"option"`.
        given: what was found.
        known: what could be there.
        of: what it belongs to: `"of method 'linear'"`.
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return OptionError(f"unknown {what} {given!r}{of and ' ' + of}. {hint}Known: {', '.join(names)}.")
