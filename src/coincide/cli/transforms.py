"""`coincide convert`, `invert` and `compose`: transform files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.cli.opening import check_apart
from coincide.errors import OptionError

Source = Annotated[Path, typer.Argument(metavar="T", help="Transform file.")]
Sources = Annotated[list[Path], typer.Argument(metavar="T…", help="Transform files, first applied first.")]
Reference = Annotated[
    Path | None,
    typer.Option(metavar="F", help="Image on whose grid a displacement field (.nii.gz) is sampled."),
]


def convert(transform: Source, out: a.OutFile, reference: Reference = None) -> int:
    """Write a transform in another format, chosen by the suffix of Y.

    .h5 is an ITK composite, .tfm and .txt the same as text (small fields only), .mat holds a linear transform;
    .nii.gz is a displacement field that ANTs applies.
    """
    from coincide.io import read_transform

    check_apart(out, transform)
    return _write(read_transform(transform), out, reference)


def invert(transform: Source, out: a.OutFile, reference: Reference = None) -> int:
    """Write the inverse of a transform: moving world → fixed world."""
    from coincide.io import read_transform

    check_apart(out, transform)
    return _write(read_transform(transform).inverse(), out, reference)


def compose(transforms: Sources, out: a.OutFile, reference: Reference = None) -> int:
    """Write several transforms as one; points go through the first one named first.

    With a.h5 from A's world to B's and b.h5 from B's to C's, 'compose a.h5 b.h5' goes from A's world to C's,
    and resamples an image of C onto A.
    """
    from coincide.io import read_transform
    from coincide.transforms.chain import chain

    check_apart(out, *transforms)
    return _write(chain(*(read_transform(t) for t in reversed(transforms))), out, reference)


def _write(transform, out: Path, reference: Path | None) -> int:
    from coincide.io import write_transform
    from coincide.io.images import read_grid

    grid = None
    if reference is not None:
        if not out.name.lower().endswith((".nii", ".nii.gz")):
            raise OptionError(
                f"--reference says where a displacement field is sampled, and {out.name} holds the transform as it is. "
                "Leave --reference out, or write .nii.gz."
            )
        check_apart(out, reference)
        grid = read_grid(reference)
        if not grid.is_orthogonal:
            console.note(
                f"{reference.name} is sheared, which ITK's fields cannot be: sampled on an upright grid around it"
            )
            grid = grid.orthogonalised()
    write_transform(transform, out, grid=grid)
    console.out.print(f"{out}: {transform.dim}-D transform")
    return 0
