"""What the transforms of a series say of its motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coincide.grid import Grid
from coincide.transforms.base import Transform

_MOST = 2000
_PROBES = 5
"""Places along each axis of the field of view at which motion is looked at."""


def motion(
    transforms: Sequence[Transform], grid: Grid, anatomy: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Courses over the frames, `(frame,)` each.

    The linear part of a transform is the affine one that fits it best over the inner half of the field of view.

    Args:
        transforms: reference-world mm → frame-world mm.
        grid: of the reference.
        anatomy: places of what moves, `(number, dim)` reference-world mm.

    Returns:
        `x_mm`, `y_mm` (and `z_mm`): how far the middle moves. `rotation_deg`, about whatever axis; counter-clockwise in
        2-D. `scale`: by which lengths grow. `displacement_mm`: mean over places of the inner half. `step_mm`: likewise
        from the frame before, 0 for the first. `jitter_mm`: likewise the second difference, 0 for first and last.
        Where the anatomy is given: `anatomy_mm`, mean over it of how far places move, and `bending_mm`, of how far from
        the affine transform that fits all of them best.
    """
    places, middle = _places(grid), grid.centre
    tracks = np.stack([transform(places) for transform in transforms])
    linear = np.stack([_linear(places - middle, track) for track in tracks])
    moved = np.stack([transform(middle[None])[0] for transform in transforms]) - middle
    found = {f"{axis}_mm": moved[:, n] for n, axis in enumerate("xyz"[: grid.dim])}
    found["rotation_deg"] = np.array([_rotation(matrix) for matrix in linear])
    found["scale"] = np.abs(np.linalg.det(linear)) ** (1 / grid.dim)
    found["displacement_mm"] = np.linalg.norm(tracks - places, axis=-1).mean(1)
    step = np.linalg.norm(np.diff(tracks, axis=0), axis=-1).mean(1)
    shake = np.linalg.norm(np.diff(tracks, n=2, axis=0), axis=-1).mean(1)
    found["step_mm"] = np.concatenate([[0.0], step])
    found["jitter_mm"] = np.concatenate([[0.0], shake, [0.0]])
    if anatomy is not None:
        tracks = np.stack([transform(anatomy) for transform in transforms])
        found["anatomy_mm"] = np.linalg.norm(tracks - anatomy, axis=-1).mean(1)
        fits = np.stack([(anatomy - anatomy.mean(0)) @ _linear(anatomy, t).T + t.mean(0) for t in tracks])
        found["bending_mm"] = np.linalg.norm(tracks - fits, axis=-1).mean(1)
    return found


def places_of(anatomy: np.ndarray, grid: Grid) -> np.ndarray:
    """Up to about 2000 places, evenly spread, of what `anatomy` `(*shape)` bool holds, `(number, dim)` mm."""
    every = max(1, round((anatomy.sum() / _MOST) ** (1 / grid.dim)))
    coarse = np.zeros_like(anatomy)
    coarse[(slice(every // 2, None, every),) * grid.dim] = True
    return grid.world(np.argwhere(anatomy & coarse))


def _places(grid: Grid) -> np.ndarray:
    """Places of the inner half of the field of view, `(number, dim)` mm."""
    axes = [np.linspace(0.25, 0.75, _PROBES) * (n - 1) for n in grid.shape]
    return grid.world(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, grid.dim))


def _linear(places: np.ndarray, track: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(places - places.mean(0), track - track.mean(0), rcond=None)[0].T


def _rotation(matrix: np.ndarray) -> float:
    """Degrees of the rotation nearest to `matrix`."""
    u, _, vt = np.linalg.svd(matrix)
    turn = u @ vt
    if len(matrix) == 2:
        return float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
