"""What each step of `coincide preprocess` does for registration: landmark errors and Dice with and without it.

python -m benchmarks.preprocess [--cases hand_3167_3177 liver_19_cyc_1_6 brain_1000_1001] [--steps n4 "nlm" …]
python -m benchmarks.preprocess --hands  (each of the five hands onto each other one)

Both images are processed; the transform found is scored on the landmarks and labels as they are. One row is printed for
each run as soon as it ends, and at last for each step the median, and on how many cases it is better or worse than
without by more than a twentieth.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from benchmarks.cases import DEFAULT_CASES, Case, read_cases
from coincide.api import open_pair
from coincide.measures.overlap import dice, present
from coincide.measures.summary import measure_points
from coincide.pair import Pair
from coincide.preprocess.pipeline import parse
from coincide.registration import register
from coincide.transforms.resample import resample

STEPS = [
    *(
        "",
        "rescale",
        "clahe",
        "gaussian:sigma=2",
        "median:radius=2.1",
        "nlm",
        "wavelet",
        "tv",
        "unsharp",
        "n4",
    ),
    "resample:spacing=2",
]
CASES = ["hand_3167_3177", "hand_3229_3231", "liver_19_cyc_1_6", "brain_1000_1001"]


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=DEFAULT_CASES)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--steps", nargs="+", default=STEPS)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--transform", default=None)
    parser.add_argument("--preset", default="fast", help="of the method auto")
    parser.add_argument(
        "--hands", action="store_true", help="the five hands onto each other, whatever the cases"
    )
    options = parser.parse_args()
    known = {case.name: case for case in read_cases(options.table)}
    cases = hands(options.table.parent) if options.hands else [known[name] for name in options.cases]
    found: dict[str, list[float]] = {steps: [] for steps in options.steps}
    for case in cases:
        for steps in options.steps:
            begun = time.process_time()
            value, unit = score(case, steps, options.method, options.transform, options.preset)
            found[steps].append(-value if unit == "Dice" else value)
            spent = time.process_time() - begun
            print(f"| {case.name} | {steps or 'none'} | {value:.3f} {unit} | {spent:.0f} |", flush=True)
    if "" in found:
        summary(found)


def hands(folder: Path) -> list[Case]:
    """Every ordered pair of the hands."""
    paths = sorted(p for p in (folder / "hand_xray").glob("*.nii.gz"))
    names = [path.name.removesuffix(".nii.gz") for path in paths]
    return [
        Case(
            name=f"{fixed}-{moving}",
            task="hand_xray",
            dim=2,
            multimodal=False,
            fixed=folder / "hand_xray" / f"{fixed}.nii.gz",
            moving=folder / "hand_xray" / f"{moving}.nii.gz",
            fixed_points=folder / "hand_xray" / f"{fixed}_points.csv",
            moving_points=folder / "hand_xray" / f"{moving}_points.csv",
        )
        for fixed, moving in itertools.permutations(names, 2)
    ]


def summary(found: dict[str, list[float]]) -> None:
    """Print each step's median and on how many cases it is better or worse; the less the better."""
    plain = np.array(found[""])
    room = 0.05 * np.abs(plain)
    for steps, values in found.items():
        change = np.array(values) - plain
        better, worse = int((change < -room).sum()), int((change > room).sum())
        print(f"| {steps or 'none'} | {abs(float(np.median(values))):.3f} | {better} | {worse} |", flush=True)


def score(case: Case, steps: str, method: str, transform: str | None, preset: str) -> tuple[float, str]:
    """Mean landmark error or mean Dice of a registration after `steps` on both images, and which."""
    pair = open_pair(case.fixed, case.moving)
    if steps:
        pipeline = parse(steps)
        pair = Pair(pipeline(pair.fixed).image, pipeline(pair.moving).image)
    chosen = preset if method == "auto" else None
    found = register(pair, method, transform=transform, preset=chosen, threads=1).transform
    whole = open_pair(
        case.fixed,
        case.moving,
        fixed_labels=case.fixed_labels,
        moving_labels=case.moving_labels,
        fixed_points=case.fixed_points,
        moving_points=case.moving_points,
    )
    if whole.fixed_points is not None and whole.moving_points is not None:
        errors = measure_points(whole.fixed_points, whole.moving_points, found)
        return float(errors["after"]["tre_mean_mm"]), "mm"
    if whole.fixed_labels is None or whole.moving_labels is None:
        raise SystemExit(f"{case.name}: has neither landmarks nor labels to score by.")
    warped = resample(whole.moving_labels, found, whole.fixed.grid, "nearest").numpy()
    here = whole.fixed_labels.numpy()
    both = np.intersect1d(present(here), present(whole.moving_labels.numpy()))
    return float(np.mean(list(dice(here, warped, both).values()))), "Dice"


if __name__ == "__main__":
    main()
