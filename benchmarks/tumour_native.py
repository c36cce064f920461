"""Native series of patients with tumours, which carry no truth: verdicts, and whether the series agree with each other.

    python -m benchmarks.tumour_native --reports FOLDER

The way from the first series to the last through the one between is compared with the direct way, in mm over the head:
what is left is the error of at least one of three registrations, though three can err alike. With `--reports`, all that
`coincide register` writes of the direct way is kept there, the page with pictures too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.tumour_cases import DATA
from coincide.api import register
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.normalise import normalise
from coincide.results import write_results

SERIES = {
    "fg6692": ("fg6692_t1", "fg6692_t2", "fg6692_fla"),
    "met00110": ("met00110_t1n", "met00110_t1c", "met00110_t2f"),
}
WAYS = ("rigid", "affine", "deformable")


def main() -> None:
    """Print a row for each patient and reach."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--reports", type=Path, help="folder for a report of each patient and reach")
    reports = parser.parse_args().reports
    print(
        "| patient | reach | verdicts | median, mm | 95 %, mm | moved by the direct way, mm |",
        "|---" * 6 + "|",
        sep="\n",
    )
    for patient, names in SERIES.items():
        first, middle, last = (DATA / "tumour" / f"{name}.nii.gz" for name in names)
        for reach in WAYS:
            results = [
                register(a, b, transform=reach) for a, b in ((first, middle), (middle, last), (first, last))
            ]
            if reports is not None:
                write_results(results[-1], reports / f"{patient}-{reach}")
            near, far, straight = (each.transform for each in results)
            image = normalise(results[0].pair.fixed)
            inside = np.argwhere(foreground_weights(image).numpy() > 0)[::997]
            world = image.grid.world(inside.astype(float))
            apart = np.linalg.norm(far(near(world)) - straight(world), axis=1)
            moved = np.linalg.norm(straight(world) - world, axis=1)
            verdicts = ", ".join(each.verdict.level for each in results)
            numbers = f"{np.median(apart):.2f} | {np.percentile(apart, 95):.2f} | {np.median(moved):.2f}"
            print(f"| {patient} | {reach} | {verdicts} | {numbers} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
