"""The method that looks at the images first and then decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from coincide.errors import OptionError
from coincide.image import Image
from coincide.methods.base import AbstractMethod, Context, Solution
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear, Starts, linear_similarity, normalised
from coincide.methods.likeness import Likeness, fine_detail
from coincide.methods.recorder import Recorder
from coincide.pair import Pair
from coincide.similarity import LNCC, MIND, NMI, Similarity
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine


@dataclass(frozen=True)
class Auto(AbstractMethod):
    """Looks at the images, decides on similarity, stages and schedule, and says why.

    Args:
        transform: how far to go.
        preset: time against accuracy.
        similarity: what to compare by; decided from the images where left out.
        use_landmarks: whether the pair's landmarks pull.
        lesion: as in `deformable`.

    Raises:
        OptionError: an unknown transform or preset.
    """

    heeds_lesions: ClassVar[bool] = True
    transform: Literal["rigid", "similarity", "affine", "deformable"] = "deformable"
    preset: Literal["fast", "default", "accurate"] = "default"
    similarity: Similarity | None = None
    use_landmarks: bool = False
    lesion: Literal["given", "estimated"] = "given"

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: B008 - frozen
        recorder = Recorder(context.progress)
        fixed, moving = normalised(pair, self.similarity)
        if pair.initial is not None and not isinstance(pair.initial, Affine):
            return self._from_deformation(fixed, moving, pair.initial, pair, recorder)
        model = "affine" if self.transform == "deformable" else self.transform
        starts = Linear(model).explore(fixed, moving, pair, recorder)
        similarity, schedule = self._rough_choice(fixed, moving, starts, recorder)
        linear = Linear(model, linear_similarity(similarity))
        if self.transform != "deformable":
            return replace(linear.finish(fixed, moving, starts, pair, recorder), ran=linear)
        if self.preset == "fast":
            linear = replace(linear, fine=_ROUGH)
        chosen = self.deformable(
            similarity, pair.dim, linear, schedule, recorder.evidence.get("correlation", 1.0)
        )
        found = chosen.finish(fixed, moving, starts, pair, recorder)
        if self.tries_keypoints(similarity, pair):
            # scipy's share of the start-up is left to those who need it
            from coincide.methods.second_start import better_start

            return better_start(found, chosen, fixed, moving, pair, context)
        return found

    def tries_keypoints(self, similarity: Similarity, pair: Pair) -> bool:
        """Whether a deformable run by `similarity` gets a second start by keypoints."""
        return pair.dim == 2 and similarity.name == "lncc" and pair.initial is None and self.preset != "fast"

    def _from_deformation(
        self, fixed: Image, moving: Image, start: Transform, pair: Pair, recorder: Recorder
    ) -> Solution:
        if self.transform != "deformable":
            raise OptionError(
                f"a {self.transform} registration cannot start from a deformable initial transform. "
                "Give a linear one, or register deformably."
            )
        similarity, schedule = self._choice(fixed, moving, start, recorder)
        chosen = self.deformable(
            similarity, pair.dim, schedule=schedule, alike=recorder.evidence.get("correlation", 1.0)
        )
        return chosen.bend(fixed, moving, start, pair, recorder)

    def _rough_choice(
        self, fixed: Image, moving: Image, starts: Starts, recorder: Recorder
    ) -> tuple[Similarity, str]:
        """The choice from where the best of `starts` roughly leads."""
        if self.similarity is not None or not starts.found:
            return self.similarity or NMI(), ""
        first = replace(starts, found=starts.found[:1])
        rough = Linear(fine=20_000).follow(fixed, moving, first, Recorder(recorder.progress))
        return self._choice(fixed, moving, Affine(rough), recorder)

    def _choice(
        self, fixed: Image, moving: Image, through: Transform, recorder: Recorder
    ) -> tuple[Similarity, str]:
        """What to compare by, and the name of its schedule, from how the images look `through` a rough transform."""
        if self.similarity is not None:
            return self.similarity, ""
        alike = Likeness.of(fixed, moving, through)
        recorder.evidence |= {"correlation": alike.correlation, "linearity": alike.linearity}
        told = f"(correlation {alike.correlation:.2f}, {100 * alike.linearity:.0f} % of the dependence is linear)"
        bends = self.transform == "deformable"
        if alike.same_modality:
            same = f"Inside the anatomy the images have the same contrast {told}"
            one = fixed.dim == 3 and fixed.grid.matches(moving.grid) and alike.correlation > _ONE_EXAMINATION
            if one and bends:
                recorder.decide(
                    f"{same} and lie on one grid, as frames of one examination do: MIND, which follows sliding far."
                )
                return MIND(dilation=1), "motion"
            recorder.decide(f"{same}: {'NMI' if one else 'LNCC'}.")
            # a radiograph adds up everything along the ray: faint contrast there is rarely the same anatomy
            local = LNCC(noise=0.03) if fixed.dim == 2 else LNCC()
            return (NMI(), "nmi") if one else (local, "lncc")
        told = f"The images differ in contrast {told}"
        if bends:
            detail = min(fine_detail(fixed), fine_detail(moving))
            recorder.evidence["detail"] = detail
            if detail >= _LEAST_DETAIL:
                recorder.decide(f"{told}: NMI, then MIND on their fine structure.")
                return MIND(dilation=1), "mind"
            told += f", and one shows little fine structure ({100 * detail:.0f} % of its variation)"
        recorder.decide(f"{told}: NMI.")
        return NMI(), "nmi"

    def deformable(
        self,
        similarity: Similarity,
        dim: int,
        linear: Linear | None = None,
        schedule: str = "",
        alike: float = 1.0,
    ) -> Deformable:
        """The deformable method of this preset.

        Args:
            similarity: what to compare by.
            dim: of the images.
            linear: what finds the linear part.
            schedule: a name of `SCHEDULES`; the similarity's where left out.
            alike: correlation of the images, roughly aligned.
        """
        schedule = schedule or (similarity.name if similarity.name in SCHEDULES else "lncc")
        chosen = SCHEDULES[schedule][self.preset]
        if dim == 2 and schedule == "mind":
            # the kernels of its schedule are for volumes
            chosen = replace(chosen, force_sigma=0.0, field_sigma=0.0, momentum=None)
        people = similarity.name == "lncc" and alike < _ONE_PERSON
        if people:
            chosen = replace(chosen, cubic=False)
        if dim == 3 and (people or schedule == "mind") and self.preset != "accurate":
            chosen = replace(chosen, most=_ENOUGH)
        own = {"use_landmarks": self.use_landmarks, "lesion": self.lesion}
        return replace(chosen, linear=linear, similarity=similarity, **own)


_ONE_EXAMINATION = 0.7
"""Correlation from which two images on one grid are taken for frames of one examination."""
_ONE_PERSON = 0.9
"""Correlation from which two images are close enough for a tenth of a voxel to matter."""
_ROUGH = 150_000
"""Voxels of the finest level of a linear stage that a quick deformation follows."""
_ENOUGH = 125.0
"""Voxels along the anatomy's size on the finest level between two people or two contrasts, 1.25 mm on a brain (`fast`
leaves the last level out): what is finer costs twice the time, and adds .006 to the Dice of brains and nothing across
contrasts; `accurate` goes there."""
# what is crumpled more than this, the inverse cannot follow to half a voxel between its own
_LOCAL = Deformable(least_jacobian=0.12)
_MOTION = Deformable(coarsest=18.0, force_sigma=2.0, momentum=0.2, least_jacobian=0.15)
_MIND = Deformable(force_sigma=4.0, field_sigma=2.0, momentum=0.2)
_NMI = Deformable(force_sigma=3.0, field_sigma=1.5, momentum=0.0)
SCHEDULES = {
    "lncc": {
        # the field stands two voxels apart: were it crumpled more, its inverse would be half a voxel off between them
        "fast": replace(_LOCAL, iterations=(100, 100, 100, 60, 0), least_jacobian=0.2),
        "default": _LOCAL,
        "accurate": replace(_LOCAL, iterations=(100, 100, 100, 100, 100, 30)),
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
