"""The joints of docs/series.md: made-up films of hands and knees, and one that bends, laid on its first frame.

python -m benchmarks.joints_picture docs/joints.jpg
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Canvas
from PIL import ImageDraw

from coincide.data.synthesis.film import Rays
from coincide.data.synthesis.series import Films, SyntheticSeries
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.series import Series, aligned, follow, parse_series

SIDE, SPACING = 176, 1.5
SHEET = Films(
    shape=SIDE,
    spacing=(SPACING, 1.8),
    frames=6,
    noise=0.02,
    missing=0.0,
    repeated=0.0,
    rays=Rays(solid=1.0, bent=0.8, implants=0.7, scatter=1.5, collimated=0.6),
)
FILMS = (("hand", 1), ("hand", 3), ("knee", 1))
FOLLOWED = replace(SHEET, flicker=0.0, bend=0.0, rays=Rays(solid=1.0, bent=1.0))
SEED, BETWEEN, SHOWN = 2, 3, 5
WAYS = {"sequence": "sequence:model=similarity", "model=deformable": "sequence:model=deformable"}


def main(path: Path) -> None:
    """Draw it."""
    rows = [
        np.concatenate([_grey(frame[0]) for frame in _film(SHEET, name, seed)], 1) for name, seed in FILMS
    ]
    Canvas.fromarray(np.concatenate([*rows, _followed()])).save(path, quality=88)


def _film(films: Films, name: str, seed: int) -> torch.Tensor:
    """`(frame, 1, *shape)`."""
    return SyntheticSeries(replace(films, anatomies=(name,)))[seed]["frames"]


def _followed() -> np.ndarray:
    """Three frames, then the first and the last in one picture: as they are, and laid by each way."""
    frames = _film(FOLLOWED, "hand", SEED)
    grid = Grid.from_spacing((SIDE,) * 2, SPACING, (0.0, 0.0))
    series = Series(tuple(Image(frame, grid) for frame in frames), name="made-up hand")
    shown = [frames[n, 0].numpy() for n in (0, BETWEEN, SHOWN)]
    first, later = shown[0], shown[-1]
    tiles = [_told(_grey(each), f"frame {n}") for each, n in zip(shown, (0, BETWEEN, SHOWN))]
    tiles.append(_told(_both(first, later), f"0 and {SHOWN}, as they are"))
    for name, spec in WAYS.items():
        _, solution = follow(series, parse_series(spec))
        laid = aligned(series, solution)[SHOWN].numpy()[0]
        tiles.append(_told(_both(first, laid), name))
    return np.concatenate(tiles, 1)


def _grey(values: torch.Tensor | np.ndarray) -> np.ndarray:
    grey = (np.clip(np.asarray(values), 0, 1) * 255).astype(np.uint8).T
    return np.repeat(grey[..., None], 3, -1)


def _both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One in red, the other in green and blue: grey where they agree."""
    return np.stack([_grey(one)[..., 0], *[_grey(other)[..., 0]] * 2], -1)


def _told(tile: np.ndarray, words: str) -> np.ndarray:
    canvas = Canvas.fromarray(np.ascontiguousarray(tile))
    ImageDraw.Draw(canvas).text((5, 4), words, fill=(30, 90, 255))
    return np.asarray(canvas)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
