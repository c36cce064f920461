"""Similarities: how unlike two images on one grid are."""

from __future__ import annotations

from coincide.similarity.base import Evaluation, Prepared, Similarity
from coincide.similarity.cr import CorrelationRatio
from coincide.similarity.cross_entropy import CrossEntropy
from coincide.similarity.dice import Dice
from coincide.similarity.lncc import LNCC
from coincide.similarity.mae import MAE
from coincide.similarity.mattes import Mattes
from coincide.similarity.mind import MIND
from coincide.similarity.mse import MSE
from coincide.similarity.ncc import NCC
from coincide.similarity.ngf import NGF
from coincide.similarity.nmi import NMI
from coincide.similarity.ssim import SSIM

SIMILARITIES: dict[str, type[Similarity]] = {
    kind.name: kind
    for kind in (MSE, NCC, LNCC, NMI, MIND, MAE, Mattes, CorrelationRatio, NGF, SSIM, CrossEntropy, Dice)
}
"""Every similarity by its name."""

__all__ = [
    "LNCC",
    "MAE",
    "MIND",
    "MSE",
    "NCC",
    "NGF",
    "NMI",
    "SIMILARITIES",
    "SSIM",
    "CorrelationRatio",
    "CrossEntropy",
    "Dice",
    "Evaluation",
    "Mattes",
    "Prepared",
    "Similarity",
]
