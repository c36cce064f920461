"""What is to be synthesised: ranges, all of them with defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coincide.data.synthesis.artefacts import Artefacts
from coincide.data.synthesis.contrast import Contrast
from coincide.data.synthesis.kinds import ANATOMIES, FLAT, MAPS
from coincide.data.synthesis.motion import Bend, Motion
from coincide.data.synthesis.tumour import Tumour
from coincide.errors import DimensionError, OptionError, unknown
from coincide.grid import Grid


@dataclass(frozen=True)
class Synthesis:
    """Pairs of pictures of made-up anatomies, with their truth.

    Args:
        shape: voxels of both images; two numbers make 2-D pairs.
        spacing: mm of a voxel.
        anatomies: what is pictured, each as likely as the others; a name that comes twice is twice as likely.
        maps: a folder of label maps, for the anatomy `maps`.
        pose: how far the anatomy lies from upright and from the middle in the fixed image.
        shape_bend: how far the anatomy is bent away from its plan.
        motion: the linear part of the truth, about the middle of the fixed image.
        bend: the part of the truth that is not linear.
        contrast: brightness of tissues, drawn anew for each image.
        artefacts: what imaging does to it, drawn anew for each image.
        alike: share of the pairs whose two images have one contrast, as two visits of one patient do.
        strip: share of the images of a head that show its brain alone, as after skull stripping; each image for itself.
        points: how many landmarks.
        tumour: of the anatomy `tumour`: a head with one, at two times.

    Raises:
        DimensionError: shape and spacing are not both 2-D or both 3-D.
        OptionError: an unknown anatomy, or a range that is none.
    """

    shape: tuple[int, ...] = (64, 64, 64)
    spacing: tuple[float, ...] = (4.0, 4.0, 4.0)
    anatomies: tuple[str, ...] = ("head", "brain", "body", "blobs")
    maps: str = ""
    pose: Motion = field(default_factory=lambda: Motion(10, 10, 0.08, 0.02))
    shape_bend: Bend = field(default_factory=lambda: Bend(5.0, (80.0, 40.0)))
    motion: Motion = field(default_factory=Motion)
    bend: Bend = field(default_factory=Bend)
    contrast: Contrast = field(default_factory=Contrast)
    artefacts: Artefacts = field(default_factory=Artefacts)
    alike: float = 0.2
    strip: float = 0.3
    points: int = 64
    tumour: Tumour = field(default_factory=Tumour)

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or len(self.shape) != len(self.spacing):
            raise DimensionError(
                f"synthesis needs 2 or 3 numbers for the shape and as many for the spacing, found {self.shape} and "
                f"{self.spacing}."
            )
        if min(self.shape) < 8 or min(self.spacing) <= 0:
            raise OptionError(
                f"cannot synthesise images of shape {self.shape} with voxels of {self.spacing} mm; expected at least "
                "8 voxels along each axis, and positive spacings."
            )
        if not self.anatomies:
            raise OptionError(f"synthesis needs an anatomy. Known: {', '.join(sorted((*ANATOMIES, MAPS)))}.")
        if (MAPS in self.anatomies) != bool(self.maps):
            raise OptionError(
                f"the anatomies are {', '.join(self.anatomies)} and the folder of label maps is {self.maps!r}; "
                f"expected {MAPS!r} among the anatomies and a folder, or neither."
            )
        for name in self.anatomies:
            if name not in (*ANATOMIES, MAPS):
                raise unknown("anatomy", name, (*ANATOMIES, MAPS))
            if self.dim == 3 and name in FLAT:
                raise DimensionError(
                    f"the anatomy {name!r} is a radiograph; expected a 2-D shape, found {self.shape}."
                )
        if self.points < 0 or not (0 <= self.alike <= 1 and 0 <= self.strip <= 1):
            raise OptionError(
                f"points is {self.points}, alike {self.alike} and strip {self.strip}; expected 0 or more, and 0 to 1."
            )

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return len(self.shape)

    @property
    def grid(self) -> Grid:
        """Where the voxels of both images lie: around the origin, axes along the world's."""
        origin = -(np.asarray(self.shape) - 1) / 2 * self.spacing
        return Grid.from_spacing(self.shape, self.spacing, origin)
