"""ANTsPy's presets."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geometry import Lattice, itk_displacement, itk_field_transform, itk_map
from benchmarks.peers.base import AbstractTool, Job, Map


@dataclass(frozen=True)
class Ants(AbstractTool):
    """`ants.registration` by the name of a preset (`type_of_transform`), no fixed seed."""

    preset: str = "SyN"
    random = True

    def version(self) -> str:
        return f"antspyx {version('antspyx')}"

    def load(self) -> None:
        import ants  # noqa: F401

    def run(self, job: Job, out: Path) -> None:
        import ants

        masks = {"mask": job.fixed_mask, "moving_mask": job.moving_mask}
        given: dict[str, Any] = {
            n: ants.image_read(str(path)) for n, path in masks.items() if path is not None
        }
        ants.registration(
            ants.image_read(str(job.fixed)),
            ants.image_read(str(job.moving)),
            type_of_transform=self.preset,
            outprefix=f"{out}/",
            mask_all_stages=bool(given),
            **given,
        )

    def displacement(self, job: Job, out: Path, lattice: Lattice) -> np.ndarray:  # noqa: ARG002
        return itk_displacement(_forward(out, lattice.dim), lattice)

    def maps(self, job: Job, out: Path) -> tuple[Map, Map] | None:
        if not (out / "1InverseWarp.nii.gz").exists():
            return None
        there, back = _forward(out, job.dim), _backward(out, job.dim)
        return lambda p: itk_map(there, p), lambda p: itk_map(back, p)


def _forward(out: Path, dim: int):
    import SimpleITK as sitk

    chain = sitk.CompositeTransform(dim)
    chain.AddTransform(sitk.ReadTransform(str(out / "0GenericAffine.mat")))
    if (out / "1Warp.nii.gz").exists():
        chain.AddTransform(itk_field_transform(out / "1Warp.nii.gz"))
    return chain


def _backward(out: Path, dim: int):
    import SimpleITK as sitk

    chain = sitk.CompositeTransform(dim)
    chain.AddTransform(itk_field_transform(out / "1InverseWarp.nii.gz"))
    chain.AddTransform(sitk.ReadTransform(str(out / "0GenericAffine.mat")).GetInverse())
    return chain
