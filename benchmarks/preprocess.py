"""What each step of `coincide preprocess` does for registration: landmark errors and Dice with and without it.

python -m benchmarks.preprocess --log steps.jsonl [--cases hands lung_0004_0006 …] [--steps "" n4 "nlm:strength=1" …]
python -m benchmarks.preprocess --log steps.jsonl --table  (prints the tables of what the log holds, and runs nothing)

Both images are processed; the transform found is scored on the landmarks and labels as they are. `{voxel}` in a step is
the longest edge of the image's voxels, mm, `{twice}` twice that, `{thinned}` the spacing after `thin`, if it cuts any;
`reference=other` is the other image of the pair, and changes the moving image alone. `hands` stands for the five hands
onto each other, `…~` for a case with its images exchanged, `…/4` for one whose slices were averaged by fours before any
step. Each run is a line of the log as soon as it ends, and what the log holds is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import DEFAULT_CASES, Case, read_cases
from benchmarks.classical import opened, scored
from benchmarks.records import append, read_rows
from benchmarks.slices import thickened
from coincide.api import open_pair
from coincide.errors import InputError, OptionError
from coincide.image import Image
from coincide.pair import Pair
from coincide.preprocess.orientation import along_world
from coincide.preprocess.pipeline import parse
from coincide.preprocess.steps.slices import Thin
from coincide.registration import register

NOTHING = "gamma:exponent=0.98"
"""A step that changes next to nothing: what it does to the results is how far they vary by themselves."""
STEPS = (
    *("", NOTHING, "rescale", "zscore", "gamma:exponent=0.7", "clahe", "match:reference=other"),
    *("gaussian:sigma={voxel}", "mean:radius={voxel}", "median:radius={voxel}", "bilateral:sigma={voxel}"),
    *(
        "nlm",
        "wavelet",
        "tv",
        "speckle:sigma={twice}",
        "unsharp:sigma={voxel}",
        "deconvolve:fwhm={voxel}",
        "n4",
    ),
    *("resample:spacing={twice}", "thin", "pad:margin=20", "reorient:axes=PSR", "threshold", "brain"),
)
CASES = (
    *(
        "hands",
        "lung_0004_0006",
        "lung_0004_0006~",
        "liver_26_cyc_4_7",
        "liver_19_cyc_1_6",
        "brain_1000_1001",
    ),
    *("mm_stroke_t1_t2", "mm_stroke_t1_flair", "mm_spm_t1_pet"),
)
ROOM = {"mm": 0.05, "Dice": 0.01}
"""What is no difference: a twentieth of an error, a hundredth of Dice."""


def main() -> None:
    """Run what the log does not hold yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=Path, required=True, help="a file of JSON lines; is added to")
    parser.add_argument("--data", type=Path, default=DEFAULT_CASES, help="the table of cases")
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--steps", nargs="+", default=STEPS)
    parser.add_argument("--preset", default="fast", help="of the method auto")
    parser.add_argument("--table", action="store_true", help="print the tables alone")
    options = parser.parse_args()
    rows = read_rows(options.log)
    if not options.table:
        done = {(row["case"], row["steps"], row.get("preset", "fast")) for row in rows}
        cases = chosen(options.cases, options.data)
        for steps, case in itertools.product(options.steps, cases):
            if (case.name, steps, options.preset) not in done:
                rows.append(run(case, steps, options.preset))
                append(options.log, rows[-1])
    rows = [row for row in rows if row.get("preset", "fast") == options.preset]
    hands, others = ([r for r in rows if (r["task"] == "hand_xray") == flat] for flat in (True, False))
    print_hands(hands)
    print_volumes(others)


def chosen(names: list[str], table: Path) -> list[Case]:
    """The cases that are asked for."""
    known = {case.name: case for case in read_cases(table)}
    cases = []
    for name in names:
        if name == "hands":
            cases += hands(table.parent / "hand_xray")
        elif name.partition("/")[0].removesuffix("~") not in known:
            raise SystemExit(f"{name}: is no case. Known: hands, {', '.join(known)}.")
        else:
            plain = name.partition("/")[0]
            case = known[plain.removesuffix("~")]
            cases.append(replace(exchanged(case) if plain.endswith("~") else case, name=name))
    return cases


def exchanged(case: Case) -> Case:
    """The case with its images exchanged."""
    return replace(
        case,
        fixed=case.moving,  # type: ignore[arg-type] - a pair has both
        moving=case.fixed,
        fixed_labels=case.moving_labels,
        moving_labels=case.fixed_labels,
        fixed_points=case.moving_points,
        moving_points=case.fixed_points,
    )


