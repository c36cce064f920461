"""Brains with tumours: where the tumour ends, how large it seems, and what becomes of the tissue around it.

    python -m benchmarks.tumour --records tumour.jsonl --table tumour.md

Real brains under known transforms (`tumour_cases`), bent or moved alone: tumours grown into a T1 brain that are larger
or smaller later; and one patient's own metastasis between contrasts, in T1c with itself, and with itself in a contrast
made from it. Between real contrasts the truth is as good as the series lie on each other, which rigid registrations
put at 1.5 mm (`tumour_native`). Centroid: how far the middle of the moving lesion, carried onto the fixed image, is
from where the truth carries it. Dice: of these two. Volume: by how much the one is larger or smaller. Tissue: mean
error (mm) of places outside the lesions, within 40 mm of their middle and everywhere. `best affine` is the affine
transform nearest to the truth there: no linear method can be asked for more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.geometry import read_image
from benchmarks.methods import TOOLS
from benchmarks.peers.base import Job
from benchmarks.peers.greedy import AFFINE
from benchmarks.records import append, read_rows
from benchmarks.tumour_cases import Lesioned, grown_case, own_case
from coincide.image import Image
from coincide.io import write_image
from coincide.methods import parse
from coincide.pair import Pair
from coincide.transforms.base import Transform
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine
from coincide.transforms.resample import resample

CASES: dict[str, Callable[[], Lesioned]] = {
    "grown0": lambda: grown_case("1000", 1, 1.4),
    "grown1": lambda: grown_case("1036", 2, 0.6),
    "grown2": lambda: grown_case("1006", 3, 1.4),
    "moved0": lambda: grown_case("1001", 4, 1.0, bends=False),
    "moved1": lambda: grown_case("1128", 5, 1.4, bends=False),
    "moved2": lambda: grown_case("1007", 6, 0.6, bends=False),
    "own0": lambda: own_case("t1n", "t1c", 100, bends=False),
    "own1": lambda: own_case("t1n", "t2f", 100, bends=True),
    "own2": lambda: own_case("t1c", "t1c", 100, bends=True),
    "own3": lambda: own_case("t1c", "t1c", 103, bends=False),
    "own4": lambda: own_case("t1c", "t1c", 104, bends=False, recoloured=True),
    "own5": lambda: own_case("t1c", "t1c", 105, bends=True, recoloured=True),
}
OURS = {
    "linear": ("auto:transform=affine", False),
    "linear, lesion given": ("auto:transform=affine", True),
    "deformable": ("auto", False),
    "deformable, lesion given": ("auto", True),
    "deformable, lesion estimated": ("auto:lesion=estimated", False),
}
PEERS = {"greedy": False, "greedy, lesion given": True, "ants_syn": False, "ants_syn, lesion given": True}
_NEAR = 40.0


def main() -> None:
    """Run what the records lack, print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=Path, required=True, help="JSON lines, added to")
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--network", help="weights of a regressor, for rows of its own")
    args = parser.parse_args()
    if args.network:
        OURS["linear, from a network"] = (f"regressor:weights={args.network}", False)
        OURS["linear, a network alone"] = (f"regressor:weights={args.network},alone=true", False)
    rows = read_rows(args.records)
    names = [n for n in ("best affine", *OURS, *PEERS) if not args.only or n in args.only]
    for key in args.cases:
        done = {row["method"] for row in rows if row["key"] == key}
        missing = [name for name in names if name not in done]
        if not missing:
            continue
        case = CASES[key]()
        for name in missing:
            for row in run(case, name):
                row |= {"key": key, "case": case.name, "made": case.made}
                rows.append(row)
                append(args.records, row)
                print(row, flush=True)
    table = as_table(rows)
    print(table)
    if args.table:
        args.table.write_text(table, encoding="utf-8")


def run(case: Lesioned, name: str) -> list[dict]:
    """The rows that one method makes of a case; a peer's linear stage is a row of its own."""
    begun = time.process_time()
    if name == "best affine":
        found = {name: nearest_affine(case)}
    elif name in OURS:
        spec, told = OURS[name]
        ours, theirs = (torch.from_numpy(each) for each in (case.fixed_lesion, case.moving_lesion))
        pair = Pair(case.fixed, case.moving)
        pair = replace(pair, fixed_lesion=ours, moving_lesion=theirs) if told else pair
        found = {name: parse(spec).solve(pair).transform}
    else:
        found = by_tool(case, name, PEERS[name])
    seconds = time.process_time() - begun
    return [{"method": n, "seconds": round(seconds, 1), **scores(case, way)} for n, way in found.items()]


