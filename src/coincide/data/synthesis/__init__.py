"""Synthesis: made-up anatomies, pictures of them, and the truth between two pictures."""

from coincide.data.synthesis.artefacts import Artefacts
from coincide.data.synthesis.contrast import Contrast
from coincide.data.synthesis.dataset import SyntheticPairs, as_tensors
from coincide.data.synthesis.draw import Example, draw
from coincide.data.synthesis.files import write_examples
from coincide.data.synthesis.motion import Bend, Motion
from coincide.data.synthesis.recipe import Synthesis
from coincide.data.synthesis.sheet import contact_sheet
from coincide.data.synthesis.tumour import Tumour

__all__ = [
    "Artefacts",
    "Bend",
    "Contrast",
    "Example",
    "Motion",
    "Synthesis",
    "SyntheticPairs",
    "Tumour",
    "as_tensors",
    "contact_sheet",
    "draw",
    "write_examples",
]
