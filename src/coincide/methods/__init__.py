"""Ways to find the transform of a pair. A new method is one new file and one line in `METHODS`."""

from coincide.methods.base import AbstractMethod, Context, Solution, Status, Step
from coincide.methods.registry import available, description, parse

METHODS: dict[str, str] = {
    "akaze": "coincide.methods.classical.features:Akaze",
    "auto": "coincide.methods.auto:Auto",
    "blocks": "coincide.methods.classical.blocks:Blocks",
    "boundary": "coincide.methods.classical.boundary:Boundary",
    "bspline": "coincide.methods.classical.bspline:BSpline",
    "cpd": "coincide.methods.classical.cpd:Cpd",
    "deformable": "coincide.methods.classical.deformable:Deformable",
    "demons": "coincide.methods.classical.demons:Demons",
    "harris": "coincide.methods.classical.features:Harris",
    "hybrid": "coincide.methods.learned.hybrid:Hybrid",
    "icp": "coincide.methods.classical.icp:Icp",
    "keypoints": "coincide.methods.learned.keypoints:Keypoints",
    "keypoints3d": "coincide.methods.classical.features_volume:Keypoints3d",
    "landmarks": "coincide.methods.classical.landmarks:Landmarks",
    "least_squares": "coincide.methods.classical.least_squares:LeastSquares",
    "linear": "coincide.methods.classical.linear:Linear",
    "map": "coincide.methods.classical.map:Map",
    "orb": "coincide.methods.classical.features:Orb",
    "phase": "coincide.methods.classical.phase:Phase",
    "pyramid": "coincide.methods.learned.pyramid:Pyramid",
    "recurrent": "coincide.methods.learned.recurrent:Recurrent",
    "regressor": "coincide.methods.learned.regressor:Regressor",
    "regions": "coincide.methods.classical.regions:RegionMatching",
    "sift": "coincide.methods.classical.features:Sift",
    "surf": "coincide.methods.classical.features:Surf",
    "translate": "coincide.methods.learned.translate:Translate",
}
"""What users type after `--method`, and `module:class` of what they get."""
LEARNED_SIMILARITIES: dict[str, str] = {
    "adversarial": "coincide.methods.learned.adversarial:Adversarial",
}
"""Similarities that a network has learned, likewise; they stand above the others, which know no network."""

__all__ = [
    "LEARNED_SIMILARITIES",
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
