"""Similarities: how unlike two images on one grid are."""

from __future__ import annotations

from coincide.similarity.base import Evaluation, Prepared, Similarity
from coincide.similarity.mse import MSE
from coincide.similarity.ncc import NCC

SIMILARITIES: dict[str, type[Similarity]] = {kind.name: kind for kind in (MSE, NCC)}
"""Every similarity by its name."""

__all__ = ["MSE", "NCC", "SIMILARITIES", "Evaluation", "Prepared", "Similarity"]
