"""The method that looks at the images first and then decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from coincide.errors import OptionError, unknown
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear, Starts, linear_similarity, normalised
from coincide.methods.recorder import Recorder
from coincide.methods.second_start import better_start
from coincide.ops.sample import sample_affine
from coincide.ops.smooth import box, gaussian
from coincide.pair import Pair
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.shrink import coarse_grid, resample_smooth
from coincide.similarity import LNCC, MIND, NMI, Similarity
from coincide.transforms.linear import Affine

TRANSFORMS = ("rigid", "similarity", "affine", "deformable")
PRESETS = ("fast", "default", "accurate")


@dataclass(frozen=True)
class Auto(AbstractMethod):
    """Looks at the images, decides on similarity, stages and schedule, and says why.

    Args:
        transform: how far to go.
        preset: time against accuracy.
        similarity: what to compare by; decided from the images where left out.
        use_landmarks: whether the pair's landmarks pull.

    Raises:
        OptionError: an unknown transform or preset.
    """

    transform: Literal["rigid", "similarity", "affine", "deformable"] = "deformable"
    preset: Literal["fast", "default", "accurate"] = "default"
    similarity: Similarity | None = None
    use_landmarks: bool = False

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise unknown("transform", str(self.transform), TRANSFORMS)
        if self.preset not in PRESETS:
            raise unknown("preset", str(self.preset), PRESETS)

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        model = "affine" if self.transform == "deformable" else self.transform
        if pair.initial is not None and not isinstance(pair.initial, Affine):
            return self._from_deformation(pair, context)
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.similarity)
        starts = Linear(model).explore(fixed, moving, pair, recorder)
        similarity = self.similarity or self._similarity(fixed, moving, starts, recorder)
        linear = Linear(model, linear_similarity(similarity))
        if self.preset == "fast" and self.transform == "deformable":
            linear = replace(linear, fine=_ROUGH)
        if self.transform != "deformable":
            return linear.finish(fixed, moving, starts, pair, recorder)
        chosen = self._deformable(similarity, linear, pair.dim)
        if similarity.name == "lncc" and recorder.evidence.get("correlation", 1.0) < _ONE_PERSON:
            chosen = replace(chosen, cubic=False)
            if pair.dim == 3 and self.preset == "default":
                chosen = replace(chosen, most=_PEOPLE)
        found = chosen.finish(fixed, moving, starts, pair, recorder)
        if self.tries_keypoints(similarity, pair):
            return better_start(found, chosen, fixed, moving, pair, context)
        return found

    def tries_keypoints(self, similarity: Similarity, pair: Pair) -> bool:
        """Whether a deformable run by `similarity` gets a second start by keypoints."""
        return pair.dim == 2 and similarity.name == "lncc" and pair.initial is None and self.preset != "fast"

    def _from_deformation(self, pair: Pair, context: Context) -> Solution:
        if self.transform != "deformable":
            raise OptionError(
                f"a {self.transform} registration cannot start from a deformable initial transform. "
                "Give a linear one, or register deformably."
            )
        return self._deformable(self.similarity or LNCC(), Linear(), pair.dim).solve(pair, context)

    def _similarity(self, fixed: Image, moving: Image, starts: Starts, recorder: Recorder) -> Similarity:
        if not starts.found:
            return NMI()
        first = replace(starts, found=starts.found[:1])
        rough = Linear(fine=20_000).follow(fixed, moving, first, Recorder(recorder.progress))
        alike = Likeness.of(fixed, moving, rough)
        recorder.evidence |= {"correlation": alike.correlation, "linearity": alike.linearity}
        told = f"(correlation {alike.correlation:.2f}, {100 * alike.linearity:.0f} % of the dependence is linear)"
        if alike.same_modality:
            recorder.decide(f"Inside the anatomy the images have the same contrast {told}: LNCC.")
            if fixed.dim == 3 and fixed.grid.matches(moving.grid) and alike.correlation > _ONE_EXAMINATION:
                recorder.decide(
                    "Both lie on one grid, as frames of one examination do: MIND, which follows sliding far."
                )
                return MOTION_SIMILARITY
            # a radiograph adds up everything along the ray: faint contrast there is rarely the same anatomy
            return LNCC(noise=0.03) if fixed.dim == 2 else LNCC()
        if self.transform != "deformable":
            recorder.decide(f"The images differ in contrast {told}: NMI.")
            return NMI()
        detail = min(fine_detail(fixed), fine_detail(moving))
        recorder.evidence["detail"] = detail
        if detail < _LEAST_DETAIL:
            recorder.decide(
                f"The images differ in contrast {told}, and one shows little fine structure ({100 * detail:.0f} % of "
                "its variation): NMI."
            )
            return NMI()
        recorder.decide(f"The images differ in contrast {told}: NMI, then MIND on their fine structure.")
        return MIND(dilation=1)

    def _deformable(self, similarity: Similarity, linear: Linear, dim: int) -> Deformable:
        name = "motion" if similarity is MOTION_SIMILARITY else similarity.name
        schedule = SCHEDULES.get(name, SCHEDULES["lncc"])[self.preset]
        if dim == 2 and name == "mind":
            # the kernels of its schedule are for volumes
            schedule = replace(schedule, force_sigma=0.0, field_sigma=0.0)
        return replace(schedule, linear=linear, similarity=similarity, use_landmarks=self.use_landmarks)


MOTION_SIMILARITY = MIND(dilation=1)
_ONE_EXAMINATION = 0.7
"""Correlation from which two images on one grid are taken for frames of one examination."""
_ONE_PERSON = 0.9
"""Correlation from which two images are close enough for a tenth of a voxel to matter."""
_ROUGH = 150_000
"""Voxels of the finest level of a linear stage that a quick deformation follows."""
_PEOPLE = 125.0
"""Voxels along the anatomy's size on the finest level between two people, 1.25 mm on a brain: what is finer costs twice
the time and adds .005 to the Dice of brains; `accurate` goes there."""
_MOTION = Deformable(coarsest=18.0)
_MIND = Deformable(force_sigma=4.0, field_sigma=2.0)
_NMI = Deformable(force_sigma=3.0, field_sigma=1.5)
SCHEDULES = {
    "lncc": {
        # the field stands two voxels apart: so that its inverse holds between them, it is kept a little smoother
        "fast": Deformable(iterations=(100, 100, 100, 60, 0), field_sigma=0.55, least_jacobian=0.2),
        "default": Deformable(),
        "accurate": Deformable(iterations=(100, 100, 100, 100, 100, 30)),
    },
    "motion": {
        "fast": replace(_MOTION, iterations=(100, 100, 100, 60, 0)),
        "default": replace(_MOTION, iterations=(100, 100, 100, 100, 60)),
        "accurate": replace(_MOTION, iterations=(100, 100, 100, 200, 100)),
    },
    "mind": {
        "fast": replace(_MIND, iterations=(100, 100, 100, 60, 0)),
        "default": replace(_MIND, iterations=(100, 100, 100, 100, 20)),
        "accurate": replace(_MIND, iterations=(100, 100, 100, 100, 50)),
    },
    "nmi": {
        "fast": replace(_NMI, iterations=(100, 100, 100, 0, 0)),
        "default": replace(_NMI, iterations=(100, 100, 100, 100, 0)),
        "accurate": replace(_NMI, iterations=(100, 100, 100, 100, 30)),
    },
}
"""The deformable stage by similarity and preset: the less two images have in common, the smoother the field."""

_LEAST_DETAIL = 0.11
"""Fine structure below which MIND finds too little to hold on to: templates and PET have 0.06–0.08, scans 0.14 up."""


def fine_detail(image: Image) -> float:
    """Standard deviation of what a Gaussian of 2 mm takes away, as a share of the image's, inside the anatomy."""
    grid = coarse_grid(image.grid, 2.0)
    data = resample_smooth(image.data, image.grid, grid)
    inside = foreground_weights(Image(data, grid)) > 0
    deep = box(inside.to(torch.float32)[None], 2)[0] > 5**grid.dim - 0.5
    if int(deep.sum()) < 200:
        return 0.0
    fine = data - gaussian(data, 2.0 / grid.spacing)
    return float(fine[0][deep].double().std() / data[0][inside].double().std())


