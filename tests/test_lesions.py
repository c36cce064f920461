"""Lesions: what has no counterpart in the other image is not compared, and the deformation is carried over it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

import coincide
from coincide.errors import MaskError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import METHODS, parse
from coincide.methods.classical.bending import level_of
from coincide.methods.classical.linear import normalised
from coincide.ops.jacobian import determinants
from coincide.optimise.doubt import doubted
from coincide.pair import Pair
from coincide.preprocess.lesion import healed
from coincide.registration import register
from coincide.similarity import LNCC, MIND
from coincide.transforms import Affine, Displacement
from phantom import anatomy, grid_around, known_pair

SPACING = {2: 2.0, 3: 3.2}
MIDDLE, RADIUS = np.array([14.0, 30.0, -8.0]), 15.0


def swell(dim: int) -> Displacement:
    """A smooth known warp, fixed-world mm → moving-world mm, up to 5 mm."""
    grid = grid_around(dim, 3.0, extent=(230, 250, 220))
    world = grid.points()
    parts = [np.sin(world[..., a] / 31 + a) * np.cos(world[..., (a + 1) % dim] / 37) for a in range(dim)]
    window = np.exp(-(((world / 75) ** 2).sum(-1) ** 2))
    return Displacement(torch.from_numpy(5 * window * np.stack(parts)), grid)


def ball(grid: Grid, middle: np.ndarray, radius: float = RADIUS) -> torch.Tensor:
    apart = np.linalg.norm(grid.points() - middle[: grid.dim], axis=-1)
    return torch.from_numpy(apart < radius)


def diseased(dim: int) -> tuple[Pair, Pair, Displacement]:
    """A pair whose moving image shows a lesion that the fixed one has not; the same told of it; and the truth."""
    truth = swell(dim)
    pair = known_pair(grid_around(dim, SPACING[dim]), grid_around(dim, 1.1 * SPACING[dim]), truth)
    grid = pair.moving.grid
    lesion = ball(grid, truth(MIDDLE[None, :dim])[0])
    soft = ndimage.gaussian_filter(lesion.numpy().astype(np.float32), 0.6)
    pattern = 200 + 180 * np.cos(grid.points() / 4.0).prod(-1)
    data = pair.moving.data * torch.from_numpy(1 - soft) + torch.from_numpy(
        (soft * pattern).astype(np.float32)
    )
    pair = replace(pair, moving=pair.moving.with_data(data.float()))
    return pair, replace(pair, moving_lesion=lesion), truth


def misleading(dim: int) -> tuple[Pair, Pair, Displacement]:
    """The same, but the lesion shows what lies 9 mm further on: who compares it, follows it."""
    pair, told, truth = diseased(dim)
    lesion = told.moving_lesion
    shown = known_pair(pair.fixed.grid, pair.moving.grid, truth).moving.data[0].numpy()
    shift = np.round(9 / pair.moving.grid.spacing[0]).astype(int)
    data = np.where(lesion.numpy(), np.roll(shown, shift, 0), shown)
    moving = pair.moving.with_data(torch.from_numpy(data)[None])
    return replace(pair, moving=moving), replace(told, moving=moving), truth


def near(transform, truth, grid) -> float:
    """Mean distance (mm) of two transforms in the lesion and around it."""
    points = anatomy(grid)
    points = points[np.linalg.norm(points - MIDDLE[: grid.dim], axis=1) < 1.6 * RADIUS]
    return float(np.linalg.norm(transform(points) - truth(points), axis=1).mean())


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("similarity", ["lncc", "mind"])
def test_a_lesion_that_is_told_of_draws_the_field_nowhere(similarity, dim):
    pair, told, truth = misleading(dim)
    method = parse(f"deformable:similarity={similarity}")
    grid = pair.fixed.grid
    blind, solution = method.solve(pair).transform, method.solve(told)
    assert near(solution.transform, truth, grid) < 0.7 * near(blind, truth, grid)
    field = next(part for part in solution.transform.parts() if isinstance(part, Displacement))
    assert float(determinants(field.voxel_vectors()).least.min()) > 0


@pytest.mark.parametrize("similarity", ["lncc", "mind"])
def test_an_estimated_lesion_does_less_harm(similarity):
    pair, _, truth = diseased(3)
    blind, wary = (
        parse(f"deformable:similarity={similarity},lesion={how}").solve(pair).transform
        for how in ("given", "estimated")
    )
    assert near(wary, truth, pair.fixed.grid) < 0.95 * near(blind, truth, pair.fixed.grid)


@pytest.mark.parametrize("similarity", [LNCC(), MIND()])
def test_doubt_falls_on_the_lesion_and_hardly_elsewhere(similarity):
    pair, _, truth = diseased(3)
    grid = pair.fixed.grid
    level = level_of(grid, *normalised(pair, similarity), truth)
    weights = doubted(level, torch.zeros((3, *grid.shape)), similarity).fixed_mask
    inside, core = level.fixed[0] > 0.1, ball(grid, MIDDLE, 0.7 * RADIUS)
    outside = inside & ~ball(grid, MIDDLE, RADIUS + 12)
    assert float(weights[core].mean()) < 0.5
    assert float(weights[outside].mean()) > 0.9
    assert float(weights.min()) >= 0
    assert float(weights.max()) <= 1
    # what was masked out stays so
    masked = replace(level, fixed_mask=outside)
    assert not doubted(masked, torch.zeros((3, *grid.shape)), similarity).fixed_mask[~outside].any()


@pytest.mark.parametrize("spec", ["linear", "deformable", "deformable:similarity=mse", "auto"])
def test_nothing_of_what_a_lesion_shows_leaks_out(spec):
    _, told, _ = diseased(3)
    found = []
    for garbage in (0.0, 300.0):
        data = told.moving.data.clone()
        data[0, told.moving_lesion] = garbage
        found.append(parse(spec).solve(replace(told, moving=told.moving.with_data(data))).transform)
    points = anatomy(told.fixed.grid)
    np.testing.assert_array_equal(found[0](points), found[1](points))


def test_a_lesion_is_filled_from_around_without_an_edge():
    grid = Grid.from_spacing((30, 34, 28), 2.0, (0, 0, 0))
    ramp = torch.from_numpy(grid.points()[..., 0] / 60).float()
    lesion = ball(grid, np.array([30.0, 32, 28]), 9)
    data = torch.where(lesion, torch.tensor(50.0), ramp)[None]
    filled = healed(Image(data, grid), lesion).data[0]
    assert torch.equal(filled[~lesion], ramp[~lesion])
    assert float((filled - ramp)[lesion].abs().max()) < 0.1


def test_measures_still_count_the_lesion():
    _, told, _ = diseased(2)
    result = register(told, "deformable")
    assert result.measures == register(replace(told), "deformable").measures
    assert result.pair.moving.mask is None


def pair_of(**lesions) -> Pair:
    grid = Grid.from_spacing((12, 10), 1.0, (0, 0))
    image = Image(torch.rand(grid.shape), grid, name="scan")
    return Pair(image, image, **lesions)


@pytest.mark.parametrize("role", ["fixed_lesion", "moving_lesion"])
@pytest.mark.parametrize(
    ("lesion", "message"),
    [
        (torch.ones(12, 9), "shape \\(12, 9\\)"),
        (torch.zeros(12, 10), "is empty"),
        (torch.ones(12, 10), "covers all 120 voxels"),
    ],
)
def test_lesions_that_cannot_be_are_refused(role, lesion, message):
    with pytest.raises(MaskError, match=message):
        pair_of(**{role: lesion})


def test_a_lesion_file_on_another_grid_is_refused_and_a_good_one_is_used(tmp_path):
    from coincide.io import write_image

    pair, told, _ = diseased(2)
    other = Grid.from_spacing((20, 20), 3.0, (0, 0))
    write_image(Image(torch.ones(other.shape), other), tmp_path / "other.nii.gz")
    with pytest.raises(MaskError, match="lies on"):
        coincide.register(pair.fixed, pair.moving, "linear", moving_lesion=tmp_path / "other.nii.gz")
    write_image(Image(told.moving_lesion.float(), pair.moving.grid), tmp_path / "lesion.nii.gz")
    result = coincide.register(
        pair.fixed, pair.moving, "deformable", moving_lesion=tmp_path / "lesion.nii.gz"
    )
    same = register(told, "deformable").transform
    points = anatomy(pair.fixed.grid)
    np.testing.assert_array_equal(result.transform(points), same(points))
    assert result.provenance["inputs"]["moving_lesion"]["path"].endswith("lesion.nii.gz")


def test_methods_that_would_not_leave_it_out_say_so():
    _, told, _ = diseased(2)
    for name in ("phase", "demons", "landmarks", "icp"):
        if not type(parse(name)).heeds_lesions:
            with pytest.raises(OptionError, match="does not leave lesions out"):
                register(told, name)
    assert {name for name in METHODS if type(parse(name)).heeds_lesions} >= {"auto", "deformable", "linear"}


def test_without_lesions_nothing_is_changed():
    pair, _, _ = diseased(2)
    fixed, moving = normalised(pair, None)
    assert fixed.mask is None
    assert moving.mask is None
    assert parse("deformable").lesion == "given"
    identity = Affine(np.eye(3))
    level = level_of(pair.fixed.grid, fixed, moving, identity)
    assert level.fixed_mask is None
