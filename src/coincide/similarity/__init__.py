"""Similarities: how unlike two images on one grid are."""

from __future__ import annotations

from coincide.similarity.base import Evaluation, Prepared, Similarity
from coincide.similarity.lncc import LNCC
from coincide.similarity.mind import MIND
from coincide.similarity.mse import MSE
from coincide.similarity.ncc import NCC
from coincide.similarity.nmi import NMI

SIMILARITIES: dict[str, type[Similarity]] = {kind.name: kind for kind in (MSE, NCC, LNCC, NMI, MIND)}
"""Every similarity by its name."""

__all__ = ["LNCC", "MIND", "MSE", "NCC", "NMI", "SIMILARITIES", "Evaluation", "Prepared", "Similarity"]
