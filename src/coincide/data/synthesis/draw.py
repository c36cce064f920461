"""One pair of pictures with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.data.synthesis.anatomy import Anatomy
from coincide.data.synthesis.artefacts import imaged
from coincide.data.synthesis.contrast import coloured
from coincide.data.synthesis.film import radiograph
from coincide.data.synthesis.kinds import TUMOUR, maker
from coincide.data.synthesis.motion import preimages, random_affine, random_flow
from coincide.data.synthesis.recipe import Synthesis
from coincide.data.synthesis.structures import TISSUES, TUMOUR_LABELS, in_brain, tissue_numbers
from coincide.data.synthesis.tumour import Grown, Terrain, grow
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample, sampler
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.base import Transform
from coincide.transforms.chain import chain
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine
from coincide.transforms.resample import positions


@dataclass(frozen=True, eq=False)
class Example:
    """A pair whose truth is known.

    Args:
        pair: images of different contrast, their labels, and landmarks. An image has a mask where its field of view
            is cropped; its labels are whole all the same. What is stripped off a head has no labels either.
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
    streams = np.random.SeedSequence(seed).spawn(7)
    choice, body, motion, marks, *imaging, illness = (np.random.default_rng(s) for s in streams)
    grid = recipe.grid
    name = recipe.anatomies[int(choice.integers(len(recipe.anatomies)))]
    anatomy = maker(name, recipe.maps)(body, grid)
    pose, lie = random_affine(body, recipe.pose, grid.centre), random_flow(body, recipe.shape_bend, grid)
    linear, flow = random_affine(motion, recipe.motion, grid.centre), random_flow(motion, recipe.bend, grid)
    to_anatomy = chain(pose, lie) if lie else pose
    look_up = sampler(torch.from_numpy(anatomy.labels)[None], "label")
    here, ill = positions(to_anatomy, grid, 0, grid.shape[0], anatomy.grid), None
    if name == TUMOUR:
        ill = grow(illness, recipe.tumour, _terrain(look_up(here).numpy()[0]), grid)
    if ill is not None:
        to_anatomy = chain(to_anatomy, ill.pull)
        here = positions(to_anatomy, grid, 0, grid.shape[0], anatomy.grid)
    flows = [each for each in (flow, ill and ill.change) if each is not None]
    truth, origins = chain(linear, *flows), _origins(linear, flows, grid)
    there = _index(anatomy.grid, to_anatomy, origins)
    labels = [Image(look_up(index), grid, "label", name=f"{name} {seed}, labels") for index in (here, there)]
    if ill is not None:
        labels = [with_tumour(labels[0], ill), with_tumour(labels[1], ill, origins)]
    if name in ("head", TUMOUR):
        labels = [stripped(image) if choice.random() < recipe.strip else image for image in labels]
    palettes = [int(p) for p in choice.integers(2**62, size=2)]
    if choice.random() < recipe.alike:
        palettes[1] = palettes[0]
    images = [
        _image(rng, palette, recipe, anatomy, index, seen)
        for rng, palette, index, seen in zip(imaging, palettes, (here, there), labels)
    ]
    points = _landmarks(marks, recipe.points, labels[0], labels[1], truth)
    pair = Pair(images[0], images[1], labels[0], labels[1], *points)
    return Example(pair, truth, name, seed)


def _image(
    rng: np.random.Generator, palette: int, recipe: Synthesis, anatomy: Anatomy, index: Tensor, labels: Image
) -> Image:
    """What imaging makes of the anatomy at positions `index` (`(dim, *shape)`, voxels of the anatomy's grid)."""
    paint = np.random.default_rng(palette)
    detail = sample(torch.from_numpy(anatomy.detail), index)[0].numpy()
    if anatomy.layers is None:
        sharp = coloured(paint, recipe.contrast, labels.numpy()[0], detail)
    else:
        layers = sample(torch.from_numpy(anatomy.layers), index).numpy()
        sharp = radiograph(paint, layers, anatomy.matters, detail)
    picture, inside = imaged(rng, recipe.artefacts, sharp)
    mask = None if inside is None else torch.from_numpy(inside)
    return Image(torch.from_numpy(picture), labels.grid, mask=mask, name=labels.name.removesuffix(", labels"))


def _terrain(labels: np.ndarray) -> Terrain:
    """What a tumour finds to grow in."""
    tissue, inside = tissue_numbers()[labels], in_brain()[labels]
    white, fluid = (TISSUES.index(name) + 1 for name in ("white", "fluid"))
    return Terrain(inside, inside & (tissue == white), inside & (tissue == fluid))


def with_tumour(labels: Image, ill: Grown, origins: np.ndarray | None = None) -> Image:
    """`labels` with the tumour; at the later time, where `origins` tell from where in the fixed world they come."""
    places = np.moveaxis(labels.grid.points(), -1, 0) if origins is None else origins
    values = torch.from_numpy(np.array([0, *TUMOUR_LABELS], np.int16))
    part = torch.from_numpy(ill.parts(places, origins is not None).astype(np.int64))[None]
    return labels.with_data(torch.where(part > 0, values[part], labels.data))


def stripped(labels: Image) -> Image:
    """The labels of a head without what lies outside of the brain."""
    keep = torch.from_numpy(in_brain())
    return labels.with_data(torch.where(keep[labels.data.long()], labels.data, 0))


def _origins(linear: Affine, flows: Sequence[Displacement], grid: Grid) -> np.ndarray:
    """Where in the fixed world (mm, `(dim, *shape)`) the voxels of the moving image come from."""
    target = positions(linear.inverse(), grid, 0, grid.shape[0]).numpy()
    for flow in flows:
        target = preimages(flow, target)
    return target


def _index(grid: Grid, transform: Transform, world: np.ndarray) -> Tensor:
    """Positions in `grid` (voxels) that `transform` carries `world` (mm) to, both `(dim, *shape)`."""
    flat = world.reshape(len(world), -1).T
    index = grid.index(transform(flat))
    return torch.from_numpy(np.ascontiguousarray(index.T)).reshape(world.shape)


def _landmarks(
    rng: np.random.Generator, number: int, labels: Image, moving: Image, truth: Transform
) -> tuple[Points | None, Points | None]:
    """Places in the anatomy, those first that the moving image shows too; none where there is no anatomy.

    What a tumour has taken the place of is in neither.
    """
    inside = np.flatnonzero(_lasting(labels.numpy()[0]))
    if number == 0 or len(inside) == 0:
        return None, None
    grid = labels.grid
    chosen = rng.choice(inside, 4 * number)
    index = np.stack(np.unravel_index(chosen, grid.shape), -1) + rng.uniform(
        -0.5, 0.5, (4 * number, grid.dim)
    )
    world = grid.world(index)
    there = torch.from_numpy(np.ascontiguousarray(grid.index(truth(world)).T))
    seen = _lasting(sample(moving.data, there, "nearest")[0].numpy())
    order = np.argsort(~seen, kind="stable")[:number]
    fixed = Points(world[order])
    return fixed, fixed.mapped(truth)


def _lasting(labels: np.ndarray) -> np.ndarray:
    """Where there is anatomy, and no core of a tumour."""
    return (labels > 0) & ~np.isin(labels, TUMOUR_LABELS[:2])
