"""`coincide apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.cli.opening import check_apart
from coincide.errors import LabelError, unknown

if TYPE_CHECKING:
    import numpy as np

    from coincide.image import Image

INTERPOLATIONS = ("auto", "linear", "cubic", "nearest", "label")


def apply(
    transform: a.TransformFile,
    moving: Annotated[Path, typer.Option(metavar="X", help="Image to resample.")],
    reference: Annotated[Path, typer.Option(metavar="F", help="Image whose grid the result takes.")],
    out: a.OutFile,
    interp: Annotated[
        str,
        typer.Option(
            metavar="|".join(INTERPOLATIONS), help="auto: label for label maps, linear for the rest."
        ),
    ] = "auto",
    time_index: a.TimeIndex = None,
) -> int:
    """Resample an image through a transform onto the grid of another, once."""
    if interp not in INTERPOLATIONS:
        raise unknown("value of --interp", interp, INTERPOLATIONS)
    from coincide.io import read_transform, write_image
    from coincide.io.images import check_time_index, read_grid
    from coincide.transforms.resample import resample

    check_apart(out, transform, moving, reference)
    chosen = read_transform(transform)
    check_time_index(time_index, moving)
    grid = read_grid(reference)
    image = open_for(moving, interp, time_index)
    kind = ("label" if image.kind == "label" else "linear") if interp == "auto" else interp
    write_image(resample(image, chosen, grid, kind), out)
    console.out.print(f"{out}: {image.name} on the grid of {reference.name}, interpolation {kind}")
    return 0


def open_for(path: Path, interp: str, time_index: int | None = None) -> Image:
    """Read an image as what `interp` needs: labels stay integers, so that large ones do not change."""
    from coincide.io import read_image

    if interp in ("linear", "cubic"):
        return read_image(path, time_index=time_index)
    try:
        labels = read_image(path, kind="label", time_index=time_index)
    except LabelError:
        if interp == "label":
            raise
        return read_image(path, time_index=time_index)
    if interp == "auto":
        if not looks_like_labels(labels.numpy()[0]):
            return read_image(path, time_index=time_index)
        console.note(f"{path.name} looks like a label map; say --interp linear if it is a picture")
    return labels


def looks_like_labels(values: np.ndarray) -> bool:
    """Whether integers lie in flat regions: most neighbouring voxels that are not background are equal."""
    import numpy as np

    same = total = 0
    for axis in range(values.ndim):
        one, other = np.delete(values, 0, axis), np.delete(values, -1, axis)
        counted = (one != 0) & (other != 0)
        total += int(counted.sum())
        same += int(((one == other) & counted).sum())
    return total > 0 and same > 0.6 * total
