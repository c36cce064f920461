"""Where the time of a registration goes: every hot operation, and every stage of a run.

    python -m benchmarks.speed                       # operations at four sizes
    python -m benchmarks.speed --fixed A --moving B  # the stages of a run on two files as well
    python -m benchmarks.speed --plot scaling.png    # time per voxel against size

Each operation's time stands beside the memory it must move at least (`BYTES`, the byte model: every array it needs read
once, every array it makes written once, float32) and the arithmetic it does (`FLOPS`: additions, multiplications and
comparisons of numbers, not of positions). The roof is the longer of what copying as many bytes takes and what a product
of matrices needs for as much arithmetic, on the same machine in the same run: 1 would be all that the machine can do.
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
from coincide.optimise.deformable import Level, Rule, descend
from coincide.optimise.pull import pull_of
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
    "mind pull": 12 + 32 + 32 + (32 + 32 + 4 + 12),
}
"""Bytes a voxel that an operation moves at least. LNCC goes over the images twice: window sums and their coefficients
first, then the gradient from the coefficients' windows."""
FLOPS = {
    "warp": 9 + 6 + 7 * 3,
    "lncc": 5 * (2 + 3 + 3) + 3 * 2 * 9 + 30 + 3 * 3 * 9 + 8,
    "nmi": 60,
    "force": 9,
    "gaussian of the force": 3 * 3 * 25,
    "gaussian of the field": 3 * 3 * 9,
    "longest": 6,
    "nudge": 12 + 3 * 14,
    "compose": 9 + 6 + 3 * 23,
    "determinants": 3 * 3 + 8 * 14,
    "mind features": 6 * (2 + 3 * 4) + 12 * 12,
    "mind pull": 15 + 12 * 15 + 12 * 11 + 9,
}
"""Arithmetic a voxel, by hand from the kernels; how often an inverse iterates depends on the field."""
STEP = ("warp", "lncc", "force", "gaussian of the force", "longest", "nudge", "gaussian of the field")
"""The operations of one step of the default deformable loop."""
LOOP, STEPS = "an LNCC step in the loop", 10
"""The loop itself, its setting up included, over so many steps."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--fixed", help="image of a run whose stages are to be timed")
    parser.add_argument("--moving", help="the other one")
    parser.add_argument("--method", default="auto", help="SPEC of that run")
    parser.add_argument("--repeats", type=int, default=5, help="the median of so many is taken")
    parser.add_argument("--plot", help="picture of the time per voxel against size")
    args = parser.parse_args(argv)
    taken = {}
    for shape in SIZES:
        taken[shape], table = operations_table(shape, args.repeats)
        print(table, flush=True)
    if args.plot:
        plot(taken, args.plot)
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
    update = gaussian(downhill, 2.0)
    update *= 0.9 / longest(update)
    spare, values = torch.empty_like(field), torch.empty_like(warped)
    channels = pull_of(MIND().prepare(fixed), MIND().features(moving))
    level = Level(coincide.Grid(shape, np.eye(4)), fixed, moving)
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
        "mind pull": lambda: channels(field, None, spare),
        LOOP: lambda: descend(level, field, LNCC(), Rule(2.0, 0.5, tolerance=0.0), STEPS),
    }


def operations_table(shape: tuple[int, int, int], repeats: int) -> tuple[dict[str, float], str]:
    """The operations at one size, seconds each on all threads, and as Markdown, for one thread and for all."""
    voxels, most = int(np.prod(shape)), get_threads()
    made = operations(shape)
    loop = made.pop(LOOP)
    copied, multiplied = roofs(shape, repeats)
    lines = [
        f"\n### {' × '.join(map(str, shape))} ({voxels / 1e6:.1f} M voxels): copying moves {1e-9 / copied:.0f} GB/s, "
        f"a product of matrices does {1e-9 / multiplied:.0f} GFLOP/s\n",
        f"| operation | ms, 1 thread | ms, {most} threads | speed-up | ns/voxel | bytes/voxel | flops/voxel | "
        "of the roof |",
        "|---|---|---|---|---|---|---|---|",
    ]
    taken: dict[str, float] = {}
    for name, work in made.items():
        set_threads(1)
        alone = median(work, repeats)
        set_threads(None)
        taken[name] = together = median(work, repeats)
        roof = voxels * max(copied * BYTES[name], multiplied * FLOPS.get(name, 0))
        lines.append(
            f"| {name} | {1e3 * alone:.1f} | {1e3 * together:.1f} | {alone / together:.2f} | "
            f"{1e9 * together / voxels:.2f} | {BYTES[name]} | {FLOPS.get(name, '')} | {together / roof:.1f} |"
        )
    whole = taken["sum of a step"] = sum(taken[name] for name in STEP)
    taken[LOOP] = median(loop, max(1, repeats // 2)) / STEPS
    moved, done = sum(BYTES[name] for name in STEP), sum(FLOPS[name] for name in STEP)
    roof = voxels * max(copied * moved, multiplied * done)
    for name, time_ in (("the operations of an LNCC step, added up", whole), (f"**{LOOP}**", taken[LOOP])):
        lines.append(
            f"| {name} | | {1e3 * time_:.1f} | | {1e9 * time_ / voxels:.2f} | {moved} | {done} | {time_ / roof:.1f} |"
        )
    return taken, "\n".join(lines)


def roofs(shape: tuple[int, int, int], repeats: int) -> tuple[float, float]:
    """Seconds to move a byte, by copying a field of `shape`, and to add or multiply once, by a product of matrices."""
    a, b = torch.zeros(3, *shape), torch.zeros(3, *shape)
    square = torch.ones(1024, 1024)
    copied = median(lambda: b.copy_(a), repeats) / (2 * a.nbytes)
    return copied, median(lambda: square @ square, repeats) / (2 * 1024**3)


def plot(taken: dict[tuple[int, int, int], dict[str, float]], file: str) -> None:
    """Draw the time per voxel of a step, and of what it is made of, against the number of voxels."""
    import matplotlib.pyplot as plt

    sizes = [np.prod(shape) for shape in taken]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in (LOOP, *STEP):
        values = [1e9 * times[name] / size for times, size in zip(taken.values(), sizes)]
        axes.plot(sizes, values, "o-", label=name, linewidth=2.5 if name == LOOP else 1.2)
    axes.set(xscale="log", xlabel="voxels", ylabel="ns per voxel, two threads", ylim=(0, None))
    axes.set_title("The cost of a voxel does not depend on how many there are")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=110)


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
