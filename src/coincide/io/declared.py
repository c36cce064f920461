"""Asked before allocating: can the file hold what its header declares, and does that fit into memory."""

from __future__ import annotations

from pathlib import Path

from coincide.errors import MissingFileError, UnreadableFileError
from coincide.ops.memory import as_text, require

DEFLATE_LIMIT = 1032
"""No deflate stream (gzip, zlib) grows more than this many times when it is unpacked."""


def existing(path: str | Path) -> Path:
    """`path`, if there is such a file and it may be read.

    Raises:
        MissingFileError: there is none, or it is a folder.
        UnreadableFileError: it may not be read.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(
            f"{path}: is a folder, expected a file. Convert a DICOM series to NIfTI first."
        )
    if not path.exists():
        raise MissingFileError(f"{path}: no such file. Check the name and the folder.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UnreadableFileError(
            f"{path}: cannot be opened ({error.strerror}). Check its permissions."
        ) from error
    return path


def check_holds(path: Path, declared: int, packed: bool) -> None:
    """Refuse a file too small for the bytes its header declares.

    Args:
        path: the file.
        declared: bytes of header and values.
        packed: whether the file may be compressed.

    Raises:
        UnreadableFileError: the file cannot hold that much.
    """
    size = path.stat().st_size
    if declared > size * (DEFLATE_LIMIT if packed else 1):
        raise UnreadableFileError(
            f"{path}: the header declares {as_text(declared)}, but the file holds {as_text(size)}"
            f"{' compressed' if packed else ''}. It is truncated, or its header is broken; copy or export "
            "it again."
        )


def check_fits(path: str | Path, shape: tuple[int, ...], bytes_per_voxel: int) -> None:
    """Refuse an image that would not fit into memory: its values as they are stored, and as float32.

    Raises:
        ResourceError: it would not fit.
    """
    voxels = 1
    for n in shape:
        voxels *= int(n)
    size = " × ".join(str(n) for n in shape)
    require(
        voxels * (bytes_per_voxel + 4),
        f"{path}: reading {size} voxels",
        "Downsample or crop the image first.",
    )
