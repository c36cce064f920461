"""Brain extraction by a network that an optional package carries, weights and all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from coincide.errors import DimensionError, MaskError, MissingPackageError
from coincide.image import Image
from coincide.options import NotNegative, Share
from coincide.preprocess.step import MaskStep, look
from coincide.preprocess.steps.masks import grown


@dataclass(frozen=True)
class Brain(MaskStep):
    """The brain in a T1-weighted head, by deepbet (Fisch et al. 2024, doi:10.1016/j.artmed.2024.102845).

    Args:
        threshold: probability from which a voxel is brain; less gives a larger mask.
        margin: by which the mask is grown, mm.
    """

    name: ClassVar[str] = "brain"
    packages: ClassVar[tuple[str, ...]] = ("deepbet",)
    threshold: Share = 0.5
    margin: NotNegative = 0.0

    def mark(self, image: Image) -> np.ndarray:
        if image.dim != 3:
            raise DimensionError(
                f"{image.name}: is 2-D; a brain is found in volumes. Leave the step brain out."
            )
        seen, box = look(image, 0)
        seen.range()
        extractor = _extractor()
        try:
            likely = extractor.run_model(seen.values.copy())
            found = extractor.postprocess((likely > self.threshold).astype(np.float32)) > 0.5
        except (AssertionError, ValueError) as error:
            raise MaskError(
                f"{image.name}: no brain was found ({error}). The network was made for T1-weighted heads, upright; "
                "check the image and its header."
            ) from error
        mask = np.zeros(image.grid.shape, bool)
        mask[box] = found & seen.known
        return grown(mask, self.margin, image.grid.spacing, 1) if self.margin else mask


def _extractor() -> Any:
    """The package's network with its weights."""
    try:
        with warnings.catch_warnings():
            # of the package's own dependencies
            warnings.simplefilter("ignore")
            return import_module("deepbet").BrainExtraction(no_gpu=True)
    except ImportError as error:
        raise MissingPackageError(
            f"the step brain needs the package deepbet ({error}). Run: pip install 'coincide[brain]'"
        ) from error
