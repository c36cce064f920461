"""Medical image registration: fast on a CPU, accurate, and honest about failure."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

# Read by OpenMP when torch is loaded. Its threads otherwise spin while they wait for each other: where others
# use the machine too, a run of many small steps takes fifteen times as long (36 s against 2.3 s, measured).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read by torch at its first large allocation: asks the system for huge pages, without which the first touch of a new
# field of a brain costs five times what writing it does.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from coincide.api import register
    from coincide.cohort.labelling import Labelling, label
    from coincide.errors import CoincideError
    from coincide.grid import Grid
    from coincide.image import Image
    from coincide.io import (
        read_image,
        read_points,
        read_transform,
        write_image,
        write_points,
        write_transform,
    )
    from coincide.pair import Pair
    from coincide.points import Points
    from coincide.registration import Registration, Verdict
    from coincide.report import write_report
    from coincide.report.labelling import write_labelling
    from coincide.results import write_results
    from coincide.transforms.base import Transform
    from coincide.transforms.displacement import Displacement
    from coincide.transforms.linear import Affine
    from coincide.transforms.resample import resample

__version__ = "0.1.0"

__all__ = [
    "Affine",
    "CoincideError",
    "Displacement",
    "Grid",
    "Image",
    "Labelling",
    "Pair",
    "Points",
    "Registration",
    "Transform",
    "Verdict",
    "label",
    "read_image",
    "read_points",
    "read_transform",
    "register",
    "resample",
    "write_image",
    "write_labelling",
    "write_points",
    "write_report",
    "write_results",
    "write_transform",
]

_HOME = {
    "Affine": "coincide.transforms.linear",
    "CoincideError": "coincide.errors",
    "Displacement": "coincide.transforms.displacement",
    "Grid": "coincide.grid",
    "Image": "coincide.image",
    "Labelling": "coincide.cohort.labelling",
    "Pair": "coincide.pair",
    "Points": "coincide.points",
    "Registration": "coincide.registration",
    "Transform": "coincide.transforms.base",
    "Verdict": "coincide.registration",
    "label": "coincide.cohort.labelling",
    "read_image": "coincide.io",
    "read_points": "coincide.io",
    "read_transform": "coincide.io",
    "register": "coincide.api",
    "resample": "coincide.transforms.resample",
    "write_image": "coincide.io",
    "write_labelling": "coincide.report.labelling",
    "write_points": "coincide.io",
    "write_report": "coincide.report",
    "write_results": "coincide.results",
    "write_transform": "coincide.io",
}


def __getattr__(name: str) -> object:
    # Looked up when first used, so that `coincide --help` need not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'coincide' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
