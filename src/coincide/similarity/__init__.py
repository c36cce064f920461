"""Similarities: how unlike two images on one grid are."""

from __future__ import annotations

from coincide.similarity.base import Evaluation, Prepared, Similarity
from coincide.similarity.lncc import LNCC
from coincide.similarity.mse import MSE
from coincide.similarity.ncc import NCC
from coincide.similarity.nmi import NMI

SIMILARITIES: dict[str, type[Similarity]] = {kind.name: kind for kind in (MSE, NCC, LNCC, NMI)}
"""Every similarity by its name."""

__all__ = ["LNCC", "MSE", "NCC", "NMI", "SIMILARITIES", "Evaluation", "Prepared", "Similarity"]
