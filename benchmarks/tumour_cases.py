"""Real brains with lesions under known transforms: their own, or ones that are grown into them (semi-synthetic)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from benchmarks.cases import DEFAULT_CASES
from coincide.api import open_image
from coincide.data.synthesis.motion import Bend, Motion, preimages, random_affine, random_flow
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.tumour import NECROSIS, OEDEMA, RIM, Grown, Terrain, Tumour, grow
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample
from coincide.transforms.base import Transform
from coincide.transforms.chain import chain
from coincide.transforms.linear import Affine
from coincide.transforms.resample import positions

DATA = DEFAULT_CASES.parent
_TURNED, _BENT = Motion(8, 8, 0.04, 0.01), Bend(6.0, (60.0, 30.0))
NAMES = {"t1n": "T1", "t1c": "T1c", "t2f": "FLAIR"}
_WHITE, _FLUID = (44, 45), (4, 11, 49, 50, 51, 52)
"""Labels of the brain data: white matter, ventricles."""


@dataclass(frozen=True, eq=False)
class Lesioned:
    """A pair whose lesions and truth are known.

    Args:
        name: of the case.
        made: where the lesion comes from, a word.
        multimodal: whether the images differ in contrast.
        fixed: image.
        moving: image.
        fixed_lesion: `(*shape)` bool.
        moving_lesion: likewise.
        truth: fixed-world mm → moving-world mm.
        healthy: `(number, 3)` fixed-world mm, places outside of the lesions.
    """

    name: str
    made: str
    multimodal: bool
    fixed: Image
    moving: Image
    fixed_lesion: np.ndarray
    moving_lesion: np.ndarray
    truth: Transform
    healthy: np.ndarray


def grown_case(person: str, seed: int, growth: float, bends: bool = True) -> Lesioned:
    """Follow-up of a tumour grown into a brain.

    Args:
        person: whose brain.
        seed: of tumour, motion and noise.
        growth: the later radius as a share of the earlier one.
        bends: whether the brain is bent besides; else all that moves is the head, and what the tumour pushes aside.
    """
    rng = np.random.default_rng(seed)
    image = open_image(DATA / "brain" / f"{person}_t1.nii.gz", DATA / "brain" / f"{person}_mask.nii.gz")
    labels = open_image(DATA / "brain" / f"{person}_labels.nii.gz", kind="label").numpy()[0]
    assert image.mask is not None, "it was given"
    brain = image.mask.numpy()
    terrain = Terrain(brain, np.isin(labels, _WHITE), np.isin(labels, _FLUID))
    tumour = Tumour((11, 18), (growth, growth), (0.25, 0.5), (8, 20), (0.3, 0.5))
    ill = grow(rng, tumour, terrain, image.grid)
    assert ill is not None, "there is white matter"
    bright = float(np.median(image.numpy()[0][terrain.white]))
    here = np.moveaxis(image.grid.points(), -1, 0)
    fixed, lesion = _seen(image, ill, here, False, bright, rng)
    linear, flow = random_affine(rng, _TURNED, image.grid.centre), random_flow(rng, _BENT, image.grid)
    flows = [each for each in (flow if bends else None, ill.change) if each is not None]
    grid = _grid_of(image.grid, linear)
    origins = positions(linear.inverse(), grid, 0, grid.shape[0]).numpy()
    for each in flows:
        origins = preimages(each, origins)
    moving, later = _seen(image, ill, origins, True, bright, rng)
    moving = Image(torch.from_numpy(moving), grid, name=f"{person}, later")
    return Lesioned(
        f"{person}, {growth:g}×" + ("" if bends else ", moved"),
        "grown",
        False,
        Image(torch.from_numpy(fixed), image.grid, name=person),
        moving,
        lesion > 0,
        later > 0,
        chain(linear, *flows),
        _healthy(rng, image.grid, brain, lesion > 0, chain(linear, *flows), grid, later > 0),
    )


def _grid_of(grid: Grid, linear: Affine) -> Grid:
    """A grid of other voxels around where `linear` puts the field of view."""
    corners = linear(grid.corners)
    shape = np.ceil((corners.max(0) - corners.min(0)) / 1.1).astype(int) + 1
    return Grid.from_spacing(tuple(shape), 1.1, corners.min(0))


def _seen(
    image: Image, ill: Grown, places: np.ndarray, later: bool, bright: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The brain with its tumour at `places` `(3, *shape)` of the fixed world, as bright as in T1, and its core."""
    flat = places.reshape(3, -1).T
    assert image.mask is not None, "it was given"
    index = torch.from_numpy(np.ascontiguousarray(image.grid.index(ill.pull(flat)).T)).reshape(places.shape)
    values = sample((image.data * image.mask).contiguous(), index, "cubic")[0].numpy()
    part = ill.parts(places, later)
    texture = 1 + 0.05 * smooth_noise(rng, values.shape, 4.0)[0]
    usual = {RIM: 0.72, NECROSIS: 0.32, OEDEMA: 0.78}
    for name, share in usual.items():
        soft = ndimage.gaussian_filter((part == name).astype(np.float32), 0.7)
        own = share * bright * texture if name != OEDEMA else share * values
        values = (1 - soft) * values + soft * own
    bias = 1 + 0.06 * smooth_noise(rng, values.shape, 60.0)[0]
    values = values * bias + rng.normal(0, 0.02 * bright, values.shape) * (values > 0.02 * bright)
    return np.maximum(values, 0).astype(np.float32), np.isin(part, (RIM, NECROSIS))