def nearest_affine(case: Lesioned) -> Affine:
    """The affine transform that comes nearest to the truth at the healthy places."""
    here = np.column_stack([case.healthy, np.ones(len(case.healthy))])
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(here, case.truth(case.healthy), rcond=None)[0].T
    return Affine(matrix)


def by_tool(case: Lesioned, name: str, told: bool) -> dict[str, Transform]:
    """What a peer finds, through files: all of it, and its linear stage."""
    tool = TOOLS[tool_name(name)]
    tool.load()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        masks = (out / "fixed_mask.nii.gz", out / "moving_mask.nii.gz")
        paths = (out / "fixed.nii.gz", out / "moving.nii.gz")
        job = Job(*paths, 3, case.multimodal, *(masks if told else ()))
        lesions = (case.fixed_lesion, case.moving_lesion)
        for image, lesion, path, mask in zip((case.fixed, case.moving), lesions, paths, masks):
            write_image(image, path)
            write_image(image.with_data(torch.from_numpy(~lesion)[None].float()), mask, like_dtype="uint8")
        tool.run(job, out)
        vectors = np.moveaxis(tool.displacement(job, out, read_image(job.fixed)[1]), -1, 0)
        whole = Displacement(torch.from_numpy(np.ascontiguousarray(vectors, np.float32)), case.fixed.grid)
        linear = name.replace(tool_name(name), f"{tool_name(name)}, linear stage")
        return {name: whole, linear: _linear_stage(out)}


def tool_name(name: str) -> str:
    """The tool's part of the name of a row."""
    return name.split(",", maxsplit=1)[0]


def _linear_stage(out: Path) -> Affine:
    from coincide.io import read_transform

    if (out / AFFINE).exists() and (out / "warp.nii.gz").exists():
        return Affine(np.loadtxt(out / AFFINE))
    found = read_transform(out / "0GenericAffine.mat")
    assert isinstance(found, Affine), "that is what it is"
    return found


def scores(case: Lesioned, way: Transform) -> dict[str, float]:
    """What a transform (fixed-world mm → moving-world mm) is worth."""
    lesion = Image(torch.from_numpy(case.moving_lesion.astype(np.uint8)), case.moving.grid, "label")
    grid = case.fixed.grid
    ours, true = (resample(lesion, t, grid, "nearest").numpy()[0] > 0 for t in (way, case.truth))
    middles = [grid.world(np.argwhere(each).mean(0)) for each in (ours, true) if each.any()]
    off = np.linalg.norm(way(case.healthy) - case.truth(case.healthy), axis=1)
    near = np.linalg.norm(case.healthy - middles[-1], axis=1) < _NEAR
    return {
        "centroid": float(np.linalg.norm(middles[0] - middles[-1])) if ours.any() else float("inf"),
        "dice": float(2 * (ours & true).sum() / (ours.sum() + true.sum())),
        "volume": float(100 * (ours.sum() / true.sum() - 1)),
        "near": float(off[near].mean()),
        "all": float(off.mean()),
    }


GROUPS = {
    "moved": ("moved0", "moved1", "moved2", "own3", "own4"),
    "bent": ("grown0", "grown1", "grown2", "own2", "own5"),
    "between series that lie on each other to 1.4 mm": ("own0", "own1"),
}
"""Cases by what their truth is."""


def as_table(rows: list[dict]) -> str:
    """Markdown: for each group of cases one table, methods down and cases across, linear ones first."""
    lines = []
    for told, keys in GROUPS.items():
        own = [row for row in rows if row["key"] in keys]
        shown = [key for key in keys if any(row["key"] == key for row in own)]
        names = {row["key"]: f"{row['case'].removesuffix(', moved')} ({row['made']})" for row in own}
        methods = list(dict.fromkeys(row["method"] for row in own))
        lines += [f"**{told}**", "", f"| method | {' | '.join(names[key] for key in shown)} | CPU s |"]
        lines.append("|---" * (len(shown) + 2) + "|")
        for method in sorted(methods, key=lambda m: "linear" not in m and "affine" not in m):
            mine = {row["key"]: row for row in own if row["method"] == method}
            cells = [_cell(mine[key]) if key in mine else "" for key in shown]
            seconds = np.mean([row["seconds"] for row in mine.values()])
            name = method.replace("ants_syn", "ANTs SyN")
            lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.0f} |")
        lines.append("")
    return "\n".join(lines)


def _cell(row: dict) -> str:
    return f"{row['centroid']:.2f}, {row['dice']:.2f}, {row['volume']:+.0f} %, {row['near']:.2f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
