"""What each step of `coincide preprocess` does for registration: landmark errors and Dice with and without it.

python -m benchmarks.preprocess [--cases hand_3167_3177 liver_19_cyc_1_6 brain_1000_1001] [--steps n4 "nlm" …]

Both images are processed; the transform found is scored on the landmarks and labels as they are. One row is printed for
each run as soon as it ends.
"""

from __future__ import annotations

import argparse
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
    options = parser.parse_args()
    cases = {case.name: case for case in read_cases(options.table)}
    for name in options.cases:
        for steps in options.steps:
            begun = time.process_time()
            value = score(cases[name], steps, options.method, options.transform)
            print(f"| {name} | {steps or 'none'} | {value} | {time.process_time() - begun:.0f} |", flush=True)


def score(case: Case, steps: str, method: str, transform: str | None) -> str:
    """Mean landmark error or mean Dice of a registration after `steps` on both images."""
    pair = open_pair(case.fixed, case.moving)
    if steps:
        pipeline = parse(steps)
        pair = Pair(*(pipeline(image).image for image in (pair.fixed, pair.moving)))
    preset = "fast" if method == "auto" else None
    found = register(pair, method, transform=transform, preset=preset, threads=1).transform
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
        return f"{errors['after']['tre_mean_mm']:.2f} mm"
    if whole.fixed_labels is None or whole.moving_labels is None:
        return "no truth"
    warped = resample(whole.moving_labels, found, whole.fixed.grid, "nearest").numpy()
    here = whole.fixed_labels.numpy()
    both = np.intersect1d(present(here), present(whole.moving_labels.numpy()))
    return f"Dice {np.mean(list(dice(here, warped, both).values())):.3f}"


if __name__ == "__main__":
    main()
