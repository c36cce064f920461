"""greedy through its Python package, with the command lines of its documentation."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.geometry import (
    Lattice,
    affine_displacement,
    itk_affine,
    itk_displacement,
    itk_field_transform,
)
from benchmarks.peers.base import THREADS, AbstractTool, Job

AFFINE = "affine.mat"
WARP = "warp.nii.gz"


@dataclass(frozen=True)
class Greedy(AbstractTool):
    """Affine from the image centres, then the greedy deformable stage; NCC, or NMI for two modalities.

    Args:
        deformable: run the second stage.
        dof: degrees of freedom of the first stage.
        search: options of a random search before it (`-search`), or empty.
    """

    deformable: bool = True
    dof: int = 12
    search: str = ""
    random = True

    def version(self) -> str:
        return f"picsl-greedy {version('picsl-greedy')}"

    def load(self) -> None:
        import picsl_greedy  # noqa: F401

    def run(self, job: Job, out: Path) -> None:
        affine(job, out, self.dof, self.search)
        if self.deformable:
            metric = "NMI" if job.multimodal else "NCC " + _radius(2, job.dim)
            _execute(
                job.dim,
                f"-i {job.fixed} {job.moving} -it {out / AFFINE} -o {out / WARP} -m {metric} "
                f"-n 100x50x10 -s 1.732vox 0.7071vox{_masks(job)}",
            )

    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:  # noqa: ARG002
        matrix = np.loadtxt(out / AFFINE)
        return (
            with_warp(matrix, out / WARP, lattice)
            if self.deformable
            else affine_displacement(matrix, lattice)
        )


def affine(job: Job, out: Path, dof: int = 12, search: str = "") -> None:
    """greedy's affine stage from image centres; saves the RAS matrix (fixed to moving) in `out`."""
    metric = "NMI" if job.multimodal else "NCC " + _radius(4, job.dim)
    _execute(
        job.dim,
        f"-a -i {job.fixed} {job.moving} -o {out / AFFINE} -m {metric} -dof {dof} -n 100x50x10 "
        f"-ia-image-centers {'-search ' + search if search else ''}{_masks(job)}",
    )


def with_warp(matrix: np.ndarray, warp: Path, lattice: Lattice) -> np.ndarray:
    """The displacement of `x ↦ matrix (x + warp(x))`."""
    import SimpleITK as sitk

    chain = sitk.CompositeTransform(lattice.dim)
    chain.AddTransform(itk_affine(matrix))
    chain.AddTransform(itk_field_transform(warp))
    return itk_displacement(chain, lattice)


def _masks(job: Job) -> str:
    given = (("-gm", job.fixed_mask), ("-mm", job.moving_mask))
    return "".join(f" {option} {path}" for option, path in given if path is not None)


def _radius(radius: int, dim: int) -> str:
    return "x".join([str(radius)] * dim)


def _execute(dim: int, command: str) -> None:
    import picsl_greedy

    engine = picsl_greedy.Greedy3D() if dim == 3 else picsl_greedy.Greedy2D()
    engine.execute(f"-threads {THREADS} -V 0 {command}")
