"""Size, form and place of a region, in world millimetres."""

from __future__ import annotations

import numpy as np

from coincide.features.region import Region
from coincide.features.surface import mask_surface

AXES = "xyz"
SIZES = ("major", "minor", "least")


def shape(region: Region) -> dict[str, float]:
    """How large a region is and what form it has.

    In 3-D by the image biomarker standard (IBSI, doi:10.1148/radiol.2020191145, chapter 3.1): volume and surface of
    the mesh that marching cubes lays at half between inside and outside, in the world, so that spacing and oblique
    axes enter as they are. In 2-D area by counting, and the perimeter of the slightly smoothed outline, as the
    standard has none; it comes out 1 to 3 % long for a disc.

    Returns:
        Lengths in mm, surfaces in mm², volumes in mm³.
    """
    grid = region.grid
    axes = _axis_lengths(region)
    found = {f"{name}_axis_mm": float(length) for name, length in zip(SIZES, axes)}
    # ratios of one voxel have nothing to stand on
    found["elongation"] = float(axes[1] / axes[0]) if axes[0] > 0 else np.nan
    counted = float(region.inside.sum()) * grid.voxel_volume
    if grid.dim == 2:
        perimeter = float(mask_surface(np.pad(region.inside, 2), _padded(region, 2)).areas.sum())
        round_ = 2 * np.sqrt(np.pi * counted) / perimeter if perimeter > 0 else np.nan
        return {"area_mm2": counted, "perimeter_mm": perimeter, "circularity": float(round_), **found}
    found["flatness"] = float(axes[2] / axes[0]) if axes[0] > 0 else np.nan
    corners, faces = _mesh(region)
    a, b, c = (corners[faces[:, k]] for k in range(3))
    middle = corners.mean(0)
    volume = abs(float(np.einsum("na,na->n", a - middle, np.cross(b - middle, c - middle)).sum())) / 6
    surface = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2
    return {
        "volume_mm3": volume,
        "volume_voxels_mm3": counted,
        "surface_mm2": surface,
        "surface_to_volume_per_mm": surface / volume,
        "sphericity": float((36 * np.pi * volume**2) ** (1 / 3) / surface),
        "diameter_mm": _diameter(corners),
        **found,
    }


def position(region: Region) -> dict[str, float]:
    """Where a region lies: its centre, the box round its voxels, and its longest axis; world mm."""
    grid = region.grid
    index = np.argwhere(region.inside)
    world = grid.world(index)
    centre = world.mean(0)
    # the box holds voxels, not their middles alone
    half = np.abs(grid.affine[:-1, :-1]).sum(1) / 2
    found: dict[str, float] = {}
    for axis in range(grid.dim):
        found[f"centre_{AXES[axis]}_mm"] = float(centre[axis])
    for axis in range(grid.dim):
        found[f"low_{AXES[axis]}_mm"] = float(world[:, axis].min() - half[axis])
        found[f"high_{AXES[axis]}_mm"] = float(world[:, axis].max() + half[axis])
    longest = np.linalg.eigh(_covariance(region))[1][:, -1]
    # of the two ways along an axis the one whose largest part is positive
    longest = longest * np.sign(longest[np.argmax(np.abs(longest))])
    for axis in range(grid.dim):
        found[f"axis_{AXES[axis]}"] = float(longest[axis])
    return found


def _axis_lengths(region: Region) -> np.ndarray:
    """Four standard deviations of the voxels' middles along the principal axes, long to short, mm."""
    return 4 * np.sqrt(np.maximum(np.linalg.eigvalsh(_covariance(region))[::-1], 0))


def _covariance(region: Region) -> np.ndarray:
    world = region.grid.world(np.argwhere(region.inside))
    apart = world - world.mean(0)
    # one less than there are, as the standard's own values have it
    return np.einsum("na,nb->ab", apart, apart) / max(len(apart) - 1, 1)


def _padded(region: Region, room: int):
    grid = region.grid
    return grid.cropped([-room] * grid.dim, [n + room for n in grid.shape])


def _mesh(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Corners (world mm) and faces of the closed mesh round the region."""
    from skimage.measure import marching_cubes

    index, faces, _, _ = marching_cubes(np.pad(region.inside, 1).astype(np.float32), 0.5)
    return _padded(region, 1).world(index), faces


def _diameter(points: np.ndarray) -> float:
    """The largest distance between two of the points, mm."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    return float(pdist(points[ConvexHull(points).vertices]).max())
