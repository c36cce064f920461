"""Least squares on the intensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from coincide.image import Image
from coincide.methods.base import Context, Solution
from coincide.methods.classical.linear import normalised
from coincide.methods.classical.searching import Searching
from coincide.methods.classical.surface_start import linear_start
from coincide.methods.parts import Part, linear_parts
from coincide.methods.recorder import Recorder
from coincide.ops.moments import moments
from coincide.pair import Pair
from coincide.preprocess.shrink import shrink
from coincide.similarity import MSE, NCC, Similarity
from coincide.transforms.base import Transform
from coincide.transforms.resample import resample

_LARGEST = 2_000_000
"""Voxels of the fixed image beyond which the fit is reported from a coarser one."""


@dataclass(frozen=True)
class LeastSquares(Searching):
    """Linear registration by the least squared difference of intensities, brightness and contrast fitted along.

    The two are not stepped towards but solved for at every position, so what is minimised by Levenberg–Marquardt is the
    share of the fixed image's variance that the best `gain · moving + offset` leaves. A negative gain is as good as a
    positive one. What they came to is reported, and the share that is left.

    Args:
        intensities: `"linear"` fits gain and offset, `"same"` takes intensities as they are.

    Raises:
        OptionError: an unknown name.

    Source: Lucas and Kanade 1981; Thévenaz et al. 1998, doi:10.1109/83.650848; gain and offset by variable projection,
    Golub and Pereyra 1973, doi:10.1137/0710036.
    """

    intensities: Literal["linear", "same"] = "linear"

    def parts(self, pair: Pair) -> tuple[Part, ...]:
        return linear_parts(pair)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        linear_start(pair, self.model)  # refuses a deformation
        recorder = Recorder(context.progress)
        similarity: Similarity = NCC(signed=False) if self.intensities == "linear" else MSE()
        fixed, moving = normalised(pair, similarity)
        linear = self.linear(similarity)
        starts = linear.explore(fixed, moving, pair, recorder)
        solution = linear.finish(fixed, moving, starts, pair, recorder)
        if starts.found:
            solution.evidence.update(fit_of(pair, solution.transform))
        return solution


def fit_of(pair: Pair, transform: Transform) -> dict[str, float]:
    """How the moving image's intensities are turned into the fixed image's, inside the masks.

    Args:
        pair: the images.
        transform: fixed-world mm → moving-world mm.

    Returns:
        `gain` and `offset` of the best `gain · moving + offset`, in the fixed image's units, and `unexplained`, the
        share of the fixed image's variance that it leaves.
    """
    volume = pair.fixed.grid.size * pair.fixed.grid.voxel_volume
    fixed = shrink(pair.fixed, (volume / _LARGEST) ** (1 / pair.dim))
    warped = resample(pair.moving, transform, fixed.grid)
    mask = (
        torch.ones(pair.moving.grid.shape, dtype=torch.bool) if pair.moving.mask is None else pair.moving.mask
    )
    inside = Image(mask.to(torch.uint8), pair.moving.grid, "label")
    seen = resample(inside, transform, fixed.grid, "nearest").data.numpy() > 0
    if fixed.mask is not None:
        seen &= fixed.mask.numpy()
    there, here = (x.data.numpy().astype(np.float32).ravel() for x in (warped, fixed))
    n, w, f, ww, ff, wf = moments(there, here, seen.ravel().astype(np.float32))
    across, own, shared = n * ww - w * w, n * ff - f * f, n * wf - w * f
    if across <= 0 or own <= 0:
        return {}
    gain = shared / across
    return {"gain": gain, "offset": (f - gain * w) / n, "unexplained": 1 - shared**2 / (across * own)}
