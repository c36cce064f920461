"""Where an image lies: the grid of a 3-D image, and for a 2-D one which world axes its x and y are."""

from __future__ import annotations

import numpy as np

from coincide.errors import DimensionError, GeometryError
from coincide.grid import Grid
from coincide.io.notes import note

LETTERS = "RAS"


def frame(affine: np.ndarray, shape: tuple[int, ...], name: str) -> tuple[Grid, tuple[int, ...]]:
    """The grid of an array that has two or three axes of space, and which of these the grid keeps.

    An image one voxel thick is a 2-D image, and a note says so.

    Args:
        affine: `(4, 4)`, index to RAS+ mm.
        shape: number of voxels along the axes of space.
        name: what to call the image in messages.

    Raises:
        DimensionError: fewer than two axes have more than one voxel.
        GeometryError: zero or NaN spacing, or axes that do not span the space.
    """
    axes = tuple(axis for axis, n in enumerate(shape) if n > 1)
    if len(axes) < 2:
        raise DimensionError(
            f"{name}: has the shape {shape}, expected two or three axes of more than one voxel."
        )
    if len(axes) == 2:
        flat, (x, y) = plane_affine(affine, axes, name)
        if len(shape) == 3:
            note(
                f"{name}: is one voxel thick {shape}: a 2-D image, x along the world's {x}, y along its {y}."
            )
        affine = flat
    try:
        return Grid(tuple(shape[axis] for axis in axes), affine), axes
    except GeometryError as error:
        raise GeometryError(f"{name}: {error}") from None


def plane_affine(affine: np.ndarray, axes: tuple[int, int], name: str) -> tuple[np.ndarray, str]:
    """The affine of a 2-D image from that of the 3-D world it lies in.

    x and y are the two world axes the image lies in, in the world's order: R and A for an axial slice (and
    for a picture, where they have no anatomical meaning), R and S for a coronal one, A and S for a sagittal
    one. An oblique slice is first turned onto the nearest of these by the smallest rotation, so lengths and
    angles stay true. The position along the third axis is dropped.

    Args:
        affine: `(4, 4)`, index to RAS+ mm.
        axes: the two index axes of the image.
        name: what to call the image in messages.

    Returns:
        The `(3, 3)` affine from index to `(x, y)` mm, and the two letters of x and y.

    Raises:
        GeometryError: the two axes are parallel, or have no length.
    """
    columns = affine[:3, list(axes)]
    normal = np.cross(columns[:, 0], columns[:, 1])
    length = np.linalg.norm(normal)
    if not np.isfinite(columns).all() or length <= 1e-6 * np.prod(np.linalg.norm(columns, axis=0)):
        raise GeometryError(f"{name}: the affine is singular or not finite:\n{affine}\nMend the header.")
    normal = normal / length
    third = int(np.argmax(np.abs(normal)))
    target = np.zeros(3)
    target[third] = np.copysign(1.0, normal[third])
    turned = _rotation_between(normal, target) @ affine[:3, [*axes, 3]]
    kept = [axis for axis in range(3) if axis != third]
    flat = np.eye(3)
    flat[:2] = turned[kept]
    return flat, "".join(LETTERS[axis] for axis in kept)


def embed_affine(affine: np.ndarray) -> np.ndarray:
    """The `(4, 4)` affine that places a 2-D image, `(3, 3)`, in the plane z = 0."""
    out = np.eye(4)
    out[:2, :2], out[:2, 3] = affine[:2, :2], affine[:2, 2]
    return out


def _rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns the unit vector `start` into `end`, less than a right angle away."""
    x, y, z = np.cross(start, end)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + start @ end)


def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` without trailing axes of length one."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(shape)
