"""Deformable registration by recurrent inference: a linear start, then a field that one small unit improves on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coincide.methods.learned.pyramid import FieldOptions


@dataclass(frozen=True)
class Recurrent(FieldOptions):
    """Deformable registration by a small recurrent network: a linear start, then a velocity field in seven steps.

    One unit with a memory is shown both images as they lie on each other by now, and the similarity's gradient, and
    proposes how to go on; the same at every step, from coarse to fine. As with `pyramid`, its answer to swapped images
    is the negative, it learned from made-up anatomies alone, and contrasts may differ.
    """

    network: ClassVar[str] = "recurrent"
