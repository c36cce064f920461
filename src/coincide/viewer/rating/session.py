"""Who rated what: the order each rater sees, and the scores on the disk."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coincide.errors import InputError, MissingFileError, OptionError, UnreadableFileError
from coincide.io.atomic import whole_file

SCALE = {1: "not usable", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}
"""What can be said of an image."""


@dataclass(eq=False)
class Session:
    """Images and what was said of them so far; every score is on the disk when `rate` returns.

    Args:
        images: the files, each once.
        path: where the scores are, a JSON file; scores that it holds already go on to count.
        seed: of the orders.

    Raises:
        InputError: an image is missing or there twice; the file is no record of scores, or of other images.
    """

    images: tuple[Path, ...]
    path: Path
    seed: int = 0
    scores: dict[str, dict[str, int]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        names = [str(image) for image in self.images]
        if len(set(names)) < len(names) or not names:
            raise InputError(
                f"expected images to rate, each once; found {len(names)}, {len(set(names))} different."
            )
        for image in self.images:
            if not image.is_file():
                raise MissingFileError(f"{image}: there is no such image.")
        if self.path.exists():
            self.scores = read_scores(self.path)
            strange = {name for given in self.scores.values() for name in given} - set(names)
            if strange:
                raise InputError(
                    f"{self.path}: holds scores of {min(strange)}, which is not among the images. Name another "
                    "--scores, or the same images as before."
                )
        else:
            self._write()

    def order(self, rater: str) -> list[int]:
        """The places of the images in the order that `rater` sees; the same whenever the rater comes back."""
        digest = hashlib.sha256(f"{self.seed} {rater}".encode()).digest()
        return np.random.default_rng(list(digest)).permutation(len(self.images)).tolist()

    def seen(self, rater: str) -> list[int | None]:
        """The rater's scores in the order of `order`."""
        given = self.scores.get(rater, {})
        return [given.get(str(self.images[place])) for place in self.order(rater)]

    def rate(self, rater: str, step: int, score: int) -> None:
        """Keep a score.

        Args:
            rater: who.
            step: of the rater's order, from 0.
            score: one of `SCALE`.

        Raises:
            OptionError: no such step or score, or no name.
        """
        if not rater.strip() or not 0 <= step < len(self.images) or score not in SCALE:
            raise OptionError(
                f"a score needs a name, an image from 0 to {len(self.images) - 1} and a value from {min(SCALE)} to "
                f"{max(SCALE)}; found {rater!r}, {step} and {score}."
            )
        with self._lock:
            self.scores.setdefault(rater, {})[str(self.images[self.order(rater)[step]])] = score
            self._write()

    def _write(self) -> None:
        record = {
            "scale": SCALE,
            "seed": self.seed,
            "images": [str(i) for i in self.images],
            "scores": self.scores,
        }
        with whole_file(self.path) as scratch:
            scratch.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_scores(path: Path) -> dict[str, dict[str, int]]:
    """Scores by rater, then by image.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it holds no scores.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))["scores"]
        scores = {str(r): {str(i): int(s) for i, s in of.items()} for r, of in given.items()}
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there are no scores.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFileError(
            f"{path}: holds no scores of coincide rate ({error}). Name another file."
        ) from error
    wrong = {s for of in scores.values() for s in of.values()} - set(SCALE)
    if wrong:
        raise UnreadableFileError(
            f"{path}: holds the score {min(wrong)}, expected {min(SCALE)} to {max(SCALE)}."
        )
    return scores


def opinions(scores: dict[str, dict[str, int]], images: Sequence[str]) -> list[dict[str, object]]:
    """For each image how many rated it, and their mean score (None without any)."""
    rows: list[dict[str, object]] = []
    for image in images:
        given = [of[image] for of in scores.values() if image in of]
        rows.append(
            {"image": image, "raters": len(given), "mean_score": float(np.mean(given)) if given else None}
        )
    return rows
