"""Images that a command measures or processes, opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coincide.image import Image


def check_apart(out: Path, *inputs: Path | None) -> None:
    """Make sure that a file to write is none of those that are read.

    Raises:
        OutputError: it is.
    """
    from coincide.errors import OutputError

    if out.resolve() in {path.resolve() for path in inputs if path is not None}:
        raise OutputError(f"{out}: would overwrite an input. Name another file.")


def open_images(*paths: Path, mask: Path | None = None, time_index: int | None = None) -> list[Image]:
    """Images of which one at least has several volumes, where a volume is asked for.

    Args:
        paths: the images.
        mask: of the first.
        time_index: which volume of those that have several.

    Raises:
        OptionError: no image has a use for `time_index`.
        InputError: an image or the mask cannot be used.
    """
    from coincide.api import open_image
    from coincide.io.images import check_time_index

    check_time_index(time_index, *paths)
    return [
        open_image(path, None if number else mask, time_index=time_index) for number, path in enumerate(paths)
    ]
