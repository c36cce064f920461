"""Transforms: maps from fixed-world mm to moving-world mm, and how they compose."""

from coincide.transforms.base import Transform
from coincide.transforms.bspline import BSpline
from coincide.transforms.chain import Chain, chain
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import (
    Affine,
    about,
    identity,
    rigid,
    rotation_matrix,
    similarity,
    translation,
)
from coincide.transforms.thin_plate import ThinPlate, fit_thin_plate
from coincide.transforms.velocity import Velocity

__all__ = [
    "Affine",
    "BSpline",
    "Chain",
    "Displacement",
    "ThinPlate",
    "Transform",
    "Velocity",
    "about",
    "chain",
    "fit_thin_plate",
    "identity",
    "rigid",
    "rotation_matrix",
    "similarity",
    "translation",
]
