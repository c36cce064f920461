"""Where the transforms of a labelling wait to be used again, and what was carried over waits for the vote."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coincide import __version__
from coincide.errors import CoincideError, OutputError
from coincide.image import Image
from coincide.io import read_transform, whole_folder, write_transform
from coincide.measures.verdict import Verdict
from coincide.methods import AbstractMethod
from coincide.registration import describe_settings
from coincide.transforms.base import Transform

_TRANSFORM, _RECORD = "transform.h5", "atlas.json"


@dataclass(frozen=True, eq=False)
class Shelved:
    """What is kept of a registration: its transform (target mm → atlas mm), the verdict on it, and its seconds."""

    transform: Transform
    verdict: Verdict
    seconds: float


class Shelf:
    """A folder of transforms, one folder each, named after what went into it; and a scratch folder for arrays.

    Args:
        folder: where transforms are kept; None keeps none.
        target: the image that atlases are registered to.
        method: that registers them.
        seed: of the randomness.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path | None, target: Image, method: AbstractMethod, seed: int) -> None:
        self._folder = None if folder is None else Path(folder)
        settings = json.dumps(describe_settings(method), sort_keys=True, default=str)
        self._common = f"{__version__}\n{_fingerprint(target)}\n{settings}\n{seed}"
        self.carried: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        """Grey values, labels and field of view of each atlas on the target's grid, on the disk."""

    def __enter__(self) -> Shelf:
        folders = [] if self._folder is None else [self._folder, *self._folder.parents]
        self._made = [folder for folder in folders if not folder.exists()]
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            # beside the transforms, as the system's own place for scratch files may be small, or in memory
            self._scratch = tempfile.TemporaryDirectory(dir=self._folder, prefix=".carried-")
        except OSError as error:
            raise OutputError(
                f"{self._folder}: cannot be written to ({error.strerror}). Name another folder."
            ) from error
        return self

    def __exit__(self, *problem: object) -> None:
        self.carried.clear()
        self._scratch.cleanup()
        for folder in self._made:  # nothing was kept: nothing is left
            with suppress(OSError):
                folder.rmdir()

    def find(self, image: Image) -> Shelved | None:
        """What an earlier run kept of this very atlas, target, method and seed; None where it kept nothing whole."""
        place = self._place(image)
        if place is None or not (place / _RECORD).is_file():
            return None
        try:
            told: dict[str, Any] = json.loads((place / _RECORD).read_text(encoding="utf-8"))
            verdict = Verdict(**{**told["verdict"], "reasons": tuple(told["verdict"]["reasons"])})
            return Shelved(read_transform(place / _TRANSFORM), verdict, float(told["seconds"]))
        except (ValueError, KeyError, TypeError, CoincideError):
            return None  # of another make, or spoiled: it is registered again

    def keep(self, image: Image, found: Shelved) -> None:
        """Keep a registration; it appears whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        place = self._place(image)
        if place is None:
            return
        with whole_folder(place) as scratch:
            write_transform(found.transform, scratch / _TRANSFORM)
            verdict = dataclasses.asdict(found.verdict)
            told = {"atlas": image.name, "verdict": verdict, "seconds": found.seconds}
            (scratch / _RECORD).write_text(json.dumps(told, indent=2, default=float) + "\n", encoding="utf-8")

    def carry(self, grey: np.ndarray, labels: np.ndarray, known: np.ndarray) -> None:
        """Put what was carried over on the disk.

        Raises:
            OutputError: there is no room for it.
        """
        number, layers = len(self.carried), []
        for name, values in (("grey", grey), ("labels", labels), ("known", known)):
            path = Path(self._scratch.name) / f"{number}-{name}.npy"
            try:
                np.save(path, values)
            except OSError as error:
                raise OutputError(
                    f"{path}: cannot be written ({error.strerror}). An atlas on the target's grid takes "
                    f"{grey.nbytes + labels.nbytes + known.nbytes:,} bytes; free some room, or name another folder."
                ) from error
            layers.append(np.load(path, mmap_mode="r"))
        self.carried.append((layers[0], layers[1], layers[2]))

    def _place(self, image: Image) -> Path | None:
        if self._folder is None:
            return None
        # the labels play no part in the registration: another map of the same atlas needs no other transform
        key = hashlib.sha256(f"{self._common}\n{_fingerprint(image)}".encode()).hexdigest()[:12]
        return self._folder / f"{_plain(image.name)}-{key}"


def _plain(name: str) -> str:
    """A name that is a folder's name on any system."""
    stem = Path(name.replace("\\", "/")).name.split(".")[0]
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in stem)[:40] or "atlas"


def _fingerprint(image: Image) -> str:
    """What tells one image from another: its values, its grid and its mask."""
    told = hashlib.sha256(np.ascontiguousarray(image.numpy()).data)
    told.update(str(image.grid.shape).encode())
    told.update(np.ascontiguousarray(image.grid.affine).data)
    if image.mask is not None:
        told.update(np.ascontiguousarray(image.mask.numpy()).data)
    return told.hexdigest()
