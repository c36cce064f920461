"""Ways to find the transform of a pair. A new method is one new file and one line in `METHODS`."""

from coincide.methods.base import AbstractMethod, Context, Solution, Status, Step
from coincide.methods.registry import available, description, parse

METHODS: dict[str, str] = {
    "akaze": "coincide.methods.classical.features:Akaze",
    "auto": "coincide.methods.auto:Auto",
    "cpd": "coincide.methods.classical.cpd:Cpd",
    "deformable": "coincide.methods.classical.deformable:Deformable",
    "harris": "coincide.methods.classical.features:Harris",
    "icp": "coincide.methods.classical.icp:Icp",
    "keypoints3d": "coincide.methods.classical.features_volume:Keypoints3d",
    "landmarks": "coincide.methods.classical.landmarks:Landmarks",
    "linear": "coincide.methods.classical.linear:Linear",
    "orb": "coincide.methods.classical.features:Orb",
    "sift": "coincide.methods.classical.features:Sift",
    "surf": "coincide.methods.classical.features:Surf",
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
