"""The two images a method is given, with whatever aids came along."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from coincide.errors import DimensionError, LabelError
from coincide.image import Image
from coincide.points import Points, matched
from coincide.preprocess.lesion import check_lesion
from coincide.transforms.base import Transform


@dataclass(frozen=True, eq=False)
class Pair:
    """A fixed and a moving image of the same anatomy.

    Args:
        fixed: the image that stays; its mask, where there is one, says which voxels are compared.
        moving: the image that is warped onto the fixed one; its mask likewise.
        fixed_labels: label map on any grid of the fixed world.
        moving_labels: label map on any grid of the moving world.
        fixed_points: landmarks in fixed-world mm.
        moving_points: the same landmarks in moving-world mm; they correspond by name (`points.matched`).
        initial: where to start, fixed-world mm to moving-world mm.
        fixed_lesion: `(*shape)` bool voxels of the fixed image that have no counterpart in the moving one, as those of
            a tumour: they are not compared, and the deformation is carried over them.
        moving_lesion: voxels of the moving image, likewise.

    Raises:
        DimensionError: 2-D and 3-D are mixed.
        MaskError: a lesion that is empty, leaves nothing to compare, or has another shape than its image.
        LabelError: a label map that is not of kind `"label"`.
        PointsError: the two sets of landmarks cannot be paired.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    fixed_points: Points | None = None
    moving_points: Points | None = None
    initial: Transform | None = None
    fixed_lesion: Tensor | None = None
    moving_lesion: Tensor | None = None

    def __post_init__(self) -> None:
        if self.fixed.dim != self.moving.dim:
            raise DimensionError(
                f"{self.fixed.name} is {self.fixed.dim}-D and {self.moving.name} is {self.moving.dim}-D; "
                "both must have the same number of dimensions. Take the matching slice of the volume first."
            )
        for role in ("fixed_labels", "moving_labels", "fixed_points", "moving_points", "initial"):
            aid = getattr(self, role)
            if aid is not None and aid.dim != self.dim:
                raise DimensionError(f"{role} is {aid.dim}-D, but the images are {self.dim}-D.")
        for role in ("fixed_labels", "moving_labels"):
            aid = getattr(self, role)
            if aid is not None and aid.kind != "label":
                raise LabelError(f"{role} ({aid.name}) is of kind {aid.kind!r}; expected 'label'.")
        for image, role in ((self.fixed, "fixed_lesion"), (self.moving, "moving_lesion")):
            lesion = getattr(self, role)
            if lesion is not None:
                object.__setattr__(self, role, check_lesion(image, lesion))
        self.landmarks  # noqa: B018 - refuses sets that cannot be paired

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.fixed.dim

    @property
    def has_lesion(self) -> bool:
        """Whether a lesion of either image is known."""
        return self.fixed_lesion is not None or self.moving_lesion is not None

    @cached_property
    def landmarks(self) -> tuple[Points, Points] | None:
        """The landmarks that both images have, row i of both one place; None where an image was given none."""
        if self.fixed_points is None or self.moving_points is None:
            return None
        return matched(self.fixed_points, self.moving_points)