def hands(folder: Path) -> list[Case]:
    """Every ordered pair of the hands."""
    names = sorted(path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz"))
    return [
        Case(
            name=f"{fixed}-{moving}",
            task="hand_xray",
            dim=2,
            multimodal=False,
            fixed=folder / f"{fixed}.nii.gz",
            moving=folder / f"{moving}.nii.gz",
            fixed_points=folder / f"{fixed}_points.csv",
            moving_points=folder / f"{moving}_points.csv",
        )
        for fixed, moving in itertools.permutations(names, 2)
    ]


def run(case: Case, steps: str, preset: str) -> dict[str, Any]:
    """A line of the log; its value is None where the step cannot be done on these images."""
    row: dict[str, Any] = {
        "case": case.name,
        "task": case.task,
        "steps": steps,
        "preset": preset,
        "value": None,
    }
    pair = open_pair(case.fixed, case.moving)
    if factor := int(case.name.partition("/")[2] or 0):
        pair = Pair(thickened(pair.fixed, factor), thickened(pair.moving, factor))
    begun = time.process_time()
    try:
        pair = Pair(
            processed(pair.fixed, pair.moving, steps, False), processed(pair.moving, pair.fixed, steps, True)
        )
    except InputError as error:
        print(f"{case.name}, {steps}: {error}", flush=True)
        return row
    row["seconds_steps"] = round(time.process_time() - begun, 1)
    begun = time.process_time()
    found = register(pair, "auto", preset=preset, threads=1).transform
    row["seconds_registration"] = round(time.process_time() - begun, 1)
    row["value"], row["unit"] = score(case, found)
    print(f"{case.name}, {steps or 'none'}: {row['value']:.3f} {row['unit']}", flush=True)
    return row


def processed(image: Image, other: Image, steps: str, moving: bool) -> Image:
    """An image after the steps, of which those that look at the other image are done on the moving one alone."""
    # rounded up: a radius must reach the neighbour
    edge = np.ceil(image.grid.spacing.max() * 1e4) / 1e4
    steps = steps.replace("{voxel}", f"{edge:.4f}").replace("{twice}", f"{2 * edge:.4f}")
    if "{thinned}" in steps:
        steps = steps.replace("{thinned}", "x".join(f"{s:.9g}" for s in thinned(image)))
    parts = steps.split("|")
    parts = [part for part in parts if part.strip() and (moving or "reference=other" not in part)]
    return parse("|".join(parts))(image, aids={"other": other}).image if parts else image


def thinned(image: Image) -> np.ndarray:
    """The spacing that `thin` would leave, along right, front and up, mm: the image's own where it cuts nothing."""
    upright = along_world(image.grid).image(image)
    try:
        return Thin().target(upright).spacing
    except OptionError:
        return upright.grid.spacing


def score(case: Case, found: Any) -> tuple[float, str]:
    """Mean landmark error or mean Dice of a transform on the images as they are, and which."""
    whole = opened(case)
    if whole.landmarks is None and (whole.fixed_labels is None or whole.moving_labels is None):
        raise SystemExit(f"{case.name}: has neither landmarks nor labels to score by.")
    return scored(whole, found), "Dice" if whole.landmarks is None else "mm"


def verdict(rows: list[dict[str, Any]], plain: dict[str, float]) -> tuple[int, int, str]:
    """On how many cases a step is better and worse than none by more than the room, and what that comes to.

    It helps, or harms, where the one number is larger by a quarter of the cases.
    """
    better = worse = 0
    for row in rows:
        before = plain[row["case"]]
        gain = row["value"] - before if row["unit"] == "Dice" else (before - row["value"]) / before
        better += gain > ROOM[row["unit"]]
        worse += gain < -ROOM[row["unit"]]
    net = (better - worse) / len(rows)
    return better, worse, "helps" if net >= 0.25 else "harms" if net <= -0.25 else "indifferent"


def print_hands(rows: list[dict[str, Any]]) -> None:
    """Median and mean over the hands, how many are lost, better and worse, and by how much they change."""
    plain = {row["case"]: row["value"] for row in rows if not row["steps"]}
    print(
        "| steps | pairs | median | mean | above 5 mm | better | worse | middle half of the changes, mm | |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for steps in dict.fromkeys(row["steps"] for row in rows):
        own = [r for r in rows if r["steps"] == steps and r["value"] is not None and r["case"] in plain]
        if not own:
            continue
        values = np.array([row["value"] for row in own])
        lost = int((values > 5).sum())
        change = values - np.array([plain[row["case"]] for row in own])
        better, worse, said = verdict(own, plain)
        middle = " to ".join(f"{v:+.2f}" for v in np.percentile(change, (25, 75)))
        print(
            f"| `{steps or 'none'}` | {len(own)} | {np.median(values):.2f} | {values.mean():.2f} | {lost} "
            f"| {better} | {worse} | {middle} | {said if steps else ''} |"
        )


def print_volumes(rows: list[dict[str, Any]]) -> None:
    """One column a case, and what each step comes to."""
    plain = {row["case"]: row["value"] for row in rows if not row["steps"]}
    found = {(row["steps"], row["case"]): row for row in rows}
    print("| steps | " + " | ".join(plain) + " | better | worse | |")
    print("|---" * (len(plain) + 4) + "|")
    for steps in dict.fromkeys(row["steps"] for row in rows):
        own = [found[steps, c] for c in plain if (steps, c) in found and found[steps, c]["value"] is not None]
        cells = [_cell(found.get((steps, case))) for case in plain]
        better, worse, said = verdict(own, plain) if own else (0, 0, "cannot be done" if plain else "")
        print(f"| `{steps or 'none'}` | {' | '.join(cells)} | {better} | {worse} | {said if steps else ''} |")


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    return "–" if row["value"] is None else f"{row['value']:.{3 if row['unit'] == 'Dice' else 2}f}"


if __name__ == "__main__":
    main()
