"""Made-up heads with tumours, and what becomes of one at a follow-up: python -m benchmarks.tumour_picture DIR."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Canvas
from PIL import ImageDraw

from coincide.data.synthesis import Artefacts, Bend, Contrast, Motion, Synthesis, Tumour, contact_sheet, draw
from coincide.data.synthesis.structures import TUMOUR_LABELS
from coincide.image import Image
from coincide.methods import parse
from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.resample import resample

SHEET = Synthesis(
    shape=(104, 104, 104),
    spacing=(2.0,) * 3,
    anatomies=("tumour",),
    tumour=Tumour(radius=(10, 20)),
    contrast=Contrast(known=1.0, detail=0.03, spread=0.03),
    artefacts=Artefacts(rate=0.0, noise=0.02),
    motion=Motion(8, 4, 0.05, 0.02),
    strip=0.6,
)
FOLLOWED = Synthesis(
    shape=(96, 112, 96),
    spacing=(1.8,) * 3,
    anatomies=("tumour",),
    tumour=Tumour((17, 17), (1.4, 1.4), (0.3, 0.3), (15, 15), (0.45, 0.45)),
    contrast=Contrast(known=1.0, detail=0.04, spread=0.02),
    artefacts=Artefacts(rate=0.0, noise=0.02, blur=0.4),
    motion=Motion(8, 4, 0.03, 0.01),
    bend=Bend(3.0),
    strip=1.0,
    alike=1.0,
)
_GREEN, _RED = (80, 255, 120), (255, 90, 70)


def main(folder: Path, sheets: tuple[int, ...] = (0, 2, 3, 6), seed: int = 8) -> None:
    """Write both pictures to `folder`, and print how far each way of following the tumour is off."""
    Canvas.fromarray(contact_sheet(SHEET, sheets)).save(folder / "tumours.jpg", quality=88)
    followed(seed).save(folder / "tumour.jpg", quality=90)


def followed(seed: int) -> Canvas.Image:
    """Both visits, and the later one as each way carries it: its lesion belongs in green, and comes to lie in red."""
    pair, truth = (found := draw(FOLLOWED, seed)).pair, found.truth
    assert pair.fixed_labels is not None, "draw makes them"
    assert pair.moving_labels is not None, "draw makes them"
    early, late = (_core(each) for each in (pair.fixed_labels, pair.moving_labels))
    bare = Pair(pair.fixed, pair.moving)
    told = Pair(pair.fixed, pair.moving, fixed_lesion=early, moving_lesion=late)
    ways = {
        "not told of": parse("auto").solve(bare).transform,
        "lesion given": parse("auto").solve(told).transform,
        "lesion estimated": parse("auto:lesion=estimated").solve(bare).transform,
        "truth": truth,
    }
    grid, lesion = pair.fixed.grid, Image(late[None].to(torch.uint8), pair.moving.grid, "label")
    carried = {name: resample(lesion, way, grid, "nearest").data[0].numpy() > 0 for name, way in ways.items()}
    right = carried["truth"]
    at, there = (int(np.argwhere(each)[:, 2].mean()) for each in (right, late.numpy()))
    tiles = [
        _tile(pair.fixed, at, "first visit", (early.numpy(), _GREEN)),
        _tile(pair.moving, there, "later", (late.numpy(), _GREEN)),
    ]
    for name, way in ways.items():
        print(name, _numbers(way, truth, pair, carried[name], right))
        tiles.append(
            _tile(resample(pair.moving, way, grid), at, name, (right, _GREEN), (carried[name], _RED))
        )
    return Canvas.fromarray(np.concatenate([np.concatenate(tiles[:3], 1), np.concatenate(tiles[3:], 1)]))


def _core(labels: Image) -> torch.Tensor:
    return torch.isin(labels.data[0], torch.tensor(TUMOUR_LABELS[:2], dtype=labels.data.dtype))


def _numbers(way: Transform, truth: Transform, pair: Pair, ours: np.ndarray, right: np.ndarray) -> str:
    assert pair.fixed_points is not None, "draw makes them"
    places = pair.fixed_points.world
    off = np.linalg.norm(way(places) - truth(places), axis=1).mean()
    dice = 2 * (ours & right).sum() / (ours.sum() + right.sum())
    return f"{off:.2f} mm, Dice {dice:.3f}, volume {100 * (ours.sum() / right.sum() - 1):+.0f} %"


def _tile(
    image: Image, at: int, words: str, *outlines: tuple[np.ndarray, tuple[int, int, int]]
) -> np.ndarray:
    grey = np.clip(image.numpy()[0, :, :, at], 0, 1)
    picture = np.repeat((grey / max(grey.max(), 1e-6) * 255).astype(np.uint8)[..., None], 3, -1)
    picture = np.kron(np.swapaxes(picture, 0, 1)[::-1], np.ones((3, 3, 1), np.uint8))
    for where, colour in outlines:
        cut = np.kron(where[:, :, at].T[::-1], np.ones((3, 3))).astype(bool)
        inner = cut.copy()
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            inner &= np.roll(cut, step, axis)
        picture[cut & ~inner] = colour
    canvas = Canvas.fromarray(np.ascontiguousarray(picture))
    ImageDraw.Draw(canvas).text((6, 4), words, fill=(255, 255, 255))
    return np.asarray(canvas)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
