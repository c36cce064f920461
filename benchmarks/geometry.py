"""Grids and displacements for the evaluator, kept apart from coincide's own so that the judge is independent.

World is RAS+ mm; displacements are `(*shape, dim)` arrays in mm, fixed world to moving world.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Lattice:
    """Shape and affine (index to RAS+ mm) of an image of 2 or 3 dimensions."""

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def dim(self) -> int:
        return len(self.shape)

    @property
    def spacing(self) -> np.ndarray:
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)

    def world(self, index: np.ndarray) -> np.ndarray:
        return index @ self.affine[:-1, :-1].T + self.affine[:-1, -1]

    def index(self, world: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(self.affine)
        return world @ inverse[:-1, :-1].T + inverse[:-1, -1]

    def points(self) -> np.ndarray:
        """World positions of all voxel centres, `(*shape, dim)`."""
        return self.world(np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), -1).astype(float))

    def inside(self, world: np.ndarray) -> np.ndarray:
        """Whether positions lie in the field of view, half a voxel past the outermost centres included."""
        index = self.index(world)
        return np.all((index >= -0.5) & (index <= np.asarray(self.shape) - 0.5), axis=-1)


def read_image(path: Path) -> tuple[np.ndarray, Lattice]:
    """Voxels and lattice of a NIfTI file, trailing axes of length one dropped."""
    import nibabel as nib

    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    while data.ndim > 2 and data.shape[-1] == 1:
        data = data[..., 0]
    keep = [*range(data.ndim), 3]
    return data, Lattice(data.shape, np.asarray(image.affine, float)[np.ix_(keep, keep)])


def read_labels(path: Path) -> tuple[np.ndarray, Lattice]:
    """A label map as 64-bit integers, and its lattice."""
    data, lattice = read_image(path)
    return np.rint(data).astype(np.int64), lattice


def read_points(path: Path) -> tuple[list[str], np.ndarray]:
    """Names and world positions of a `name,x,y[,z]` table."""
    rows = [line.strip().split(",") for line in path.read_text().splitlines()[1:] if line.strip()]
    return [row[0] for row in rows], np.array([[float(v) for v in row[1:]] for row in rows])


def lps(dim: int) -> np.ndarray:
    """Signs that turn RAS into LPS and back."""
    return np.array([-1.0, -1.0, 1.0][:dim])


def affine_displacement(matrix: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The displacement of `x ↦ matrix x` (homogeneous, RAS mm) at every voxel."""
    points = lattice.points()
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1] - points


def itk_displacement(transform, lattice: Lattice) -> np.ndarray:
    """The displacement of a SimpleITK transform (LPS, fixed to moving) at every voxel, in RAS mm."""
    import SimpleITK as sitk

    signs = lps(lattice.dim)
    direction = signs[:, None] * lattice.affine[:-1, :-1] / lattice.spacing
    origin = signs * lattice.affine[:-1, -1]
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        lattice.shape,
        origin.tolist(),
        lattice.spacing.tolist(),
        direction.ravel().tolist(),
    )
    vectors = sitk.GetArrayFromImage(field)
    return np.moveaxis(vectors, list(range(lattice.dim)), list(range(lattice.dim))[::-1]) * signs


def itk_field_transform(path: Path):
    """A SimpleITK displacement field transform from a vector image on disk (LPS)."""
    import SimpleITK as sitk

    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def itk_map(transform, points: np.ndarray) -> np.ndarray:
    """Map RAS points `(number, dim)` by a SimpleITK transform (LPS)."""
    signs = lps(points.shape[1])
    return np.array([transform.TransformPoint(p) for p in (points * signs).tolist()]) * signs


def itk_affine(matrix: np.ndarray):
    """A homogeneous RAS matrix as a SimpleITK transform (LPS)."""
    import SimpleITK as sitk

    n = matrix.shape[0] - 1
    signs = lps(n)
    transform = sitk.AffineTransform(n)
    transform.SetMatrix((signs[:, None] * matrix[:n, :n] * signs).ravel().tolist())
    transform.SetTranslation((signs * matrix[:n, n]).tolist())
    return transform
