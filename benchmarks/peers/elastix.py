"""elastix with its default parameter maps."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.geometry import Lattice, lps
from benchmarks.peers.base import AbstractTool, Job


@dataclass(frozen=True)
class Elastix(AbstractTool):
    """The default maps of `stages`, one after the other.

    The number of threads comes from ITK's environment variable, which the runner sets: itk-elastix 0.25.4
    crashes where it is given as an argument together with several maps.
    """

    stages: tuple[str, ...] = ("rigid", "affine", "bspline")
    random = True

    def version(self) -> str:
        return f"itk-elastix {version('itk-elastix')}"

    def load(self) -> None:
        import itk

        itk.ParameterObject.New()

    def run(self, job: Job, out: Path) -> None:
        import itk

        maps = itk.ParameterObject.New()
        for stage in self.stages:
            chosen = maps.GetDefaultParameterMap(stage)
            chosen["WriteResultImage"] = ["false"]
            maps.AddParameterMap(chosen)
        itk.elastix_registration_method(
            itk.imread(str(job.fixed), itk.F),
            itk.imread(str(job.moving), itk.F),
            parameter_object=maps,
            log_to_console=False,
            output_directory=str(out),
        )

    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:
        import itk

        found = itk.ParameterObject.New()
        for k in range(len(self.stages)):
            found.AddParameterFile(str(out / f"TransformParameters.{k}.txt"))
        field = itk.transformix_deformation_field(
            itk.imread(str(job.moving), itk.F), found, output_directory=str(out)
        )
        vectors = itk.array_from_image(field)
        axes = list(range(lattice.dim))
        return np.moveaxis(vectors, axes, axes[::-1]).astype(float) * lps(lattice.dim)
