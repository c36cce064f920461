"""What is known about a registration of the verdict's experiment, from outside."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from coincide.measures.distance import target_registration_error
from coincide.measures.jacobian import folding, jacobian_maps
from coincide.measures.overlap import dice, present
from coincide.methods.base import Solution
from coincide.pair import Pair
from coincide.transforms.linear import Affine
from coincide.transforms.resample import resample

FOLDER = Path(__file__).resolve().parents[2] / "bench-cache" / "verdict"


def truth(pair: Pair, solution: Solution) -> dict:
    """Mean error of known points (mm), mean Dice of labels, where there are any; and the field's measures."""
    found: dict = {"measures": {"field": folding(jacobian_maps(solution.transform, pair.fixed.grid))}}
    if pair.fixed_points and pair.moving_points:
        found["tre_before"] = float(target_registration_error(pair.fixed_points, pair.moving_points).mean())
        errors = target_registration_error(pair.fixed_points, pair.moving_points, solution.transform)
        found["tre"] = float(errors.mean())
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        fixed = pair.fixed_labels.numpy()[0]
        carried = resample(pair.moving_labels, solution.transform, pair.fixed_labels.grid, "nearest")
        shared = np.intersect1d(present(fixed), present(pair.moving_labels.numpy()[0]))
        found["dice"] = float(np.mean(list(dice(fixed, carried.numpy()[0], shared).values())))
    return found


@cache
def ants_rigid(fixed: Path, moving: Path) -> Affine:
    """What ANTs finds between two files (fixed-world mm → moving-world mm); kept in `FOLDER`."""
    kept = FOLDER / "ants-rigid.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    name = f"{fixed.name} {moving.name}"
    if name not in known:
        import ants

        images = [ants.image_read(str(path)) for path in (fixed, moving)]
        found = ants.registration(*images, type_of_transform="Rigid", random_seed=1)
        transform = ants.read_transform(found["fwdtransforms"][0])
        lps = np.diag([-1.0, -1.0, 1.0])
        images_of = np.array([transform.apply_to_point(p) for p in np.vstack([np.zeros(3), lps * 100])]) @ lps
        matrix = np.eye(4)
        matrix[:3, 3] = images_of[0]
        matrix[:3, :3] = (images_of[1:] - images_of[0]).T / 100
        FOLDER.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(known | {name: matrix.tolist()}, indent=1))
        return Affine(matrix)
    return Affine(np.array(known[name]))
