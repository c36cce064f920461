"""Demons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from coincide.methods.classical.bending import Bending
from coincide.optimise.demons import Push, follow_demons
from coincide.options import NotNegative, Positive
from coincide.similarity import LNCC, MSE, Similarity


@dataclass(frozen=True)
class Demons(Bending):
    """Linear, then demons: for images of one modality, whose intensities mean the same up to brightness and contrast.

    Each voxel moves along the images' slope by what they differ there, all together are smoothed. With symmetric forces
    a step is the second-order one of ESM (Thirion 1998, doi:10.1016/S1361-8415(98)80022-4; Vercauteren et al. 2009,
    doi:10.1016/j.neuroimage.2008.10.040). The linear part and the choice among starts go by local correlation,
    or with `intensities="same"` by squared differences.

    Args:
        update: how steps come together: `"diffeomorphic"` composes their exponentials, `"additive"` adds them.
        forces: whose slope pushes: the fixed image's (Thirion's), the moving image's, or the mean of both (ESM).
        intensities: `"linear"` fits the moving image's brightness and contrast before each step, `"same"` takes
            intensities as they are.
        step: the most a voxel moves in one step, in voxels of the level.
        update_sigma: Gaussian on each step, in voxels of the level, as in a fluid; 0 takes 2 for volumes and 3 for
            pictures, which have fewer neighbours to agree with.
        field_sigma: Gaussian on the field after each step, in voxels of the level, as in elastic matter.
        tolerance: a level ends early when ten steps gain less than this share of the level's gain.

    Raises:
        OptionError: an unknown name, or a number out of its range.
    """

    costs: ClassVar[float] = 150e-9

    update: Literal["diffeomorphic", "additive"] = "diffeomorphic"
    forces: Literal["symmetric", "fixed", "moving"] = "symmetric"
    intensities: Literal["linear", "same"] = "linear"
    step: Positive = 1.0
    update_sigma: NotNegative = 0.0
    field_sigma: NotNegative = 1.0
    tolerance: NotNegative = 0.002

    @property
    def compared(self) -> Similarity:
        # over the whole image a hand whose fingers lie on their neighbours correlates as well as one that fits
        return LNCC() if self.intensities == "linear" else MSE()

    def _follow(self, level, field, iterations, finest, start, pair, notify):  # noqa: ARG002 - others need them
        update_sigma = self.update_sigma or (3.0 if level.grid.dim == 2 else 2.0)
        push = Push(
            self.forces,
            self.update == "diffeomorphic",
            self.intensities == "linear",
            self.step,
            update_sigma,
            self.field_sigma,
            self.tolerance,
        )
        return follow_demons(level, field, push, iterations, notify)
