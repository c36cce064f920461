"""The hand pairs once more, with the moving header turned about the middle of its image."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

ANGLES = (60, -60, 180)


def turned_pairs(case, folder: Path) -> list:
    """`case` with its moving image and points turned by each of `ANGLES` (degrees, counter-clockwise).

    Only the header turns; the files are written once to `folder`.
    """
    return [_turned(case, angle, folder) for angle in ANGLES]


def _turned(case, angle: int, folder: Path):
    name = f"{case.name}_turn{angle}"
    moving, points = folder / f"{name}_moving.nii.gz", folder / f"{name}_points.csv"
    if not (moving.exists() and points.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        motion = _turn_image(case.moving, angle, moving)
        _turn_points(case.moving_points, motion, points)
    return replace(case, name=name, task="hand_xray_turned", moving=moving, moving_points=points)


def _turn_image(source: Path, angle: int, target: Path):
    """Write `source` with its header turned; returns the motion as a 4x4 matrix in the header's world."""
    import nibabel as nib
    import numpy as np

    image = nib.load(source)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    motion = np.eye(4)
    motion[:2, :2] = [[c, -s], [s, c]]
    middle = np.zeros(4)
    middle[: len(image.shape)] = (np.asarray(image.shape) - 1) / 2
    middle[3] = 1
    centre = (image.affine @ middle)[:3]
    motion[:3, 3] = centre - motion[:3, :3] @ centre
    turned = nib.Nifti1Image(np.asanyarray(image.dataobj), motion @ image.affine, image.header)
    turned.set_sform(motion @ image.affine, 1)
    turned.set_qform(motion @ image.affine, 1)
    beside = target.with_name("part_" + target.name)
    nib.save(turned, beside)
    beside.rename(target)
    return motion


def _turn_points(source: Path, motion, target: Path) -> None:
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "x", "y"])
        for row in rows:
            x, y = motion[:2, :2] @ [float(row["x"]), float(row["y"])] + motion[:2, 3]
            writer.writerow([row["name"], f"{x:.6f}", f"{y:.6f}"])
