"""Vessels that branch."""

from __future__ import annotations

import numpy as np

Branch = tuple[np.ndarray, np.ndarray, tuple[float, float]]


def branches(
    rng: np.random.Generator, start, way, length: float, radius: float, generations: int
) -> list[Branch]:
    """A tree of vessels as round cones: start, end (mm) and the radii there.

    Each branch ends in two, which turn aside by 20° to 50°, are a quarter shorter, and whose radii's cubes add up to
    the parent's.

    Args:
        rng: for its shape.
        start: of the trunk, mm.
        way: it goes.
        length: of the trunk, mm.
        radius: of the trunk, mm.
        generations: how often it branches.

    Source: Murray, "The physiological principle of minimum work" (1926), doi:10.1073/pnas.12.3.207.
    """
    start, way = np.asarray(start, dtype=np.float64), np.asarray(way, dtype=np.float64)
    way = way / np.linalg.norm(way)
    end = start + way * length * rng.uniform(0.8, 1.2)
    share = rng.uniform(0.35, 0.65)
    radii = [radius * share ** (1 / 3), radius * (1 - share) ** (1 / 3)]
    tree = [(start, end, (radius, max(radii)))]
    if generations == 0:
        return tree
    aside = np.cross(way, rng.standard_normal(3))
    aside /= np.linalg.norm(aside)
    for turn, child in zip((1, -1), radii):
        angle = turn * np.deg2rad(rng.uniform(20, 50))
        tree += branches(
            rng, end, np.cos(angle) * way + np.sin(angle) * aside, 0.75 * length, child, generations - 1
        )
    return tree
