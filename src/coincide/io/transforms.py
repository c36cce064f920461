"""Transforms by the suffix of their file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from coincide.errors import TransformError
from coincide.grid import Grid
from coincide.io.declared import existing
from coincide.transforms.base import Transform

FORMATS = {
    "itk_hdf5": (".h5", ".hdf5", ".hdf"),
    "itk_text": (".tfm", ".txt"),
    "itk_matlab": (".mat",),
    "displacement_nifti": (".nii", ".nii.gz"),
}
"""Which module of `coincide.io` reads and writes which suffixes."""


def read_transform(path: str | Path) -> Transform:
    """Read a transform, fixed-world mm → moving-world mm (RAS+), from any of the files ITK and ANTs write.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated or damaged.
        TransformError: an unknown format, or a transform that cannot be used.
        ResourceError: larger than the memory.
    """
    return _module(existing(path)).read(path)


def write_transform(
    transform: Transform, path: str | Path, *, grid: Grid | None = None, compression: int = 0
) -> None:
    """Write a transform, whole or not at all, in LPS as ITK has it.

    `.h5` holds any transform: linear parts, displacement fields, B-splines, and velocities as the
    displacement they flow to. `.tfm` and `.txt` hold them up to a million numbers, `.mat` a linear one.
    `.nii` and `.nii.gz` hold the transform sampled on a grid.

    Args:
        transform: fixed-world mm → moving-world mm.
        path: the file.
        grid: for NIfTI: where to sample; the grid of the transform's own field where left out.
        compression: for `.h5`: gzip level of the fields, 0 for none.

    Raises:
        TransformError: an unknown suffix, or the format cannot hold the transform.
        OutputError: the file cannot be written.
    """
    module = _module(path)
    name = module.__name__.rpartition(".")[2]
    options = {"itk_hdf5": {"compression": compression}, "displacement_nifti": {"grid": grid}}
    module.write(transform, path, **options.get(name, {}))


def _module(path: str | Path) -> ModuleType:
    name = Path(path).name.lower()
    for module, suffixes in FORMATS.items():
        if name.endswith(suffixes):
            return import_module(f"coincide.io.{module}")
    known = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
    raise TransformError(f"{path}: the suffix names no transform format. Known: {known}.")
