"""One pair of pictures with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coincide.data.synthesis.anatomy import Anatomy
from coincide.data.synthesis.artefacts import imaged
from coincide.data.synthesis.contrast import coloured
from coincide.data.synthesis.kinds import ANATOMIES
from coincide.data.synthesis.motion import Flow, random_affine, random_flow
from coincide.data.synthesis.recipe import Synthesis
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.base import Transform
from coincide.transforms.chain import chain
from coincide.transforms.linear import Affine
from coincide.transforms.resample import positions


@dataclass(frozen=True, eq=False)
class Example:
    """A pair whose truth is known.

    Args:
        pair: images of different contrast, their labels, and landmarks.
        truth: fixed-world mm → moving-world mm: the linear part after a diffeomorphism.
        anatomy: what was pictured.
        seed: what it was drawn from.
    """

    pair: Pair
    truth: Transform
    anatomy: str
    seed: int


def draw(recipe: Synthesis, seed: int) -> Example:
    """The pair that `recipe` and `seed` (0 or more) stand for; the same in any process."""
    # streams of their own: another range of artefacts leaves anatomy and truth as they were
    streams = np.random.SeedSequence(seed).spawn(6)
    choice, shape, motion, marks, first, second = (np.random.default_rng(s) for s in streams)
    grid = _centred(recipe)
    name = recipe.anatomies[int(choice.integers(len(recipe.anatomies)))]
    anatomy = ANATOMIES[name](shape, grid)
    pose = random_affine(shape, recipe.pose, grid.centre)
    lie = random_flow(shape, recipe.shape_bend, grid)
    linear = random_affine(motion, recipe.motion, grid.centre)
    flow = random_flow(motion, recipe.bend, grid)
    truth = chain(linear, flow.forward) if flow else linear
    to_anatomy = chain(pose, lie.forward) if lie else pose
    here = positions(to_anatomy, grid, 0, grid.shape[0], anatomy.grid)
    there = _index(anatomy.grid, to_anatomy, _origins(linear, flow, grid))
    fixed_labels, moving_labels = (_labels(anatomy, index) for index in (here, there))
    alike = choice.random() < recipe.alike
    palettes = [int(choice.integers(2**62)) for _ in range(2)]
    images = []
    for rng, labels, index, palette in zip(
        (first, second), (fixed_labels, moving_labels), (here, there), palettes
    ):
        paint = np.random.default_rng(palettes[0] if alike else palette)
        detail = sample(torch.from_numpy(anatomy.detail), index)[0].numpy()
        sharp = coloured(paint, recipe.contrast, labels, detail)
        images.append(imaged(rng, recipe.artefacts, sharp))
    points = _landmarks(marks, recipe.points, fixed_labels, grid, truth)
    pair = Pair(
        Image(torch.from_numpy(images[0]), grid, name=f"{name} {seed}, fixed"),
        Image(torch.from_numpy(images[1]), grid, name=f"{name} {seed}, moving"),
        Image(torch.from_numpy(fixed_labels), grid, "label", name=f"{name} {seed}, fixed labels"),
        Image(torch.from_numpy(moving_labels), grid, "label", name=f"{name} {seed}, moving labels"),
        *points,
    )
    return Example(pair, truth, name, seed)


def _centred(recipe: Synthesis) -> Grid:
    origin = -(np.asarray(recipe.shape) - 1) / 2 * recipe.spacing
    return Grid.from_spacing(recipe.shape, recipe.spacing, origin)


def _origins(linear: Affine, flow: Flow | None, grid: Grid) -> torch.Tensor:
    """Where in the fixed world (mm, `(dim, *shape)`) the voxels of the moving image come from."""
    back = linear.inverse()
    target = positions(back, grid, 0, grid.shape[0])
    if flow is None:
        return target
    at = positions(chain(flow.backward, back), grid, 0, grid.shape[0])
    # the flow back is the inverse up to interpolation; one step of iteration takes most of what is left
    index = _world_to_index(flow.forward.grid, at)
    return target - sample(flow.forward.vectors, index, outside="zero")


def _world_to_index(grid: Grid, world: torch.Tensor) -> torch.Tensor:
    matrix = torch.from_numpy(grid.inverse_affine)
    shift = matrix[:-1, -1].reshape(-1, *[1] * grid.dim)
    return torch.einsum("ij,j...->i...", matrix[:-1, :-1], world) + shift


def _index(grid: Grid, transform: Transform, world: torch.Tensor) -> torch.Tensor:
    """Positions in `grid` (voxels) that `transform` carries `world` (mm) to, both `(dim, *shape)`."""
    flat = world.reshape(len(world), -1).T.numpy()
    index = grid.index(transform(flat))
    return torch.from_numpy(np.ascontiguousarray(index.T)).reshape(world.shape)


def _labels(anatomy: Anatomy, index: torch.Tensor) -> np.ndarray:
    return sample(torch.from_numpy(anatomy.labels)[None], index, "label")[0].numpy()


def _landmarks(
    rng: np.random.Generator, number: int, labels: np.ndarray, grid: Grid, truth: Transform
) -> tuple[Points | None, Points | None]:
    """Places in the anatomy that both images show, or as many of them as can be."""
    inside = np.flatnonzero(labels)
    if number == 0 or len(inside) == 0:
        return None, None
    chosen = rng.choice(inside, 4 * number)
    index = np.stack(np.unravel_index(chosen, labels.shape), -1) + rng.uniform(
        -0.5, 0.5, (4 * number, grid.dim)
    )
    world = grid.world(index)
    seen = grid.inside(truth(world))
    order = np.argsort(~seen, kind="stable")[:number]
    fixed = Points(world[order])
    return fixed, fixed.mapped(truth)
