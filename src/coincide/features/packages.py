"""The packages that find keypoints, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from coincide.errors import MissingPackageError

EXTRA = "pip install 'coincide[features]'"


def opencv(needed: str = "") -> ModuleType:
    """OpenCV's module.

    Args:
        needed: a function it must have, which not every version has.

    Raises:
        MissingPackageError: it is not installed, or a version without `needed`.
    """
    cv2 = _module("cv2", "opencv-python-headless")
    if needed and not hasattr(cv2, needed):
        raise MissingPackageError(
            f"the installed OpenCV {cv2.__version__} has no {needed}; expected a version 4. Run: {EXTRA}"
        )
    return cv2


def mahotas_surf() -> ModuleType:
    """mahotas' module for SURF.

    Raises:
        MissingPackageError: it is not installed.
    """
    return _module("mahotas.features.surf", "mahotas")


def _module(name: str, package: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"this method needs the package {package}, which is not installed ({error}). Run: {EXTRA}"
        ) from error
