"""A made-up shape with no symmetry, as masks, outlines and clouds of points, for methods that work on surfaces."""

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.pair import Pair
from coincide.transforms import rotation_matrix

PARTS = [  # centre mm, radii mm, angle of a turn about z: a trunk, two arms of different length, a knob
    ((0, 0, 0), (34, 20, 14), 12),
    ((27, 20, 6), (24, 8, 8), 55),
    ((-26, 14, -9), (17, 7, 6), 120),
    ((6, -22, 8), (9, 12, 9), 0),
]


def depth(world: np.ndarray) -> np.ndarray:
    """Positive inside the shape, negative outside, `(..., dim)` mm; about the distance from the surface near it."""
    dim = world.shape[-1]
    best = np.full(world.shape[:-1], -np.inf)
    for centre, radii, angle in PARTS:
        turn = rotation_matrix((0, 0, angle)[-1:] if dim == 2 else (0, 0, angle))
        apart = (world - np.array(centre[:dim])) @ turn / np.array(radii[:dim])
        best = np.maximum(best, (1 - np.linalg.norm(apart, axis=-1)) * min(radii[:dim]))
    return best


def grid_round(truth, dim: int, spacing, direction=None) -> Grid:
    """A grid that holds the shape moved by `truth` (fixed-world mm → moving-world mm), with room to spare."""
    direction = np.eye(dim) if direction is None else direction
    corners = np.stack(np.meshgrid(*[(-75.0, 75.0)] * dim, indexing="ij"), -1).reshape(-1, dim)
    local = (corners if truth is None else truth(corners * 0.85)) @ direction
    low, high = local.min(0), local.max(0)
    spacing = np.broadcast_to(np.asarray(spacing, float), (dim,))
    return Grid.from_spacing(
        tuple(np.ceil((high - low) / spacing).astype(int)), spacing, direction @ low, direction
    )


def masked_pair(
    dim: int, truth, spacing=None, moving_spacing=None, directions=(None, None), back=None
) -> Pair:
    """Two images whose masks are the shape, the moving one moved by `truth`; grey values say nothing."""
    spacing = (2.0 if dim == 2 else 3.0) if spacing is None else spacing
    moving_spacing = np.mean(spacing) * 1.1 if moving_spacing is None else moving_spacing
    fixed, moving = (
        grid_round(t, dim, s, d) for t, s, d in zip((None, truth), (spacing, moving_spacing), directions)
    )
    back = truth.inverse() if back is None else back
    masks = depth(fixed.points()) > 0, depth(back(moving.points())) > 0
    images = [
        Image(
            np.random.default_rng(n).normal(size=g.shape).astype(np.float32),
            g,
            mask=torch.from_numpy(m),
            name=name,
        )
        for n, (g, m, name) in enumerate(zip((fixed, moving), masks, ("fixed", "moving")))
    ]
    return Pair(*images)


def inside(dim: int, number: int = 400) -> np.ndarray:
    """Points in the shape, mm, `(number, dim)`."""
    points = np.random.default_rng(5).uniform(-60, 60, (number * 60, dim))
    return points[depth(points) > 0][:number]


def cloud(dim: int, number: int, seed: int) -> np.ndarray:
    """Points on the shape's surface, mm, `(number, dim)`; another seed gives other points of it."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-60, 60, (number * 120, dim))
    near = points[np.abs(depth(points)) < 1.5][: 2 * number]
    for _ in range(8):  # down or up the slope onto the surface
        step = np.eye(dim) * 0.1
        value = depth(near)
        slope = np.stack([(depth(near + s) - value) / 0.1 for s in step], axis=-1)
        near = near - (value / np.maximum((slope**2).sum(-1), 1e-3))[:, None] * slope
    return near[np.abs(depth(near)) < 0.05][:number]


def error_of(transform, truth, dim: int) -> float:
    """Mean distance between where two transforms put the shape, mm."""
    points = inside(dim)
    return float(np.linalg.norm(transform(points) - truth(points), axis=1).mean())


class Bent:
    """A known smooth warp of a few mm after `linear`, fixed-world mm → moving-world mm, and the way back."""

    def __init__(self, linear, amplitude: float = 5.0):
        self.linear, self.amplitude = linear, amplitude

    def __call__(self, points):
        dim = points.shape[-1]
        waves = [np.sin(points[..., (d + 1) % dim] / 24 + d) for d in range(dim)]
        return self.linear(points) + self.amplitude * np.stack(waves, axis=-1)

    def back(self, points):
        """Where points of the moving world come from, by fixed-point iteration."""
        undo = self.linear.inverse()
        found = undo(points)
        for _ in range(40):
            found = found - 0.7 * (undo(self(found)) - undo(points))
        return found
