"""A picture of every classical method at work on what it is for: docs/methods.jpg.

    python -m benchmarks.choose --picture docs/methods.jpg

Each tile shows a known problem before and after: the fixed image in blue, the moving one in orange, grey where they
agree; below it the error, mean over the picture, in fixed pixels. The images are those of `benchmarks.features`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.features import brain, known_pair, real
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import parse
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms import Affine, Displacement, identity, similarity
from coincide.transforms.base import Transform
from coincide.transforms.resample import resample

TILE, GAP, WORDS = 190, 10, 40
"""Pixels: of a picture's side, between tiles, for the words below one."""
BLUE, ORANGE = np.array([0.25, 0.6, 1.0]), np.array([1.0, 0.55, 0.15])
COLUMNS = 3


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(SHOWN))
    args = parser.parse_args()
    draw(args.picture, args.methods)


def turned(name: str, degrees: float, scale: float = 1.0) -> tuple[Pair, Transform]:
    """A picture and itself turned, brighter and noisy."""
    return known_pair(name, "similarity", degrees, scale, True)


def warped(name: str = "mri") -> tuple[Pair, Transform]:
    """A picture and itself, bent by up to a twentieth of its size, with noise."""
    values = real(name)[::2, ::2]
    grid = Grid.from_spacing(values.shape, 1.0)
    x = grid.points()
    waves = np.stack([np.sin(x[..., 1] / 13 + 0.4), np.cos(x[..., 0] / 15 + 1.0)]) * 4.0
    truth = Displacement(torch.from_numpy(waves), grid)
    index = torch.from_numpy(np.moveaxis(grid.index(truth.inverse()(x)), -1, 0).copy())
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None]
    rng = np.random.default_rng(1)
    seen = sample(tensor, index, "cubic", "edge").numpy() + 0.01 * rng.standard_normal((1, *grid.shape))
    return Pair(Image(tensor, grid), Image(torch.from_numpy(seen.astype(np.float32)), grid)), truth


def marked() -> tuple[Pair, Transform]:
    """The bent picture with twenty-five landmarks."""
    pair, truth = warped()
    places = np.random.default_rng(2).uniform(15, 110, (25, 2))
    return (
        Pair(pair.fixed, pair.moving, fixed_points=Points(places), moving_points=Points(truth(places))),
        truth,
    )


