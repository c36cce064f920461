"""ITK's transforms as they stand in any of its files: a list of records, the one applied last first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from coincide.errors import CoincideError, TransformError
from coincide.grid import Grid
from coincide.io.itk_linear import KINDS, linear, lps_turn, to_lps
from coincide.ops.interleave import interleaved
from coincide.transforms.base import Transform
from coincide.transforms.bspline import BSpline
from coincide.transforms.chain import chain
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine, identity
from coincide.transforms.thin_plate import ThinPlate
from coincide.transforms.velocity import Velocity

NAME = re.compile(r"(?P<kind>\w+?)_(?:double|float)_(?P<into>\d)_(?P<out>\d)(?:_(?P<order>\d))?")
FIELDS = (
    "DisplacementFieldTransform",
    "BSplineSmoothingOnUpdateDisplacementFieldTransform",
    "GaussianSmoothingOnUpdateDisplacementFieldTransform",
)
SPLINES = ("BSplineTransform", "BSplineDeformableTransform")
COMPOSITE = "CompositeTransform"


@dataclass(frozen=True, eq=False)
class FieldParameters:
    """The numbers of a displacement field in ITK's order, in LPS, of which only a part is in memory at a time.

    Args:
        vectors: `(dim, *shape)` float32, RAS+ mm.
    """

    vectors: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.vectors.size

    def parts(self) -> Iterator[np.ndarray]:
        """Flat float32 parts of the whole, in order; each is overwritten by the next."""
        return interleaved(self.vectors, lps_turn(len(self.vectors)).astype(np.float32))

    def whole(self) -> np.ndarray:
        """All of them, flat float32."""
        return np.concatenate([part.copy() for part in self.parts()])


@dataclass(frozen=True, eq=False)
class Record:
    """One transform of an ITK file.

    Args:
        name: class, precision and dimensions, as `"AffineTransform_double_3_3"`.
        parameters: flat; float32 for displacement fields, to halve the file.
        fixed: flat float64.
    """

    name: str
    parameters: np.ndarray | FieldParameters
    fixed: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """The parameters, all in memory."""
        return self.parameters if isinstance(self.parameters, np.ndarray) else self.parameters.whole()


def to_records(transform: Transform) -> list[Record]:
    """The records of a composite that is `transform`, itself first: of its members, the one applied last
    comes first.

    Raises:
        TransformError: a field on a sheared grid, or a transform ITK has no word for.
    """
    dim = transform.dim
    empty = np.zeros(0)
    return [
        Record(f"{COMPOSITE}_double_{dim}_{dim}", empty, empty),
        *(_record(part) for whole in transform.parts() for part in _known(whole)),
    ]


def _known(part: Transform) -> tuple[Transform, ...]:
    """The parts that ITK has words for, of one that it has none for."""
    return part.sampled().parts() if isinstance(part, ThinPlate) else (part,)


def _record(part: Transform) -> Record:
    if isinstance(part, Affine):
        return Record(f"AffineTransform_double_{part.dim}_{part.dim}", *to_lps(part))
    if isinstance(part, Velocity):
        part = part.displacement
    if isinstance(part, Displacement):
        kind, parameters = FIELDS[0], FieldParameters(part.vectors.cpu().contiguous().numpy())
    elif isinstance(part, BSpline):
        # ITK keeps the first index fastest; a field's components lie together, a spline's in blocks
        kind, values = SPLINES[0], part.coefficients.cpu().numpy()
        parameters = np.array(values.transpose(0, *range(part.dim, 0, -1)), order="C")
        parameters[:2] *= -1
        parameters = parameters.ravel()
    else:
        raise TransformError(
            f"a {type(part).__name__} has no form in ITK's files; sample it as a displacement field first."
        )
    check_orthogonal(part.grid)
    return Record(f"{kind}_double_{part.dim}_{part.dim}", parameters, _fixed(part.grid))


def check_orthogonal(grid: Grid) -> None:
    """Refuse a grid that ITK cannot hold."""
    if not grid.is_orthogonal:
        raise TransformError(
            "the transform's grid has axes that are not at right angles, which ITK's files do not hold. "
            "Sample it on Grid.orthogonalised() first."
        )


def _fixed(grid: Grid) -> np.ndarray:
    turn = lps_turn(grid.dim)
    direction = turn[:, None] * grid.direction
    return np.concatenate([grid.shape, turn * grid.origin, grid.spacing, direction.ravel()])


def from_records(records: list[Record], where: str) -> Transform:
    """The transform of an ITK file.

    Args:
        records: as they stand in the file. A composite is its first record; further ones, of composites
            inside the composite, carry nothing themselves.
        where: the file, for messages.

    Raises:
        TransformError: unknown or contradictory records.
    """
    if not records:
        raise TransformError(f"{where}: holds no transform.")
    members = [record for record in records if not record.name.startswith(COMPOSITE)]
    if len(members) > 1 and len(members) == len(records):
        raise TransformError(
            f"{where}: holds {len(members)} transforms that no composite binds together, so their order "
            "is not known. "
            "Write them as one composite, or as files of their own."
        )
    try:
        return (
            chain(*(_transform(record) for record in members)) if members else identity(_parse(records[0])[1])
        )
    except CoincideError as error:
        raise TransformError(f"{where}: {error}") from error


def _parse(record: Record) -> tuple[str, int]:
    """The class of a record and its number of dimensions."""
    match = NAME.fullmatch(record.name)
    if (
        match is None
        or match["into"] != match["out"]
        or match["into"] not in "23"
        or match["order"] not in (None, "3")
    ):
        raise TransformError(
            f"the transform type {record.name!r} is not known; expected such as AffineTransform_double_3_3."
        )
    return match["kind"], int(match["into"])


def _transform(record: Record) -> Transform:
    kind, dim = _parse(record)
    parameters, fixed = record.numbers, np.asarray(record.fixed, dtype=np.float64)
    if kind in FIELDS:
        grid = _grid(fixed, dim, kind)
        values = _values(parameters, (*grid.shape[::-1], dim), kind)
        return Displacement(torch.from_numpy(_turned(values.T, np.float32)), grid)
    if kind in SPLINES:
        grid = _grid(fixed, dim, kind)
        values = _values(parameters, (dim, *grid.shape[::-1]), kind)
        return BSpline(torch.from_numpy(_turned(values.transpose(0, *range(dim, 0, -1)), np.float64)), grid)
    found = linear(kind, np.asarray(parameters, dtype=np.float64), fixed, dim)
    if found is None:
        known = ", ".join(sorted([*KINDS, *FIELDS, *SPLINES]))
        raise TransformError(f"the transform type {kind} cannot be used. Known: {known}.")
    return found


def _grid(fixed: np.ndarray, dim: int, kind: str) -> Grid:
    if len(fixed) not in (3 * dim, 3 * dim + dim * dim) or not np.isfinite(fixed).all():
        raise TransformError(
            f"{kind}: {len(fixed)} fixed parameters ({fixed}), expected {3 * dim + dim * dim}."
        )
    shape, origin, spacing = fixed[: 3 * dim].reshape(3, dim)
    direction = fixed[3 * dim :].reshape(dim, dim) if len(fixed) > 3 * dim else np.eye(dim)
    turn = lps_turn(dim)
    return Grid.from_spacing(tuple(shape.astype(int)), spacing, turn * origin, turn[:, None] * direction)


def _values(parameters: np.ndarray, shape: tuple[int, ...], kind: str) -> np.ndarray:
    if len(parameters) != np.prod(shape):
        raise TransformError(
            f"{kind}: {len(parameters):,} parameters, expected {np.prod(shape):,} for {shape}."
        )
    return np.asarray(parameters).reshape(shape)


def _turned(values: np.ndarray, dtype: type) -> np.ndarray:
    """Vectors `(dim, *shape)` from LPS to RAS+, C-contiguous."""
    out = np.array(values, dtype=dtype, order="C")
    out[:2] *= -1
    return out
