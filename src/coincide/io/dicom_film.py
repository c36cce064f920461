"""Multi-frame DICOM as frames of a film, by pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from coincide.errors import CoincideError, DimensionError, MissingPackageError, UnreadableFileError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io.declared import check_fits, existing
from coincide.io.notes import note
from coincide.io.values import image_from

_CENTIMETRES = 3
"""The code of an ultrasound region's unit."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_film(path: Path) -> tuple[list[Image], float | None]:
    """The frames of a DICOM file, one or many, and the seconds between them where it says.

    x runs along the rows of the pixels, to the right, y down the columns, as in a picture. Colour becomes brightness.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: no DICOM, damaged, or compressed in a way that needs another package.
        DimensionError: its frames are slices of a volume.
        ResourceError: larger than the memory.
        MissingPackageError: pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise MissingPackageError(
            f"{path}: DICOM needs the package pydicom, which is not installed. Run: pip install 'coincide[dicom]'"
        ) from error
    path = existing(path)
    try:
        data = pydicom.dcmread(path)
        frames = int(data.get("NumberOfFrames", 1) or 1)
        _refuse_volume(data, frames, path)
        check_fits(path, (int(data.Rows), int(data.Columns), frames), 4)
        pixels = np.asarray(data.pixel_array)
    except CoincideError:
        raise
    except (
        InvalidDicomError,
        AttributeError,
        ValueError,
        KeyError,
        OSError,
        EOFError,
    ) as error:
        raise UnreadableFileError(f"{path}: is no DICOM file with pixels ({error}).") from error
    except (RuntimeError, NotImplementedError) as error:
        raise UnreadableFileError(
            f"{path}: its pixels cannot be unpacked ({str(error).splitlines()[0]}). Decompress the file first."
        ) from error
    pixels = pixels if frames > 1 else pixels[None]
    if pixels.ndim == 4:
        pixels = pixels.astype(np.float32) @ _LUMA
    values = pixels * np.float32(data.get("RescaleSlope", 1) or 1) + np.float32(
        data.get("RescaleIntercept", 0) or 0
    )
    grid = Grid.from_spacing(values.shape[:0:-1], _spacing(data, path))
    return [image_from(v.T, grid, "intensity", f"{path}, frame {n}") for n, v in enumerate(values)], _seconds(
        data
    )


def _refuse_volume(data: Any, frames: int, path: Path) -> None:
    places = {
        str(group.PlanePositionSequence[0].get("ImagePositionPatient"))
        for group in data.get("PerFrameFunctionalGroupsSequence", [])
        if "PlanePositionSequence" in group
    }
    if frames > 1 and ("GridFrameOffsetVector" in data or len(places) > 1):
        raise DimensionError(
            f"{path}: its {frames} frames are slices of a volume, expected moments of a film. Convert it to NIfTI, and "
            "register the volume."
        )


def _spacing(data: Any, path: Path) -> np.ndarray:
    """Millimetres between columns and between rows."""
    for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if data.get(key):
            return np.array([float(n) for n in data[key].value])[::-1]
    for region in data.get("SequenceOfUltrasoundRegions", []):
        deltas = [abs(float(region.get(f"PhysicalDelta{axis}", 0))) for axis in "XY"]
        if region.get("PhysicalUnitsXDirection") == _CENTIMETRES and min(deltas) > 0:
            return 10 * np.array(deltas)
    note(f"{path}: states no spacing; 1 mm a pixel is assumed, so lengths are in pixels.")
    return np.ones(2)


def _seconds(data: Any) -> float | None:
    """Seconds from one frame to the next."""
    if data.get("FrameTime"):
        return float(data.FrameTime) / 1000
    rate = data.get("CineRate") or data.get("RecommendedDisplayFrameRate")
    return 1 / float(rate) if rate else None
