"""Series methods on real radiographs that are moved by known smooth motion, in one table.

    python -m benchmarks.series --weights sequence.safetensors --textbook flattened.safetensors --table series.md

Each hand radiograph, taken through a smooth motion of its own, is seen on 256 × 256 pixels of about a millimetre, in
four settings: as an ordinary film, as one of a low dose, which moves further too, as one that moves far from frame to
frame, and as an ordinary one whose fingers bend in their joints besides (`benchmarks.fingers`). Every frame has its own
noise and brightness; some are missing, some repeat the one before. TRE is the mean distance of 37 landmarks from where
the known motion takes them (reference → frame), jitter the mean second difference of the landmarks' error from frame to
frame, both in mm over the frames that there are; `missing` is the TRE of those that there are not; `joints` how far the
angles of the fingers' 14 joints are off. `frames/s` is by processor time from images in memory to transforms. The
motion is the same for all methods, and linear (similarity) but for the fingers.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from benchmarks.cases import DEFAULT_CASES, read_cases
from benchmarks.fingers import JOINTS, Bent, angle_error
from benchmarks.records import append, read_rows
from coincide.api import open_image, open_points
from coincide.data.synthesis.series import Films, curves
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.series import Sequence, Series, follow, parse_series
from coincide.preprocess.normalise import normalise
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import similarity
from coincide.transforms.resample import resample

SIDE, FRAMES = 256, 40


@dataclass(frozen=True)
class Setting:
    """How a film is taken: degrees, mm, share, spread of noise and of the log of brightness, frames a turn; degrees
    that each joint of a finger bends either way."""

    turn: float
    shift: float
    scale: float
    noise: float
    flicker: float
    period: tuple[float, float]
    bend: float = 0.0


SETTINGS = {
    "ordinary": Setting(12.0, 15.0, 0.02, 0.05, 0.08, (12.0, 60.0)),
    "low dose": Setting(25.0, 30.0, 0.04, 0.25, 0.15, (12.0, 60.0)),
    "fast": Setting(25.0, 30.0, 0.02, 0.05, 0.08, (4.0, 16.0)),
    "fingers": Setting(12.0, 15.0, 0.02, 0.05, 0.08, (12.0, 60.0), bend=8.0),
}


SPECS = {
    "sequence": "sequence:model=similarity{own}",
    "sequence, causal": "sequence:model=similarity,direction=causal{own}",
    "sequence, deformable": "sequence:model=deformable{own}",
    "sequence, network alone": "sequence:model=similarity,finish=none{own}",
    "sequence, network alone, causal": "sequence:model=similarity,finish=none,direction=causal{own}",
    "CNN, frame by frame": "sequence:model=similarity,finish=none,direction=alone{own}",
    "CNN and optimiser, frame by frame": "sequence:model=similarity,direction=alone{own}",
    "sequence without a network": "sequence:model=similarity,network=none",
    "linear": "linear:model=similarity",
    "sift": "sift",
    "phase": "phase",
}
"""What every setting is given."""
BENDING = {
    "sequence, deformable, causal": "sequence:model=deformable,direction=causal{own}",
    "CNN and deformable, frame by frame": "sequence:model=deformable,direction=alone{own}",
    "sift, thin plates": "sift:model=thin_plate",
    "deformable": "deformable",
    "auto": "auto",
}
"""What fingers that bend are given besides."""
TEXTBOOK = "textbook LSTM"


@dataclass(frozen=True, eq=False)
class Film:
    """A series whose motion is known.

    Args:
        series: the frames.
        places: `(frame, landmark, 2)` mm.
    """

    series: Series
    places: np.ndarray


def main() -> None:
    """Run what the records lack, print the table, and write it where asked to."""
    args = arguments(str(__doc__)).parse_args()
    table = as_table(measured(args))
    print(table)
    if args.table:
        args.table.write_text(table, encoding="utf-8")


def arguments(told: str) -> argparse.ArgumentParser:
    """The command line, of a program that `told` describes."""
    parser = argparse.ArgumentParser(description=told.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=Path, default=DEFAULT_CASES)
    parser.add_argument(
        "--weights", default="", help="of sequence; those that come with coincide where left out"
    )
    parser.add_argument("--textbook", default="", help="weights that recipes/flattened.toml made")
    parser.add_argument("--records", type=Path, help="JSON lines, added to")
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--settings", nargs="*", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--hands", type=int, default=5, help="how many")
    return parser


def recorded(records: Path | None, kind: str) -> list[dict]:
    """Rows that have been measured, of those that have the entry `kind`."""
    return [row for row in read_rows(records) if kind in row]


def record(records: Path | None, row: dict) -> None:
    """Print a row, and add it to the records."""
    print(row, flush=True)
    if records:
        append(records, row)


def measured(args: argparse.Namespace) -> list[dict]:
    """All rows: those of the records, and what they lack."""
    rows = recorded(args.records, "setting")
    done = {(row["setting"], row["hand"], row["method"]) for row in rows}
    for setting, taken in SETTINGS.items():
        if args.settings and setting not in args.settings:
            continue
        for number, (name, image, points) in enumerate(hands(args.cases)[: args.hands]):
            wanted = {
                method: spec
                for method, spec in methods(args, setting).items()
                if (not args.only or method in args.only) and (setting, name, method) not in done
            }
            film = filmed(image, points, taken, number) if wanted else None
            for method, spec in wanted.items():
                assert film is not None, "there is something to run"
                row = {"setting": setting, "hand": name, "method": method, **run(film, spec)}
                record(args.records, row)
                rows.append(row)
    return rows


def methods(args: argparse.Namespace, setting: str) -> dict[str, str]:
    """What is compared in a setting, by the name in the table."""
    own = f",weights={args.weights}" if args.weights else ""
    specs = SPECS | BENDING if SETTINGS[setting].bend else SPECS
    found = {name: spec.format(own=own) for name, spec in specs.items()}
    if args.textbook:
        found[TEXTBOOK] = (
            f"sequence:model=similarity,network=flattened,finish=none,direction=causal,weights={args.textbook}"
        )
    return found


def hands(cases: Path) -> list[tuple[str, Image, np.ndarray]]:
    """The hand radiographs, each once, with their landmarks in mm."""
    found = {}
    for case in read_cases(cases):
        if case.task == "hand_xray":
            assert case.fixed_points, "hands have landmarks"
            assert case.moving_points, "hands have landmarks"
            assert case.moving, "hands come in pairs"
            found[Path(case.fixed).name] = (case.fixed, case.fixed_points)
            found[Path(case.moving).name] = (case.moving, case.moving_points)
    return [
        (name.split(".")[0], open_image(image), open_points(points).world)
        for name, (image, points) in sorted(found.items())
    ]


def filmed(image: Image, points: np.ndarray, setting: Setting, seed: int) -> Film:
    """A film of one radiograph."""
    rng = np.random.default_rng((seed, 5))
    grid = _view(image)
    picture, course = normalise(image), curves(rng, Films(frames=FRAMES, period=setting.period), 4)
    frames, places = [], []
    missing = set(rng.choice(np.arange(1, FRAMES), 3, replace=False).tolist())
    again = set(rng.choice(np.arange(1, FRAMES), 3, replace=False).tolist()) - missing
    again -= {n + 1 for n in missing}
    turns = curves(np.random.default_rng((seed, 9)), Films(frames=FRAMES, period=setting.period), len(JOINTS))
    for n in range(FRAMES):
        turn, x, y, size = course[n] * (setting.turn, setting.shift, setting.shift, setting.scale)
        way = similarity(turn, (x, y), float(np.exp(size)), grid.centre)
        if n in again:
            frames.append(frames[-1])
            places.append(places[-1])
            continue
        back: Transform = way.inverse()
        here = points
        if setting.bend:
            bent = Bent.of(points, setting.bend * turns[n])
            back, here = _straightened(bent, grid) @ back, bent(points)
        frames.append(_frame(rng, picture, back, grid, setting, n in missing))
        places.append(way(here))
    return Film(Series(tuple(frames), name=image.name), np.stack(places))


def _view(image: Image) -> Grid:
    """Where the film lies: a square around the radiograph."""
    corners = image.grid.corners
    spacing = float(np.ptp(corners, axis=0).max()) / (SIDE - 1)
    return Grid.from_spacing((SIDE,) * 2, spacing, image.grid.centre - (SIDE - 1) / 2 * spacing)


def _straightened(bent: Bent, grid: Grid) -> Displacement:
    """What undoes `bent`, worked out on every second pixel of `grid` and carried to all by cubic splines."""
    coarse = Grid.from_spacing(tuple(n // 2 for n in grid.shape), 2 * grid.spacing, grid.origin)
    moved = bent(coarse.points(), backwards=True) - coarse.points()
    index = np.indices(grid.shape) / 2
    vectors = [map_coordinates(moved[..., k], index, order=3, mode="nearest") for k in range(2)]
    return Displacement(torch.from_numpy(np.stack(vectors).astype(np.float32)), grid)


def _frame(
    rng: np.random.Generator, picture: Image, back: Transform, grid: Grid, setting: Setting, missing: bool
) -> Image:
    """One frame: what a pixel of the film covers of the radiograph, by sixteen places in it; then noise."""
    if missing:
        return Image(torch.zeros((1, *grid.shape)), grid)
    fine = Grid.from_spacing(
        tuple(4 * n for n in grid.shape), grid.spacing / 4, grid.origin - 0.375 * grid.spacing
    )
    sharp = resample(picture, back, fine).data
    values = torch.nn.functional.avg_pool2d(sharp, 4).numpy()
    values = values * np.exp(rng.normal(0, setting.flicker)) + rng.normal(0, setting.flicker / 2)
    spread = setting.noise * np.sqrt(np.maximum(values, 0) + 0.1)
    noisy = values + spread * rng.standard_normal(values.shape)
    return Image(torch.from_numpy(noisy.astype(np.float32)), grid)


def run(film: Film, spec: str) -> dict:
    """What one method makes of a film, mm, and the processor seconds."""
    method = parse_series(spec)
    begun = time.process_time()
    _, solution = follow(film.series, method)
    seconds = time.process_time() - begun
    if isinstance(method, Sequence) and method.finish == "none" and method.network == "sequence":
        seconds = _live_seconds(method, film)
    here = film.places[int(film.series.new[0])]
    off = np.stack([t(here) for t in solution.transforms]) - film.places
    there = film.series.seen
    length = np.linalg.norm(off, axis=-1)
    return {
        "tre": float(length[there].mean()),
        "worst": float(length[there].mean(1).max()),
        "jitter": float(np.linalg.norm(np.diff(off[there], n=2, axis=0), axis=-1).mean()),
        "missing": float(length[~there].mean()),
        "angle": angle_error((off + film.places)[there], film.places[there]),
        "lost": solution.frames.count("lost"),
        "frames_per_second": len(film.series) / seconds,
        "start": float(np.linalg.norm(here - film.places, axis=-1).mean()),
    }


def _live_seconds(method: Sequence, film: Film) -> float:
    """Processor seconds of the network when the frames come one at a time."""
    live = method.live(film.series.frames[0])
    begun = time.process_time()
    for frame, seen in zip(film.series.frames, film.series.seen):
        live.next(frame if seen else None)
    return time.process_time() - begun


def as_table(rows: list[dict]) -> str:
    """Markdown: methods down; for each setting the means over the hands."""
    lines = []
    for setting, taken in SETTINGS.items():
        own = [row for row in rows if row["setting"] == setting]
        if not own:
            continue
        start = np.mean([row["start"] for row in own])
        number = len({row["hand"] for row in own})
        lines += [f"**{setting}** ({number} hands, {start:.1f} mm before registration)", ""]
        joints = taken.bend > 0
        heads = ["method", "TRE", "worst frame", "jitter", "missing", *(["joints, °"] if joints else [])]
        heads += ["given up", "frames/s"]
        lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for method in (m for m in (*SPECS, *BENDING, TEXTBOOK) if any(row["method"] == m for row in own)):
            mine = [row for row in own if row["method"] == method]
            few = f" ({len(mine)} hands)" if len(mine) < number else ""
            mean = {
                key: np.mean([row.get(key, np.nan) for row in mine])
                for key in ("tre", "jitter", "missing", "angle")
            }
            angle = f"{mean['angle']:.2f} | " if joints else ""
            worst, lost = max(row["worst"] for row in mine), sum(row["lost"] for row in mine)
            speed = 1 / np.mean([1 / row["frames_per_second"] for row in mine])
            lines.append(
                f"| {method}{few} | {mean['tre']:.3f} | {worst:.2f} | {mean['jitter']:.3f} | {mean['missing']:.2f} | "
                f"{angle}{lost} | {speed:.1f} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
