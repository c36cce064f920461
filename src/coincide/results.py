"""The results of a registration as a folder of files."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from coincide.checksum import file_sha256
from coincide.errors import OutputError
from coincide.io.atomic import check_writable
from coincide.measures.uncertainty import deviation_map
from coincide.ops._parallel import get_threads
from coincide.registration import Registration
from coincide.transforms.base import Transform

RECORD, REPORT = "registration.json", "report.html"
NAMES = ("transform.h5", "inverse.h5", "warped.nii.gz", "labels.nii.gz", "uncertainty.nii.gz", REPORT, RECORD)


def check_folder(folder: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> None:
    """Make sure, before any work, that results could be written to `folder`. Nothing is left behind.

    Raises:
        OutputError: it is a file, may not be written to, or a result would overwrite one of the `inputs`.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; expected a folder for the results. Name another --out.")
    check_writable(folder)
    ours = {(folder / name).resolve() for name in NAMES}
    for path in inputs:
        if Path(path).resolve() in ours:
            raise OutputError(f"{path}: the results would overwrite this input. Name another --out.")


def check_free(folder: str | os.PathLike) -> None:
    """Make sure that the results of a registration would take the place of nothing but those of an earlier one.

    Raises:
        OutputError: there is a file by one of their names that no run wrote.
    """
    folder = Path(folder)
    earlier = _earlier(folder)
    for name in NAMES:
        if name not in earlier and (folder / name).exists():
            raise OutputError(
                f"{folder / name}: no run of coincide wrote this file, and the results would take its place. Name "
                "another --out, or move it away."
            )


def _earlier(folder: Path) -> set[str]:
    """The names in `folder` that a run of ours may overwrite: what the record of the last one lists.

    A run that was killed before it wrote its record leaves the transforms alone.
    """
    try:
        files = json.loads((folder / RECORD).read_text("utf-8"))["files"]
        return {*NAMES[:2], RECORD, REPORT, *files}
    except (OSError, ValueError, KeyError, TypeError):
        return set() if (folder / RECORD).exists() else set(NAMES[:2])


def write_results(
    registration: Registration, folder: str | os.PathLike, argv: Sequence[str] = (), report: bool = True
) -> list[str]:
    """Write a registration to `folder`, which is made where it is missing.

    Each file appears whole or not at all. Transform and inverse come first, as the work lies in them, and
    take away what an earlier run left; then the rest with `registration.json`, which names the checksums of
    the others: where it is, the set is complete. The report comes last.

    Args:
        registration: what to write.
        folder: where to.
        argv: the command line, for the record.
        report: whether to write `report.html` too.

    Returns:
        The names of the files, in the order they were written.

    Raises:
        OutputError: a file cannot be written. Those before it stay.
    """
    results = Results(folder)
    results.keep(registration.transform, registration.inverse)
    return results.write(registration, argv, report)


class Results:
    """The folder of one run, filled in two steps: the transforms as soon as they are found, then everything else.

    Args:
        folder: where to; it is made where it is missing.

    Raises:
        OutputError: the folder cannot be written to, or holds a file of another's by the name of a result.
    """

    def __init__(self, folder: str | os.PathLike):
        check_folder(folder)
        check_free(folder)
        self.folder = Path(folder)
        self._written: list[str] = []

    def keep(self, transform: Transform, inverse: Transform) -> None:
        """Put transform and inverse on the disk, and take away what an earlier run left.

        Raises:
            OutputError: they cannot be written; what was there stays.
        """
        from coincide.io import write_transform
        from coincide.io.atomic import whole_folder

        with whole_folder(self.folder) as scratch:
            with ThreadPoolExecutor(min(2, get_threads())) as pool:
                paths = [scratch / name for name in NAMES[:2]]
                deque(pool.map(write_transform, (transform, inverse), paths), maxlen=0)
            # The disk may have been full: only now that the new transform is on it does the old set go.
            for name in reversed(NAMES):
                (self.folder / name).unlink(missing_ok=True)
        self._written = list(NAMES[:2])

    def write(self, registration: Registration, argv: Sequence[str] = (), report: bool = True) -> list[str]:
        """Write the rest of a registration whose transforms were kept; arguments and errors as `write_results`."""
        from coincide.report.page import render, write_page

        with ThreadPoolExecutor(1) as pool:
            # drawn while the images are packed, written when they are safe
            page = pool.submit(render, registration) if report else None
            with self._keeping():
                self._written += _write_images(registration, self.folder, self._written, argv)
        if page is not None:
            with self._keeping():
                write_page(page.result(), self.folder / REPORT)
            self._written.append(REPORT)
        return list(self._written)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Say, when a later file fails, that the earlier ones are safe."""
        try:
            yield
        except OutputError as error:
            raise OutputError(f"{error} Safe in {self.folder}: {', '.join(self._written)}.") from error


def record(registration: Registration, files: Mapping[str, Any], argv: Sequence[str] = ()) -> dict[str, Any]:
    """What `registration.json` holds, as plain JSON values; docs/files.md describes every field.

    Args:
        registration: what to describe.
        files: the files beside it, each with what is to be said of it.
        argv: the command line.
    """
    from coincide import __version__

    verdict = registration.verdict
    return as_plain(
        {
            "coincide": __version__,
            "versions": versions(),
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "argv": list(argv),
            "verdict": dataclasses.asdict(verdict),
            "measures": registration.measures,
            "decisions": registration.decisions,
            **registration.provenance,
            "files": files,
            "trace": [dataclasses.asdict(step) for step in registration.trace],
        }
    )


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("numba", "numpy", "scipy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def as_plain(value: Any) -> Any:
    """`value` as JSON can hold it: NumPy's numbers as Python's, what is not finite as None, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return as_plain(value.tolist())
    if isinstance(value, np.generic):
        return as_plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _write_images(
    result: Registration, folder: Path, written: Sequence[str], argv: Sequence[str]
) -> list[str]:
    """Write the images and the record; what is `written` already is named there too."""
    from coincide.io import write_image
    from coincide.io.atomic import whole_folder

    with ThreadPoolExecutor(1) as pool, whole_folder(folder) as scratch:
        # large files, whose checksums are worked out while the images are packed
        about = pool.map(_about, [folder / name for name in written])
        images: dict[str, Any] = {}
        write_image(result.warped, scratch / "warped.nii.gz")
        images["warped.nii.gz"] = _about(scratch / "warped.nii.gz")
        if result.labels is not None:
            write_image(result.labels, scratch / "labels.nii.gz")
            how = {"interpolation": "label", "scores_use": "nearest"}
            images["labels.nii.gz"] = _about(scratch / "labels.nii.gz") | how
        if result.uncertainty is not None:
            stated = deviation_map(result.uncertainty, result.pair.fixed.grid)
            write_image(stated, scratch / "uncertainty.nii.gz")
            how = {
                "unit": "mm",
                "holds": "one standard deviation of where each voxel goes, over all directions",
            }
            images["uncertainty.nii.gz"] = _about(scratch / "uncertainty.nii.gz") | how
        files = {**dict(zip(written, about)), **images}
        text = json.dumps(record(result, files, argv), indent=2, allow_nan=False)
        (scratch / RECORD).write_text(text + "\n", encoding="utf-8")
    return [*images, RECORD]


def _about(path: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}
