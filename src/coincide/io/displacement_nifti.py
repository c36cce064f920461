"""Displacement fields as NIfTI: `(X, Y, Z, 1, 3)`, vectors in LPS mm, as ANTs applies them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from coincide.errors import CoincideError, TransformError
from coincide.grid import Grid
from coincide.io.atomic import whole_file
from coincide.io.declared import check_fits
from coincide.io.frame import embed_affine
from coincide.io.itk import check_orthogonal
from coincide.io.itk_linear import lps_turn
from coincide.io.nibabel_file import opened
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement

AMBIGUOUS = 1006
"""NIfTI's intent `displacement vector`: newer ITK turns its x and y round, older does not. Never written."""


def read(path: str | Path) -> Displacement:
    """Read a field of vectors in LPS mm, fixed world → moving world.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: truncated, gzip-broken, or no NIfTI file.
        TransformError: no field of vectors, or of an intent that does not say which way they point.
        ResourceError: larger than the memory.
    """
    with opened(path) as loaded:
        dim = _dimension(loaded, str(path))
        check_fits(path, loaded.shape, 8)
        values = np.asarray(loaded.dataobj)[..., 0, :].astype(np.float32)
        affine = np.array(loaded.affine, dtype=np.float64)
    if dim == 2:
        values, affine = values[:, :, 0], affine[np.ix_([0, 1, 3], [0, 1, 3])]
    vectors = np.ascontiguousarray(np.moveaxis(values * lps_turn(dim).astype(np.float32), -1, 0))
    try:
        return Displacement(torch.from_numpy(vectors), Grid(vectors.shape[1:], affine))
    except CoincideError as error:
        raise TransformError(f"{path}: {error}") from error


def _dimension(loaded: nib.Nifti1Image, name: str) -> int:
    shape = loaded.shape
    dim = shape[-1]
    if len(shape) != 5 or shape[3] != 1 or dim not in (2, 3) or (dim == 2 and shape[2] != 1):
        raise TransformError(
            f"{name}: has the shape {shape}, expected (X, Y, Z, 1, 3), or (X, Y, 1, 1, 2), of a "
            "displacement field."
        )
    if int(loaded.header["intent_code"]) == AMBIGUOUS:
        raise TransformError(
            f"{name}: has the intent {AMBIGUOUS}, by which some tools mean vectors in LPS and others in "
            "RAS+. Write it "
            "with the intent 1007 (vector), in LPS."
        )
    return dim


def write(transform: Transform, path: str | Path, grid: Grid | None = None) -> None:
    """Write a transform sampled as a displacement field: exact at the voxel centres of `grid`, none outside
    it.

    Args:
        transform: fixed-world mm → moving-world mm.
        path: `.nii` or `.nii.gz`.
        grid: where to sample; that of the transform's own field where left out.

    Raises:
        TransformError: no grid is known, or its axes are not at right angles.
        OutputError: the file cannot be written.
    """
    grid = grid or own_grid(transform, path)
    check_orthogonal(grid)
    dim = grid.dim
    vectors = np.empty((*grid.shape, *[1] * (4 - dim), dim), dtype=np.float32)
    for start in range(grid.shape[0]):  # plane by plane: the points of a whole brain take 140 MB in float64
        plane = grid.cropped([start, *[0] * (dim - 1)], [start + 1, *grid.shape[1:]]).points()
        vectors[start] = (lps_turn(dim) * (transform(plane) - plane)).reshape(vectors.shape[1:])
    affine = grid.affine if dim == 3 else embed_affine(grid.affine)
    loaded = nib.Nifti1Image(vectors, affine)
    loaded.set_sform(affine, 1)
    loaded.set_qform(affine, 1)
    loaded.header.set_intent("vector")
    loaded.header.set_xyzt_units("mm")
    with whole_file(path) as scratch:
        nib.save(loaded, scratch)


def own_grid(transform: Transform, path: str | Path) -> Grid:
    """The grid of the field among the parts of `transform` that is applied first.

    Raises:
        TransformError: it has none.
    """
    for part in reversed(transform.parts()):
        grid = getattr(part, "grid", None)
        if grid is not None:
            return grid
    raise TransformError(
        f"{path}: a linear transform has no grid to be sampled on. Give one (the fixed image), or write "
        ".h5 or .mat."
    )
