"""Score one saved transform: `python -m benchmarks.evaluate CASES CACHE CASE METHOD OUT` prints JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, read_cases
from benchmarks.geometry import Lattice, read_image, read_labels, read_points
from benchmarks.methods import TOOLS, is_own
from benchmarks.peers.base import AbstractTool, Job
from benchmarks.peers.own import verdict
from benchmarks.scores import dice, folding, landmark_errors, round_trip, summary, warp_labels


def evaluate(case: Case, tool: AbstractTool, out: Path) -> dict:
    """The scores of the transform that `tool` saved in `out`."""
    job = Job(case.fixed, case.moving, case.dim, case.multimodal)
    fixed = read_image(case.fixed)[1]
    displacement = tool.displacement(job, out, fixed)
    mask = _mask(case.fixed_mask)
    return {
        **overlap(case, displacement, fixed),
        **landmarks(case, displacement, fixed),
        **folding(displacement, fixed, mask),
        **inverse_residual(case, tool.maps(job, out), fixed, mask),
        "moved_mean_mm": float(np.linalg.norm(displacement, axis=-1).mean()),
    }


def overlap(case: Case, displacement: np.ndarray, fixed: Lattice) -> dict:
    """Mean Dice over the labels that both images hold."""
    if case.fixed_labels is None or case.moving_labels is None:
        return {}
    moving, lattice = read_labels(case.moving_labels)
    warped = warp_labels(moving, lattice, displacement, fixed)
    per_label = dice(read_labels(case.fixed_labels)[0], warped, np.unique(moving))
    return {"dice": float(np.mean(list(per_label.values()))), "labels": len(per_label)}


def landmarks(case: Case, displacement: np.ndarray, fixed: Lattice) -> dict:
    """Landmark error over all points, and by group where names begin `<group>_`."""
    if case.fixed_points is None or case.moving_points is None:
        return {}
    names, start = read_points(case.fixed_points)
    errors = landmark_errors(displacement, fixed, start, read_points(case.moving_points)[1])
    groups = [name.rsplit("_", 1)[0] if "_" in name else "" for name in names]
    apart = {g: summary(errors[[h == g for h in groups]]) for g in dict.fromkeys(groups) if g}
    return {"tre": summary(errors), "tre_groups": apart if len(apart) > 1 else {}}


def inverse_residual(case: Case, maps, fixed: Lattice, mask: np.ndarray | None) -> dict:
    """How far there and back ends from the start, from either side."""
    if maps is None:
        return {}
    there, back = maps
    moving = read_image(case.moving)[1]
    return {
        "inverse_fixed": round_trip(there, back, fixed, moving, mask),
        "inverse_moving": round_trip(back, there, moving, fixed, _mask(case.moving_mask)),
    }


def _mask(path: Path | None) -> np.ndarray | None:
    return None if path is None else read_image(path)[0] > 0


def main() -> None:
    cases, cache, name, method, out = sys.argv[1:]
    case = next(c for c in read_cases(Path(cases), Path(cache)) if c.name == name)
    scores = evaluate(case, TOOLS[method], Path(out))
    if is_own(method):
        scores["verdict"] = verdict(Path(out))
    print("SCORES " + json.dumps(scores))


if __name__ == "__main__":
    main()
