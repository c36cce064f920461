"""Registration across contrasts by networks that learned against each other, beside what there was, in one table.

    python -m benchmarks.translation --textbook runs/textbook_gan/best.safetensors --records gan.jsonl --table gan.md

The known-warp cases across contrasts of the development data (T1 with T2, FLAIR, PET and CT); nothing was trained on
them. TRE is the mean distance, mm, of 300 points from where the known warp takes them; `voxels` counts it in the fixed
image's. Peers' numbers are read from records that `benchmarks.run` wrote, the middle one of their repeats. PSNR and
SSIM compare the painted moving image, laid on the fixed one by the known points, with the fixed image where it shows
anatomy; every picture is first brought to its brightness by the best straight line, the moving image as it was too.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.cases import DEFAULT_CASES, Case, read_cases
from benchmarks.records import append, read_rows
from coincide.api import open_image, open_points
from coincide.image import Image
from coincide.measures.quality.reference import compared
from coincide.methods import parse
from coincide.methods.learned.pyramid import linear_part
from coincide.methods.learned.translate import translated
from coincide.methods.recorder import Recorder
from coincide.networks import chosen
from coincide.pair import Pair
from coincide.preprocess.foreground import foreground_weights
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import shrink
from coincide.transforms.resample import resample
from coincide.transforms.thin_plate import fit_thin_plate


def main() -> None:
    """Run what the records lack, print the tables, and write them where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=Path, default=DEFAULT_CASES)
    parser.add_argument(
        "--weights", default="", help="of translate; those that come with coincide where left out"
    )
    parser.add_argument("--textbook", default="", help="weights that recipes/textbook_gan.toml made")
    parser.add_argument("--judge", default="", help="weights that recipes/adversarial.toml made")
    parser.add_argument("--recurrent", default="", help="likewise, of recurrent")
    parser.add_argument("--peers", type=Path, help="records that benchmarks.run wrote")
    parser.add_argument("--records", type=Path, help="JSON lines, added to")
    parser.add_argument("--table", type=Path, help="where to write the tables as Markdown")
    parser.add_argument("--only", nargs="*", help="names of methods, and pictures")
    args = parser.parse_args()
    rows = read_rows(args.records)
    done = {(row["case"], row["method"]) for row in rows}
    methods = {n: spec for n, spec in specs(args).items() if not args.only or n in args.only}
    painters = {"translate": args.weights} | ({"textbook": args.textbook} if args.textbook else {})
    for case in [c for c in read_cases(args.cases) if c.name.startswith("mm_")]:
        missing = [n for n in methods if (case.name, n) not in done]
        pictures = [n for n in ("as it is", *painters) if (case.name, f"picture: {n}") not in done]
        pictures = [] if args.only and "pictures" not in args.only else pictures
        for row in [*registered(case, methods, missing), *painted(case, painters, pictures)]:
            print(row, flush=True)
            rows.append(row)
            if args.records:
                append(args.records, row)
    table = as_tables(rows, _peers(args.peers))
    print(table)
    if args.table:
        args.table.write_text(table, encoding="utf-8")


def specs(args: argparse.Namespace) -> dict[str, str]:
    """What is compared, by the name in the table."""

    def of(name: str, path: str, *options: str) -> str:
        own = [*options, *([f"weights={path}"] if path else [])]
        return f"{name}:{','.join(own)}" if own else name

    found = {
        "NMI, linear": "",
        "NMI": "deformable:similarity=nmi",
        "MIND": "deformable:similarity=mind",
        "auto": "auto",
        "pyramid": "pyramid",
        "recurrent": of("recurrent", args.recurrent),
        "translate": of("translate", args.weights),
        "translate, by LNCC": of("translate", args.weights, "similarity=lncc"),
        "translate, both painted": of("translate", args.weights, "painted=both"),
    }
    if args.judge:
        found["adversarial"] = f"deformable:similarity=adversarial(weights={args.judge}),most=90"
    if args.textbook:
        found["textbook GAN"] = of("translate", args.textbook)
        found["textbook GAN, by LNCC"] = of("translate", args.textbook, "similarity=lncc")
    return found


