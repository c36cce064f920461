"""Where the time of a registration goes: every hot operation, and every stage of a run.

    python -m benchmarks.speed                       # operations at four sizes
    python -m benchmarks.speed --fixed A --moving B  # the stages of a run on two files as well

Each operation's time stands beside the memory it must move at least (`BYTES`, the byte model: every array it needs read
once, every array it makes written once, float32), and the ratio to what copying as many bytes takes on the same machine
in the same run: 1 would be bound by memory alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

import coincide
from coincide.methods import Context, parse
from coincide.ops._parallel import get_threads, set_threads
from coincide.ops.field import compose, invert, nudge, warp
from coincide.ops.force import force, longest
from coincide.ops.jacobian import determinants
from coincide.ops.smooth import gaussian
from coincide.similarity import LNCC, MIND, NMI

SIZES = ((64, 64, 64), (128, 128, 128), (192, 224, 192), (256, 256, 256))
BYTES = {
    "warp": 4 + 12 + 4,
    "lncc": (6 + 3) * 4 + (3 + 3) * 4 + 2 * 4,
    "nmi": 1 + 4 + 4 + (1 + 4 + 4 + 8),
    "force": 8 + 12,
    "gaussian of the force": 12 + 12,
    "gaussian of the field": 12 + 12,
    "longest": 12,
    "nudge": 12 + 12 + 12,
    "compose": 12 + 12 + 12,
    "determinants": 12 + 12,
    "invert": 12 + 12,
    "mind features": 4 + 48,
}
"""Bytes a voxel that an operation moves at least. LNCC goes over the images twice: window sums and their coefficients
first, then the gradient from the coefficients' windows."""
STEP = ("warp", "lncc", "force", "gaussian of the force", "longest", "nudge", "gaussian of the field")
"""The operations of one step of the default deformable loop."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--fixed", help="image of a run whose stages are to be timed")
    parser.add_argument("--moving", help="the other one")
    parser.add_argument("--method", default="auto", help="SPEC of that run")
    parser.add_argument("--repeats", type=int, default=5, help="the median of so many is taken")
    args = parser.parse_args(argv)
    for shape in SIZES:
        print(operations_table(shape, args.repeats), flush=True)
    if args.fixed and args.moving:
        print(stages_table(args.fixed, args.moving, args.method, args.repeats), flush=True)


def operations(shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Every operation of `BYTES` on made-up smooth images and fields of `shape`, to be called."""
    seed = torch.Generator().manual_seed(0)
    noise = torch.randn((4, *shape), generator=seed)
    fixed = gaussian(noise[:1], 2.0) * 20
    moving = gaussian(fixed + 0.02 * noise[1:2], 1.0)
    field = gaussian(noise[1:].contiguous(), 4.0) * 20
    local, information = LNCC().prepare(fixed), NMI().prepare(fixed)
    warped = warp(moving, field)
    gradient = local.value_and_gradient(warped).gradient
    downhill = force(warped, gradient)
    update = downhill * (0.9 / longest(downhill))
    spare, values = torch.empty_like(field), torch.empty_like(warped)
    return {
        "warp": lambda: warp(moving, field, out=values),
        "lncc": lambda: local.value_and_gradient(warped),
        "nmi": lambda: information.value_and_gradient(warped),
        "force": lambda: force(warped, gradient, out=spare),
        "gaussian of the force": lambda: gaussian(downhill, 2.0, out=spare),
        "gaussian of the field": lambda: gaussian(field, 0.5, out=spare),
        "longest": lambda: longest(field),
        "nudge": lambda: nudge(field, update, out=spare),
        "compose": lambda: compose(field, update, out=spare),
        "determinants": lambda: determinants(field),
        "invert": lambda: invert(field),
        "mind features": lambda: MIND().features(fixed),
    }


def operations_table(shape: tuple[int, int, int], repeats: int) -> str:
    """The operations at one size, as Markdown, for one thread and for all."""
    voxels, most = int(np.prod(shape)), get_threads()
    made = operations(shape)
    a, b = torch.zeros(3, *shape), torch.zeros(3, *shape)
    copied = median(lambda: b.copy_(a), repeats) / (2 * a.nbytes)
    lines = [
        f"\n### {' × '.join(map(str, shape))} ({voxels / 1e6:.1f} M voxels), copying moves {1e-9 / copied:.0f} GB/s\n",
        f"| operation | ms, 1 thread | ms, {most} threads | speed-up | ns/voxel | bytes/voxel | of copying them |",
        "|---|---|---|---|---|---|---|",
    ]
    whole = 0.0
    for name, work in made.items():
        set_threads(1)
        alone = median(work, repeats)
        set_threads(None)
        together = median(work, repeats)
        whole += together if name in STEP else 0
        lines.append(
            f"| {name} | {1e3 * alone:.1f} | {1e3 * together:.1f} | {alone / together:.2f} | "
            f"{1e9 * together / voxels:.2f} | {BYTES[name]} | {together / (copied * voxels * BYTES[name]):.1f} |"
        )
    moved = sum(BYTES[name] for name in STEP)
    lines.append(
        f"| **one LNCC step** | | {1e3 * whole:.1f} | | {1e9 * whole / voxels:.2f} | {moved} | "
        f"{whole / (copied * voxels * moved):.1f} |"
    )
    return "\n".join(lines)


def stages_table(fixed: str, moving: str, method: str, repeats: int) -> str:
    """Seconds of every stage of a run on two files in this process, warm, as Markdown."""
    found: list[dict[str, float]] = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        pair = coincide.Pair(coincide.read_image(fixed), coincide.read_image(moving))
        read = time.perf_counter()
        solution = parse(method).solve(pair, Context())
        ended = time.perf_counter()
        found.append({"read": read - begun, **solution.seconds, "all": ended - begun})
    warm = found[1:]
    lines = ["\n| stage | s |", "|---|---|"]
    lines += [f"| {name} | {np.median([run[name] for run in warm]):.2f} |" for name in warm[0]]
    return "\n".join(lines)


def median(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of `repeats` calls, after one that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


if __name__ == "__main__":
    main()
