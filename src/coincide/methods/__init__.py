"""Ways to find the transform of a pair. A new method is one new file and one line in `METHODS`."""

from coincide.methods.base import AbstractMethod, Context, Solution, Status, Step
from coincide.methods.registry import available, description, parse

METHODS: dict[str, str] = {
    "auto": "coincide.methods.auto:Auto",
    "deformable": "coincide.methods.classical.deformable:Deformable",
    "linear": "coincide.methods.classical.linear:Linear",
}
"""What users type after `--method`, and `module:class` of what they get."""

__all__ = [
    "METHODS",
    "AbstractMethod",
    "Context",
    "Solution",
    "Status",
    "Step",
    "available",
    "description",
    "parse",
]