def registered(case: Case, methods: dict[str, str], names: list[str]) -> list[dict]:
    """A row for each method: TRE in mm and voxels, and processor seconds after the linear start, common to all."""
    if not names:
        return []
    pair = Pair(open_image(case.fixed), open_image(case.moving))
    here, there = (open_points(path).world for path in (case.fixed_points, case.moving_points))
    start, _, _ = linear_part(None, pair, Recorder(lambda event: None))
    assert start is not None, "these images overlap"
    rows = []
    for name in names:
        begun, told = time.process_time(), ""
        way = start
        if methods[name]:
            solution = parse(methods[name]).solve(replace(pair, initial=start))
            way, told = solution.transform, "; ".join(solution.decisions[-1:])
        seconds = time.process_time() - begun
        tre = float(np.linalg.norm(way(here) - there, axis=1).mean())
        voxel = float(pair.fixed.grid.voxel_volume ** (1 / 3))
        rows.append(
            {
                "case": case.name,
                "method": name,
                "tre": tre,
                "voxels": tre / voxel,
                "seconds": seconds,
                "told": told,
            }
        )
    return rows


def painted(case: Case, painters: dict[str, str], names: list[str]) -> list[dict]:
    """A row for each picture of the moving image: PSNR (dB) and SSIM against the fixed one, where it truly lies."""
    if not names:
        return []
    fixed, moving = (normalise(open_image(path)) for path in (case.fixed, case.moving))
    here, there = (open_points(path).world for path in (case.fixed_points, case.moving_points))
    truth = fit_thin_plate(here, there)
    small = shrink(fixed, 2.0)
    inside = foreground_weights(small, threshold=0.05) > 0.5
    rows = []
    for name in names:
        picture = moving if name == "as it is" else translated(chosen("translate", painters[name]), moving)
        laid = resample(picture, truth, small.grid).data
        x, y = (values[0][inside].double().numpy() for values in (laid, small.data))
        slope, offset = np.polyfit(x, y, 1)
        fitted = Image((slope * laid + offset).float(), small.grid, mask=inside)
        found = compared(fitted, Image(small.data, small.grid, mask=inside))
        rows.append(
            {"case": case.name, "method": f"picture: {name}"} | {k: found[k] for k in ("psnr_db", "ssim")}
        )
    return rows


def as_tables(rows: list[dict], peers: dict[tuple[str, str], float]) -> str:
    """Markdown: methods down, cases across; TRE first, then what the pictures are worth."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    head = [
        "| | " + " | ".join(case.removeprefix("mm_") for case in cases) + " |",
        "|---" * (len(cases) + 1) + "|",
    ]
    by = {(row["case"], row["method"]): row for row in rows}
    lines = ["**TRE, mm (voxels)**", "", *head]
    for method in dict.fromkeys(row["method"] for row in rows if "tre" in row):
        found = [by.get((case, method)) for case in cases]
        cells = [f"{row['tre']:.2f} ({row['voxels']:.2f})" if row else "" for row in found]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    for method in dict.fromkeys(method for _, method in peers):
        cells = [f"{peers[case, method]:.2f}" if (case, method) in peers else "" for case in cases]
        lines.append(f"| {method} (from records) | " + " | ".join(cells) + " |")
    lines += ["", "**PSNR, dB, and SSIM of the moving image against the fixed one**", "", *head]
    for method in dict.fromkeys(row["method"] for row in rows if "ssim" in row):
        found = [by.get((case, method)) for case in cases]
        cells = [f"{row['psnr_db']:.1f}, {row['ssim']:.2f}" if row else "" for row in found]
        lines.append(f"| {method.removeprefix('picture: ')} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _peers(path: Path | None) -> dict[tuple[str, str], float]:
    """The middle one of the repeats of each peer, TRE in mm."""
    found = defaultdict(list)
    for row in read_rows(path):
        if row["case"].startswith("mm_") and "tre" in row and not row["method"].startswith("coincide"):
            found[row["case"], row["method"]].append(row["tre"]["mean"])
    return {key: float(np.median(values)) for key, values in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