@dataclass(frozen=True)
class Likeness:
    """How the intensities of two roughly aligned images hang together where both show anatomy.

    Args:
        correlation: Pearson's.
        linearity: share of the dependence (correlation ratio, the worse of both ways) that a straight line explains.
        histograms: mean difference of the standardised quantiles of the two.
    """

    correlation: float
    linearity: float
    histograms: float

    @property
    def same_modality(self) -> bool:
        """Whether both come from one modality; the bounds are in the widest gap among images of both kinds."""
        close = self.histograms < 0.14 or self.correlation > 0.75
        return self.correlation > 0.3 and self.linearity > 0.87 and close

    @classmethod
    def of(cls, fixed: Image, moving: Image, matrix: np.ndarray) -> Likeness:
        """The likeness under `matrix` (fixed-world mm → moving-world mm) of images that are normalised already."""
        grid = coarse_grid(fixed.grid, 2.0 * float(np.prod(fixed.grid.spacing) ** (1 / fixed.dim)))
        f = resample_smooth(fixed.data, fixed.grid, grid)
        m = resample_smooth(moving.data, moving.grid, grid, matrix)
        known = _inside(fixed, grid, np.eye(grid.dim + 1)) & _inside(moving, grid, matrix)
        inside = known & (foreground_weights(Image(f, grid)) > 0) & (foreground_weights(Image(m, grid)) > 0)
        x, y = f[0][inside].double().numpy(), m[0][inside].double().numpy()
        if len(x) < 200 or x.std() == 0 or y.std() == 0:
            return cls(0.0, 0.0, 1.0)
        correlation = float(np.corrcoef(x, y)[0, 1])
        linearity = correlation**2 / max(_correlation_ratio(x, y), _correlation_ratio(y, x), 1e-9)
        at = np.linspace(0.02, 0.98, 25)
        qx, qy = np.quantile(x, at), np.quantile(y, at)
        apart = np.abs((qx - qx.mean()) / (qx.std() + 1e-9) - (qy - qy.mean()) / (qy.std() + 1e-9)).mean()
        return cls(correlation, min(linearity, 1.0), float(apart))


def _inside(image: Image, grid: Grid, matrix: np.ndarray) -> torch.Tensor:
    mask = torch.ones(image.grid.shape) if image.mask is None else image.mask.to(torch.float32)
    index = image.grid.inverse_affine @ matrix @ grid.affine
    return sample_affine(mask[None], index, grid.shape, "zero")[0] > 0.5


def _correlation_ratio(x: np.ndarray, y: np.ndarray, bins: int = 32) -> float:
    """Share of the variance of `y` that its mean within each of `bins` equally filled bins of `x` explains."""
    order = np.argsort(x, kind="stable")
    means = [part.mean() for part in np.array_split(y[order], bins)]
    sizes = [len(part) for part in np.array_split(order, bins)]
    return float(np.average((np.array(means) - y.mean()) ** 2, weights=sizes) / y.var())
