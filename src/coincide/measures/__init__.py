"""How good a registration is: overlap, distance, folding, consistency, likeness."""

from coincide.measures.consistency import inverse_residual
from coincide.measures.distance import SurfaceDistance, surface_distances, target_registration_error
from coincide.measures.intensity import compare
from coincide.measures.jacobian import folding, jacobian_maps
from coincide.measures.overlap import dice, present
from coincide.measures.summary import measure, measure_labels

__all__ = [
    "SurfaceDistance",
    "compare",
    "dice",
    "folding",
    "inverse_residual",
    "jacobian_maps",
    "measure",
    "measure_labels",
    "present",
    "surface_distances",
    "target_registration_error",
]
