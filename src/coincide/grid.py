"""Where voxels lie: a shape and an affine from index to world (RAS+ millimetres)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.errors import DimensionError, GeometryError


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels in the world.

    Args:
        shape: number of voxels along each index axis, `(I, J)` or `(I, J, K)`.
        affine: `(n+1, n+1)` float64 matrix from index (voxel centres at integers) to world millimetres,
            RAS+ in 3-D. In 2-D the world is the image's own `(x, y)` frame in millimetres; a radiograph has no
            anatomical axes.

    Raises:
        DimensionError: the shape is not 2-D or 3-D, or has an empty axis.
        GeometryError: the affine is of the wrong size, not finite, singular, or not a map of points.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        n = len(shape)
        if n not in (2, 3):
            raise DimensionError(f"a grid has 2 or 3 dimensions, found {n} (shape {shape}).")
        if min(shape) < 1:
            raise DimensionError(f"a grid needs at least one voxel along every axis, found shape {shape}.")
        if affine.shape != (n + 1, n + 1):
            raise GeometryError(f"a {n}-D grid needs a {n + 1}x{n + 1} affine, found {affine.shape}.")
        if not np.isfinite(affine).all():
            raise GeometryError(f"the affine holds NaN or infinite values:\n{affine}\nMend the header.")
        if np.abs(affine[-1] - np.eye(n + 1)[-1]).max() > 1e-9:
            raise GeometryError(f"the affine's last row must be 0 … 0 1, found {affine[-1]}.")
        spacing = np.linalg.norm(affine[:n, :n], axis=0)
        if spacing.min() <= 0:
            raise GeometryError(f"the spacing has a zero: {spacing} mm. Mend the header.")
        if abs(np.linalg.det(affine[:n, :n] / spacing)) < 1e-6:
            raise GeometryError(
                f"the affine is singular (its axes do not span {n} dimensions):\n{affine}\nMend the header."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(cls, shape, spacing, origin=None, direction=None) -> Grid:
        """A grid from `spacing` (mm), `origin` (world mm of voxel 0) and `direction` (columns are axes)."""
        n = len(shape)
        affine = np.eye(n + 1)
        direction = np.eye(n) if direction is None else np.asarray(direction, dtype=np.float64)
        affine[:n, :n] = direction * np.broadcast_to(np.asarray(spacing, dtype=np.float64), (n,))
        if origin is not None:
            affine[:n, n] = origin
        return cls(tuple(shape), affine)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def spacing(self) -> np.ndarray:
        """Distance between neighbouring voxel centres along each index axis, mm, `(n,)`."""
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)

    @property
    def direction(self) -> np.ndarray:
        """Unit vectors of the index axes in the world, as columns, `(n, n)`."""
        return self.affine[:-1, :-1] / self.spacing

    @property
    def origin(self) -> np.ndarray:
        """World position of voxel 0, mm, `(n,)`."""
        return self.affine[:-1, -1].copy()

    @property
    def inverse_affine(self) -> np.ndarray:
        """`(n+1, n+1)` matrix from world mm to index."""
        return np.linalg.inv(self.affine)

    @property
    def voxel_volume(self) -> float:
        """Volume (area in 2-D) of a voxel, mm³ (mm²)."""
        return float(abs(np.linalg.det(self.affine[:-1, :-1])))

    @property
    def centre(self) -> np.ndarray:
        """World position of the middle of the field of view, mm, `(n,)`."""
        return self.world((np.asarray(self.shape) - 1) / 2)

    @property
    def corners(self) -> np.ndarray:
        """World positions of the `2**n` outermost voxel centres, mm, `(2**n, n)`."""
        ends = [(0, s - 1) for s in self.shape]
        return self.world(np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, self.dim))

    @property
    def is_orthogonal(self) -> bool:
        """Whether the index axes are at right angles, to 1e-5: what ITK asks of an image."""
        gram = self.direction.T @ self.direction
        return bool(np.abs(gram - np.eye(self.dim)).max() < 1e-5)

    def world(self, index) -> np.ndarray:
        """World positions (mm) of `index` positions, `(..., n)` to `(..., n)`."""
        index = np.asarray(index, dtype=np.float64)
        # einsum: ten times faster here than a matrix product, which goes to BLAS for a few columns
        return np.einsum("...j,ij->...i", index, self.affine[:-1, :-1]) + self.affine[:-1, -1]

    def index(self, world) -> np.ndarray:
        """Index positions (fractional) of `world` positions (mm), `(..., n)` to `(..., n)`."""
        world = np.asarray(world, dtype=np.float64)
        inverse = self.inverse_affine
        return np.einsum("...j,ij->...i", world, inverse[:-1, :-1]) + inverse[:-1, -1]

    def points(self) -> np.ndarray:
        """World positions of all voxel centres, mm, `(*shape, n)`."""
        index = np.stack(np.meshgrid(*(np.arange(s) for s in self.shape), indexing="ij"), -1)
        return self.world(index)

    def inside(self, world, margin: float = 0.5) -> np.ndarray:
        """Whether `world` positions (mm, `(..., n)`) lie in the field of view, `margin` voxels past the centres."""
        index = self.index(world)
        return np.all((index >= -margin) & (index <= np.asarray(self.shape) - 1 + margin), axis=-1)

    def cropped(self, start, stop) -> Grid:
        """The part of the grid with indices from `start` up to but without `stop`; both may lie outside."""
        start, stop = np.asarray(start), np.asarray(stop)
        affine = self.affine.copy()
        affine[:-1, -1] = self.world(start)
        return Grid(tuple(int(s) for s in stop - start), affine)

    def orthogonalised(self, spacing=None) -> Grid:
        """The smallest grid with axes at right angles, near this one's, that covers this one's field of view.

        Args:
            spacing: mm, a number or one per axis; this grid's own where left out.
        """
        u, _, vt = np.linalg.svd(self.direction)
        direction = u @ vt
        spacing = (
            self.spacing if spacing is None else np.broadcast_to(np.asarray(spacing, float), (self.dim,))
        )
        local = self.corners @ direction
        low, high = local.min(0), local.max(0)
        shape = np.maximum(np.ceil((high - low) / spacing - 1e-6).astype(int) + 1, 1)
        middle = (low + high) / 2 - (shape - 1) * spacing / 2
        return Grid.from_spacing(tuple(shape), spacing, direction @ middle, direction)

    def matches(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Whether `other` has the same shape and its corners lie within `tolerance` voxels of this grid's."""
        if self.shape != other.shape:
            return False
        apart = np.abs(self.corners - other.corners).max()
        return bool(apart <= tolerance * self.spacing.min())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.shape == other.shape
            and np.array_equal(self.affine, other.affine)
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        spacing = "×".join(f"{s:.4g}" for s in self.spacing)
        return f"Grid({size} voxels of {spacing} mm, centre {np.round(self.centre, 1).tolist()})"
