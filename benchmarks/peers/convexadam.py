"""ConvexAdam with MIND features, after greedy's affine stage."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.geometry import Lattice, affine_displacement, itk_affine
from benchmarks.peers import greedy
from benchmarks.peers.base import THREADS, AbstractTool, Job

FIELD = "disp.nii.gz"


@dataclass(frozen=True)
class ConvexAdam(AbstractTool):
    """The defaults of `convex_adam_pt` on the fixed grid, after greedy's affine."""

    dims = (3,)
    random = True

    def version(self) -> str:
        return f"convexAdam {version('convexAdam')} after picsl-greedy {version('picsl-greedy')}"

    def load(self) -> None:
        import picsl_greedy  # noqa: F401

    def run(self, job: Job, out: Path) -> None:
        import nibabel as nib
        import torch
        from convexAdam.convex_adam_MIND import convex_adam_pt

        torch.set_num_threads(THREADS)
        greedy.affine(job, out)
        fixed, moving = _resampled(job, np.loadtxt(out / greedy.AFFINE))
        moved = convex_adam_pt(fixed, moving, device=torch.device("cpu"), dtype=torch.float32)
        nib.save(nib.Nifti1Image(moved.astype(np.float32), nib.load(job.fixed).affine), out / FIELD)

    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:  # noqa: ARG002
        import nibabel as nib

        matrix = np.loadtxt(out / greedy.AFFINE)
        voxels = np.asarray(nib.load(out / FIELD).dataobj, float)
        warp = voxels @ lattice.affine[:-1, :-1].T
        return warp @ matrix[:-1, :-1].T + affine_displacement(matrix, lattice)


def _resampled(job: Job, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fixed image and the moving image on its grid through `matrix`, as `(I, J, K)` float32 arrays."""
    import SimpleITK as sitk

    fixed = sitk.ReadImage(str(job.fixed), sitk.sitkFloat32)
    moving = sitk.ReadImage(str(job.moving), sitk.sitkFloat32)
    moved = sitk.Resample(moving, fixed, itk_affine(matrix), sitk.sitkLinear, 0.0)
    return tuple(np.ascontiguousarray(sitk.GetArrayFromImage(i).T) for i in (fixed, moved))