def outlined(pair: Pair, truth: Transform) -> tuple[Pair, Transform]:
    """The same pair with masks of the head, one moved like its image."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(pair.fixed.numpy()[0], 2)
    parts, _ = ndimage.label(values > 0.1 * values.max())
    mask = ndimage.binary_fill_holes(parts == np.bincount(parts[parts > 0]).argmax())
    grid = pair.moving.grid
    index = np.moveaxis(pair.fixed.grid.index(truth.inverse()(grid.points())), -1, 0)
    there = ndimage.map_coordinates(np.asarray(mask, np.float32), index, order=1) > 0.5
    masked = (
        image.with_mask(torch.from_numpy(inside))
        for image, inside in zip((pair.fixed, pair.moving), (mask, there))
    )
    return Pair(*masked), truth


def shifted() -> tuple[Pair, Transform]:
    """A picture and itself turned by 120° and smaller."""
    return turned("mri", 120, 0.8)


def volume(every: int = 3, degrees: tuple[float, float, float] = (40, -25, 60)) -> tuple[Pair, Transform]:
    """The template of a brain, every so many of its voxels, and itself turned about a slanted axis."""
    values = torch.from_numpy(np.ascontiguousarray(brain()[None, ::every, ::every, ::every]))
    grid = Grid.from_spacing(values.shape[1:], float(every))
    truth = similarity(degrees, (6, -4, 5), 1.0, grid.centre)
    index = np.moveaxis(grid.index(truth.inverse()(grid.points())), -1, 0)
    seen = sample(values, torch.from_numpy(index.copy()), "linear", "zero")
    return Pair(Image(values, grid), Image(seen, grid)), truth


SHOWN: dict[str, Callable[[], tuple[Pair, Transform]]] = {
    "sift": lambda: turned("retina", 35, 0.7),
    "akaze": lambda: turned("camera", -120, 0.8),
    "orb": lambda: turned("camera", 60),
    "harris": lambda: turned("camera", 100, 0.9),
    "surf": lambda: turned("mri", 20, 1.2),
    "keypoints3d:model=rigid": volume,
    "regions": lambda: turned("coins", 35, 0.7),
    "boundary:transform=similarity": lambda: outlined(*turned("mri", 110, 0.8)),
    "icp:model=rigid": lambda: outlined(*turned("mri", 150)),
    "cpd:transform=rigid": lambda: outlined(*turned("mri", -60)),
    "landmarks": marked,
    "phase": shifted,
    "least_squares": lambda: turned("mri", 15),
    "blocks": lambda: turned("mri", -20, 1.1),
    "linear": lambda: turned("mri", 75),
    "demons": warped,
    "bspline": warped,
    "map": warped,
    "deformable": warped,
    "auto": warped,
}
"""What each method is shown on."""


def draw(path: Path, methods: list[str]) -> None:
    """Write the tiles of `methods`, side by side and in rows."""
    from PIL import Image as Canvas

    tiles = [tile(spec, *SHOWN[spec]()) for spec in methods]
    tiles += [np.full_like(tiles[0], 18)] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[n : n + COLUMNS], axis=1) for n in range(0, len(tiles), COLUMNS)]
    Canvas.fromarray(np.concatenate(rows)).save(path, quality=85)


def tile(spec: str, pair: Pair, truth: Transform) -> np.ndarray:
    """One method before and after, with what it is called and reached, `(rows, columns, 3)` bytes."""
    from PIL import Image as Canvas
    from PIL import ImageDraw, ImageOps

    begun = time.process_time()
    found = parse(spec).solve(pair).transform
    spent = time.process_time() - begun
    before, after = (error(t, truth, pair) for t in (identity(pair.dim), found))
    print(f"{spec}: {before:.1f} to {after:.2f} px, {spent:.1f} s", flush=True)
    canvas = Canvas.new("RGB", (2 * TILE + 3 * GAP, TILE + WORDS + GAP), (18, 20, 24))
    for left, transform in ((GAP, identity(pair.dim)), (TILE + 2 * GAP, found)):
        shown = Canvas.fromarray(overlaid(pair, transform))
        shown = ImageOps.contain(shown, (TILE, TILE), Canvas.Resampling.LANCZOS)
        canvas.paste(shown, (left + (TILE - shown.width) // 2, GAP + (TILE - shown.height) // 2))
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, TILE + GAP + 6), spec, (235, 238, 242), font_size=15)
    told = f"{before:.1f} to {after:.2f} px"
    pen.text((2 * TILE + 2 * GAP, TILE + GAP + 6), told, (160, 168, 178), font_size=14, anchor="ra")
    return np.asarray(canvas)


def error(found: Transform, truth: Transform, pair: Pair) -> float:
    """Mean distance, fixed pixels, over what is bright in the fixed image and seen in the moving one."""
    grid = pair.fixed.grid
    points = grid.points()[pair.fixed.data[0].numpy() > 0.1 * float(pair.fixed.data.max())][::5]
    points = points[pair.moving.grid.inside(truth(points))]
    inverse = truth.inverse() if isinstance(truth, Affine) else identity(grid.dim)
    apart = inverse(found(points)) - inverse(truth(points))
    return float(np.linalg.norm(apart, axis=1).mean() / grid.spacing.mean())


def overlaid(pair: Pair, transform: Transform) -> np.ndarray:
    """Both images in two colours that are grey together, rows down, `(rows, columns, 3)` bytes."""
    images = [pair.fixed.numpy()[0], resample(pair.moving, transform, pair.fixed.grid).numpy()[0]]
    if pair.dim == 3:
        images = [x[:, :, x.shape[2] // 2] for x in images]
    colours = np.zeros((*images[0].shape, 3))
    for values, colour in zip(images, (BLUE, ORANGE)):
        high = max(float(np.percentile(values, 99.5)), 1e-6)
        colours += np.clip(values / high, 0, 1)[..., None] * colour
    return (np.clip(colours / (BLUE + ORANGE), 0, 1).swapaxes(0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
