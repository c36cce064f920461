"""A made-up head with no symmetry, in 2-D and 3-D, and pairs of pictures of it that are known warps of each other."""

import itertools

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.pair import Pair
from coincide.transforms.linear import about, rotation_matrix, similarity

PARTS = [  # centre mm, radii mm, angle of a turn about z, what it adds to the brightness inside
    ((0, 0, 0), (56, 68, 52), 8, 0.45),
    ((2, 1, 3), (50, 61, 46), 8, 0.30),
    ((-14, 8, 10), (8, 20, 7), 25, -0.45),
    ((11, 14, 6), (5, 15, 9), -20, -0.40),
    ((20, -26, -12), (15, 10, 13), 10, 0.20),
    ((-24, -30, -6), (9, 14, 8), 40, 0.25),
    ((-28, 24, -16), (12, 7, 10), 0, -0.25),
    ((26, 30, 14), (8, 11, 15), -35, 0.22),
    ((4, 62, -16), (9, 13, 9), 0, 0.40),
]
SHIFT, ANGLES = (6.0, -4.0, 3.0), (7.0, -11.0, 5.0)


def head(world: np.ndarray) -> np.ndarray:
    """Brightness of the head at `world` positions, mm, `(..., dim)`; from 0 in air to about 1."""
    dim = world.shape[-1]
    total = np.zeros(world.shape[:-1])
    for centre, radii, angle, brightness in PARTS:
        turn = rotation_matrix((0, 0, angle)[-1:] if dim == 2 else (0, 0, angle))
        apart = (world - np.array(centre[:dim])) @ turn / np.array(radii[:dim])
        # a soft edge of 12 mm: a sharper one looks different on every lattice, and this is no test of interpolation
        distance = (np.linalg.norm(apart, axis=-1) - 1) * min(radii[:dim])
        t = np.clip(0.5 - distance / 12, 0, 1)
        total += brightness * t**2 * (3 - 2 * t)
    return total * (1 + 0.14 * texture(world))


def texture(world: np.ndarray) -> np.ndarray:
    """Smooth waves of 24 to 36 mm that repeat nowhere, from −1 to 1."""
    waves = [
        ((0.23, 0.11, -0.17), 0.3),
        ((-0.13, 0.29, 0.08), 1.9),
        ((0.07, -0.19, 0.31), 4.1),
        ((0.33, 0.2, 0.14), 2.7),
    ]
    total = np.zeros(world.shape[:-1])
    for k, phase in waves:
        total += np.sin(0.6 * world @ np.array(k[: world.shape[-1]]) + phase)
    return total / len(waves)


def other_contrast(values: np.ndarray) -> np.ndarray:
    """The head as another modality shows it: neither rising nor falling with the brightness."""
    # rises, and falls again from 0.5 on: brighter in fluid than in tissue, air stays dark
    return 1.1 - 2 * np.sqrt((values - 0.5) ** 2 + 0.01) + 0.2 * np.sqrt(values**2 + 0.01)


def inverted_contrast(values: np.ndarray) -> np.ndarray:
    """The head with dark and bright exchanged, air included."""
    return 1.2 - 0.8 * values


def picture(grid: Grid, backward=None, contrast=None, name="image", noise=0.004) -> Image:
    """The head on `grid`, as seen through `backward` (from this picture's world to the head's own, mm)."""
    world = grid.points()
    values = head(world if backward is None else backward(world))
    values = values if contrast is None else contrast(values)
    values = 400 * values + 400 * noise * np.random.default_rng(len(name)).standard_normal(grid.shape)
    return Image(torch.from_numpy(values.astype(np.float32)), grid, name=name)


def direction_of(code) -> np.ndarray:
    """Direction matrix of an axis code such as `(2, 0, 1), (1, -1, 1)`: index axis i runs along ±world axis."""
    order, signs = code
    matrix = np.zeros((len(order), len(order)))
    for axis, (world, sign) in enumerate(zip(order, signs)):
        matrix[world, axis] = sign
    return matrix


def axis_codes(dim: int) -> list:
    """All ways to lay index axes along world axes: 48 in 3-D, 8 in 2-D."""
    return list(itertools.product(itertools.permutations(range(dim)), itertools.product((1, -1), repeat=dim)))


def code_name(code) -> str:
    """`RAS` and its kin."""
    order, signs = code
    return "".join(("LR", "PA", "IS")[world][sign > 0] for world, sign in zip(order, signs))


def grid_around(
    dim: int, spacing=3.0, direction=None, extent=(150, 172, 144), centre=(1.0, 5.0, -2.0)
) -> Grid:
    """A grid that holds the head with room to spare, its axes along the columns of `direction`."""
    direction = np.eye(dim) if direction is None else direction
    spacing = np.broadcast_to(np.asarray(spacing, dtype=float), (dim,))
    # the extent is the world's; an index axis gets that of the world axis it is nearest to
    reach = np.abs(direction).T @ np.array(extent[:dim])
    shape = np.ceil(reach / spacing).astype(int)
    origin = np.array(centre[:dim]) - direction @ ((shape - 1) / 2 * spacing)
    return Grid.from_spacing(tuple(shape), spacing, origin, direction)


def known(dim: int, scale: float = 1.0):
    """The known motion: (6, −4, 3) mm and (7, −11, 5)° about a point off the middle; fixed to moving world."""
    angles = ANGLES if dim == 3 else ANGLES[1:2]
    return similarity(angles, SHIFT[:dim], scale, (3.0, -5.0, 4.0)[:dim])


def known_affine(dim: int):
    """The known motion with some shear and stretch on top."""
    stretch = np.array([[1.04, 0.05, -0.02], [-0.03, 0.95, 0.04], [0.02, -0.03, 1.06]])[:dim, :dim]
    return known(dim) @ about(stretch, np.zeros(dim), (3.0, -5.0, 4.0)[:dim])


def known_pair(fixed: Grid, moving: Grid, truth, contrast=None) -> Pair:
    """Two pictures of the head, the moving one moved by `truth` (fixed-world mm → moving-world mm)."""
    back = truth.inverse()
    return Pair(picture(fixed, name="fixed"), picture(moving, back, contrast, name="moving"))


def anatomy(grid: Grid) -> np.ndarray:
    """World positions of the voxels of `grid` that show the head, mm, `(number, dim)`."""
    world = grid.points()
    return world[head(world) > 0.2]


def error_mm(transform, truth, grid: Grid) -> float:
    """Mean distance between where two transforms put the head's voxels, mm."""
    points = anatomy(grid)
    return float(np.linalg.norm(transform(points) - truth(points), axis=1).mean())


# steps whose defaults do little on voxels of 5 to 9 mm, with radii and widths that reach beyond them
STEP_SPECS = {
    "mean": "mean:radius=9",
    "median": "median:radius=9",
    "gaussian": "gaussian:sigma=7",
    "bilateral": "bilateral:sigma=6",
    "unsharp": "unsharp:sigma=6",
    "deconvolve": "deconvolve:fwhm=9",
    "speckle": "speckle:sigma=7",
    "match": "match:reference=other",
    "resample": "resample:spacing=4x7x5",
    "thin": "thin:factor=2,rounds=1",
    "grow": "grow:seeds=10x-10x0,smooth=4",
    "snap": "threshold | snap:reach=8",
    "largest": "threshold | largest",
    "enclosed": "threshold:keep=dark | enclosed",
    "fill": "threshold | fill",
    "morphology": "threshold | morphology:action=open,radius=9",
    "crop": "threshold:at=300 | crop:margin=7",
}