def own_case(here: str, there: str, seed: int, bends: bool, recoloured: bool = False) -> Lesioned:
    """One patient's metastasis under a transform made up.

    Args:
        here: the fixed image: `"t1n"`, `"t1c"` or `"t2f"`.
        there: the moving one.
        seed: of motion, contrast and noise.
        bends: whether the head is bent, and not moved alone.
        recoloured: whether the moving image is given another contrast, by a curve that neither rises nor falls.
    """
    folder = DATA / "tumour"
    images = {name: open_image(folder / f"met00110_{name}.nii.gz") for name in NAMES}
    around = _box(images["t1n"])
    images = {name: _boxed(image, around) for name, image in images.items()}
    rng, moving = np.random.default_rng(seed), images[there]
    if recoloured:
        moving = moving.with_data(torch.from_numpy(_recoloured(moving.numpy(), rng)))
    told = f"{NAMES[here]}–{NAMES[there]}" + (" in another contrast" if recoloured else "")
    case = _moved(
        images[here], moving, _cyst(images["t1c"]), rng, bends, f"{told}, {'bent' if bends else 'moved'}"
    )
    return replace(case, multimodal=here != there or recoloured)


def _recoloured(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another contrast: dark fluid bright, bright tissue in between, air as it was."""
    marks = np.percentile(values[values > 0], (1, 15, 40, 60, 80, 99))
    heights = np.array([1.0, 0.85, 0.45, 0.3, 0.5, 0.7]) + rng.uniform(-0.05, 0.05, 6)
    changed = np.interp(values, np.concatenate([[0], marks]), np.concatenate([[0], heights]))
    return np.where(values > 0, marks[-1] * changed, 0).astype(np.float32)


def _box(image: Image) -> np.ndarray:
    """First and last-plus-one voxel of the head along each axis, and some air."""
    where = np.argwhere(image.numpy()[0] > 0)
    return np.stack([np.maximum(where.min(0) - 6, 0), np.minimum(where.max(0) + 7, image.grid.shape)])


def _boxed(image: Image, around: np.ndarray) -> Image:
    box = (slice(None), *(slice(int(a), int(b)) for a, b in around.T))
    return Image(image.data[box].contiguous(), image.grid.cropped(*around), name=image.name)


def _cyst(image: Image) -> np.ndarray:
    """The metastasis: as much of its dark middle in T1 after contrast agent as is surely that."""
    values = image.numpy()[0]
    brain = np.asarray(ndimage.binary_fill_holes(values > 0))
    dark = ndimage.binary_opening(brain & (values < 0.45 * np.median(values[values > 0])), iterations=3)
    names, number = ndimage.label(dark)  # type: ignore[misc] - no output was given
    middles = image.grid.world(np.array(ndimage.center_of_mass(dark, names, np.arange(1, number + 1))))
    sizes = ndimage.sum(dark, names, np.arange(1, number + 1)) * image.grid.voxel_volume
    # the ventricles lie at the middle; the cyst is the largest dark place well behind and beside it
    centre = image.grid.world(np.argwhere(brain).mean(0))
    aside = (np.abs(middles[:, 0] - centre[0]) > 15) & (middles[:, 1] < centre[1] - 10)
    chosen = 1 + int(np.argmax(np.where(aside, sizes, 0)))
    return np.asarray(ndimage.binary_dilation(names == chosen, iterations=6)) & brain


def _moved(
    fixed: Image, moving: Image, lesion: np.ndarray, rng: np.random.Generator, bends: bool, name: str
) -> Lesioned:
    """`moving`, which lies on the grid of `fixed`, under a transform made up."""
    linear = random_affine(rng, _TURNED, fixed.grid.centre)
    flows = [random_flow(rng, _BENT, fixed.grid)] if bends else []
    truth, grid = chain(linear, *[f for f in flows if f]), _grid_of(fixed.grid, linear)
    origins = positions(linear.inverse(), grid, 0, grid.shape[0]).numpy()
    for each in flows:
        origins = preimages(each, origins) if each else origins
    index = torch.from_numpy(np.ascontiguousarray(fixed.grid.index(origins.reshape(3, -1).T).T)).reshape(
        origins.shape
    )
    values = sample(moving.data.contiguous(), index, "cubic")[0].numpy().clip(0)
    values += rng.normal(0, 0.02 * np.percentile(values[values > 0], 95), values.shape) * (values > 0)
    later = sample(torch.from_numpy(lesion).float()[None], index)[0].numpy() > 0.5
    brain = fixed.numpy()[0] > 0
    healthy = _healthy(rng, fixed.grid, brain, lesion, truth, grid, later)
    shown = Image(torch.from_numpy(values.clip(0).astype(np.float32)), grid, name=moving.name)
    return Lesioned(name, "its own", False, fixed, shown, lesion, later, truth, healthy)


def _healthy(rng, grid, brain, lesion, truth, moving_grid, moving_lesion, number: int = 2000) -> np.ndarray:
    """Places in the brain that are in neither lesion."""
    index = np.argwhere(brain & ~lesion)
    world = grid.world(index[rng.choice(len(index), number, replace=False)].astype(float))
    there = np.rint(moving_grid.index(truth(world))).astype(int)
    inside = ((there >= 0) & (there < moving_grid.shape)).all(1)
    there = np.clip(there, 0, np.array(moving_grid.shape) - 1)
    return world[inside & ~moving_lesion[tuple(there.T)]]
