"""Who rated what: the order each rater sees, and the scores on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coincide.errors import InputError, MissingFileError, OptionError, OutputError, UnreadableFileError
from coincide.io.atomic import whole_file
from coincide.io.lock import locked

SCALE = {1: "not usable", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}
"""What can be said of an image."""


@dataclass(eq=False)
class Session:
    """Images and what was said of them so far; every score is on the disk when `rate` returns.

    Several sessions, in one process or in several, may keep their scores in one file.

    Args:
        images: the files, each once.
        path: where the scores are, a JSON file; scores that it holds already go on to count.
        seed: of the orders; that of the file, or 0, where left out.

    Raises:
        InputError: an image is missing or there twice; the file is no record of scores, or of other images.
        OptionError: the file's orders were drawn by another seed.
        OutputError: the file cannot be written.
    """

    images: tuple[Path, ...]
    path: Path
    seed: int | None = None
    scores: dict[str, dict[str, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        names = [str(image) for image in self.images]
        if len(set(names)) < len(names) or not names:
            raise InputError(
                f"expected images to rate, each once; found {len(names)}, {len(set(names))} different."
            )
        for image in self.images:
            if not image.is_file():
                raise MissingFileError(f"{image}: there is no such image.")
        with self._alone():
            before = self._refresh()
            if self.seed is not None and before is not None and self.seed != before:
                raise OptionError(
                    f"{self.path}: its orders were drawn with the seed {before}, found --seed {self.seed}. Leave the "
                    "seed out, or name another --scores."
                )
            self.seed = before if before is not None else self.seed or 0
            strange = {name for given in self.scores.values() for name in given} - set(names)
            if strange:
                raise InputError(
                    f"{self.path}: holds scores of {min(strange)}, which is not among the images. Name another "
                    "--scores, or the same images as before."
                )
            if before is None:
                self._write()

    def order(self, rater: str) -> list[int]:
        """The places of the images in the order that `rater` sees.

        The same whenever the rater comes back, in whatever order the images are named; one that is added later comes
        somewhere between the others.
        """
        tokens = [self._token(rater, place) for place in range(len(self.images))]
        return np.argsort(tokens).tolist()

    def tokens(self, rater: str) -> list[str]:
        """What each image is called for this rater, in the order of `order`; tells nothing of its name."""
        return [self._token(rater, place) for place in self.order(rater)]

    def place(self, rater: str, token: str) -> int:
        """The place of the image that is called so for this rater.

        Raises:
            OptionError: none is.
        """
        for place in range(len(self.images)):
            if self._token(rater, place) == token:
                return place
        raise OptionError("this image is not among those to rate (any more). Reload the page.")

    def seen(self, rater: str) -> list[int | None]:
        """The rater's scores in the order of `order`."""
        self._refresh()
        given = self.scores.get(rater, {})
        return [given.get(str(self.images[place])) for place in self.order(rater)]

    def rate(self, rater: str, token: str, score: int) -> None:
        """Keep a score.

        Args:
            rater: who.
            token: which image, one of `tokens`.
            score: one of `SCALE`.

        Raises:
            OptionError: no such image or score, or no name.
            OutputError: the file cannot be written.
        """
        if not rater.strip() or score not in SCALE:
            raise OptionError(
                f"a score needs a name and a value from {min(SCALE)} to {max(SCALE)}; found {rater!r} and {score}."
            )
        name = str(self.images[self.place(rater, token)])
        with self._alone():
            self._refresh()
            self.scores.setdefault(rater, {})[name] = score
            self._write()

    def _token(self, rater: str, place: int) -> str:
        # the name stands for the image, so that its token outlives other arguments and more images
        words = json.dumps([self.seed, rater, str(self.images[place])])
        return hashlib.sha256(words.encode()).hexdigest()[:20]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self.path.resolve().parent.is_dir():
            raise OutputError(f"{self.path}: there is no folder {self.path.parent}. Make it first.")
        with locked(self.path.resolve()):
            yield

    def _refresh(self) -> int | None:
        """Take the scores on the disk, which another session may have added to; the seed there, None without a file."""
        if not self.path.exists():
            return None
        self.scores, record = _read(self.path)
        seed = record.get("seed", 0)
        if not isinstance(seed, int):
            raise UnreadableFileError(f"{self.path}: holds the seed {seed!r}, expected a whole number.")
        return seed

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
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, dict[str, int]], dict[str, Any]]:
    """Scores as `read_scores` returns them, and all that the file holds; errors as there."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(r): {str(i): int(s) for i, s in of.items()} for r, of in record["scores"].items()}
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
    return scores, record


def opinions(scores: dict[str, dict[str, int]], images: Sequence[str]) -> list[dict[str, object]]:
    """For each image how many rated it, and their mean score (None without any)."""
    rows: list[dict[str, object]] = []
    for image in images:
        given = [of[image] for of in scores.values() if image in of]
        rows.append(
            {"image": image, "raters": len(given), "mean_score": float(np.mean(given)) if given else None}
        )
    return rows
