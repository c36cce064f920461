"""Deformable registration: known warps, no folds, an inverse, masks, landmarks, starts, and millimetres."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.methods import parse
from coincide.methods.classical.deformable import Deformable
from coincide.ops.jacobian import determinants
from coincide.optimise import deformable as optimise
from coincide.optimise.deformable import Level, Rule, Steering, descend, tapered, to_level
from coincide.pair import Pair
from coincide.points import Points
from coincide.similarity import MIND, MSE, SIMILARITIES
from coincide.transforms import Affine, Displacement
from coincide.transforms.displacement import to_world
from phantom import anatomy, grid_around, known, known_pair, picture

SPACING = {2: 2.0, 3: 4.0}


def swell(dim: int, amplitude: float = 7.0, spacing: float = 3.0) -> Displacement:
    """A smooth known warp of the head, fixed-world mm → moving-world mm, up to some `amplitude` mm."""
    grid = grid_around(dim, spacing, extent=(230, 250, 220))
    world = grid.points()
    parts = [
        np.sin(world[..., 0] / 31 + 0.4) * np.cos(world[..., 1] / 37),
        np.cos(world[..., -1] / 33 + 1.1) * np.sin(world[..., 1] / 41 + 0.2),
        np.sin(world[..., 0] / 35 - 0.8) * np.cos(world[..., -1] / 29 + 0.3),
    ][:dim]
    window = np.exp(-(((world / 75) ** 2).sum(-1) ** 2))
    return Displacement(torch.from_numpy(amplitude * window * np.stack(parts)), grid)


def warped_pair(dim: int, spacing: float | None = None, truth=None) -> Pair:
    spacing = spacing or SPACING[dim]
    return known_pair(grid_around(dim, spacing), grid_around(dim, 1.1 * spacing), truth or swell(dim))


def errors(transform, truth, grid) -> np.ndarray:
    """Distances between where two transforms put the voxels of the head, mm."""
    points = anatomy(grid)
    return np.linalg.norm(transform(points) - truth(points), axis=1)


def field_of(transform) -> Displacement:
    return next(part for part in transform.parts() if isinstance(part, Displacement))


@pytest.fixture(scope="module", params=[2, 3])
def solved(request):
    """A pair with a known warp, that warp, and what `deformable` makes of it, as smooth as `auto` has it."""
    pair, truth = warped_pair(request.param), swell(request.param)
    smooth = {"force_sigma": 3.0, "field_sigma": 1.0} if request.param == 2 else {}
    return pair, truth, Deformable(**smooth).solve(pair)


def test_a_known_warp_is_found(solved):
    pair, truth, solution = solved
    before = errors(Affine(np.eye(pair.dim + 1)), truth, pair.fixed.grid)
    after = errors(solution.transform, truth, pair.fixed.grid)
    assert before.mean() > 2.5
    assert after.mean() < 0.4 * SPACING[pair.dim]
    assert np.percentile(after, 95) < 0.8 * SPACING[pair.dim]


def test_it_never_folds(solved):
    pair, _, solution = solved
    field = field_of(solution.transform)
    assert float(determinants(field.voxel_vectors()).least.min()) >= 0.1 - 1e-4
    # nor by numpy's own differences
    gradients = [np.gradient(c.numpy()) for c in field.voxel_vectors()]
    central = np.linalg.det(np.moveaxis(np.array(gradients), (0, 1), (-2, -1)) + np.eye(pair.dim))
    assert central.min() > 0


def test_the_inverse_goes_back_both_ways(solved):
    pair, _, solution = solved
    voxel = SPACING[pair.dim]
    for there, back, points in (
        (solution.transform, solution.inverse, anatomy(pair.fixed.grid)),
        (solution.inverse, solution.transform, solution.transform(anatomy(pair.fixed.grid))),
    ):
        left = np.linalg.norm(back(there(points)) - points, axis=1) / voxel
        assert left.mean() <= 0.1
        assert np.percentile(left, 99.9) <= 0.5


def test_the_field_comes_down_to_nothing_at_its_border(solved):
    field = field_of(solved[2].transform).vectors
    for axis in range(1, field.ndim):
        for end in (0, field.shape[axis] - 1):
            assert float(field.select(axis, end).abs().max()) < 1e-4


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_similarity_finds_a_known_warp_without_folds(similarity, dim):
    pair, truth = warped_pair(dim, 1.25 * SPACING[dim]), swell(dim)
    solution = parse(f"auto:similarity={similarity}").solve(pair)
    before = errors(Affine(np.eye(dim + 1)), truth, pair.fixed.grid).mean()
    # as it states, an absolute error follows large motions less far
    limit = 0.6 if similarity == "mae" else 0.5
    assert errors(solution.transform, truth, pair.fixed.grid).mean() < limit * before
    assert float(determinants(field_of(solution.transform).voxel_vectors()).least.min()) > 0


def test_the_result_is_in_millimetres_not_in_voxels():
    truth, solutions = swell(3), []
    grids = grid_around(3, 4.0), grid_around(3, 2.8)
    for grid in grids:
        method = Deformable(finest=4.0)
        solutions.append(method.solve(known_pair(grid, grid_around(3, 4.4), truth)).transform)
    points = anatomy(grids[0])
    apart = np.linalg.norm(solutions[0](points) - solutions[1](points), axis=1)
    # a warp of 7 mm, seen at two resolutions: they differ by less than either is off
    assert apart.mean() < 0.8
    assert errors(solutions[1], truth, grids[0]).mean() < 1.5


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_what_a_mask_leaves_out_changes_nothing(side, dim):
    pair = warped_pair(dim, 1.25 * SPACING[dim])
    image = getattr(pair, side)
    world = image.grid.points()
    mask = torch.from_numpy(world[..., 0] < 20)
    results = []
    for garbage in (0.0, 900.0):
        data = torch.where(mask, image.data, torch.full_like(image.data, garbage))
        data[0, ~mask] += torch.from_numpy(np.random.default_rng(0).normal(0, 30, int((~mask).sum()))).float()
        aids = {"fixed": pair.fixed, "moving": pair.moving, side: image.with_data(data, mask=mask)}
        results.append(Deformable().solve(Pair(**aids)).transform)
    points = anatomy(pair.fixed.grid)
    np.testing.assert_array_equal(results[0](points), results[1](points))


@pytest.mark.parametrize("dim", [2, 3])
def test_landmarks_pull_where_they_are_asked_to(dim):
    # pictures that say nothing about the motion of the middle: only the landmarks do
    grid = grid_around(dim, 1.25 * SPACING[dim])
    pair = Pair(picture(grid, name="fixed"), picture(grid, name="moving"))
    points = np.array([[0.0, 0.0, 0.0], [18.0, 12.0, -6.0]])[:, :dim]
    there = points + np.array([4.0, -3.0, 2.0])[:dim]
    pair = Pair(pair.fixed, pair.moving, fixed_points=Points(points), moving_points=Points(there))
    left = {}
    for use in (False, True):
        solution = Deformable(use_landmarks=use).solve(pair)
        errors = np.linalg.norm(solution.transform(points) - there, axis=1)
        left[use] = errors.mean()
        assert float(determinants(field_of(solution.transform).voxel_vectors()).least.min()) > 0
    assert left[True] < 0.5 * left[False]
    assert solution.evidence["landmark_missed"] == pytest.approx(errors.max() / grid.spacing.mean())


def test_a_steered_step_goes_where_the_landmarks_do():
    grid = Grid((24, 22, 20), np.eye(4))
    field, update = torch.zeros((3, *grid.shape)), torch.full((3, *grid.shape), 0.2)
    # neighbours nearer than the pull reaches, with different ways to go, and none at the border
    at = np.array([[8.0, 9, 7], [11, 9, 7], [16, 14, 12]])
    way = np.array([[0.5, 0, -0.3], [-0.4, 0.3, 0], [0, 0, 0.6]])
    step = Steering(at, at + way, grid.shape)(field, update, 4.0)
    assert np.abs(step[(slice(None), *at.astype(int).T)].numpy().T - way).max() < 0.15
    assert float((step - update)[:, 0, 0, 0].abs().max()) < 0.05
    short = Steering(at, at + 20 * way, grid.shape)(field, update, 1.0)
    assert float((short - update).square().sum(0).sqrt().max()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_landmark_in_a_corner_is_carried_as_far_as_one_inside(dim):
    shape = (24, 22, 20)[:dim]
    at = np.array([[0.0] * dim, [11.0] * dim])
    way = np.array([[0.5] * dim, [-0.3] * dim])
    still = torch.zeros((dim, *shape))
    step = Steering(at, at + way, shape)(still, still, 4.0)
    assert np.abs(step[(slice(None), *at.astype(int).T)].numpy().T - way).max() < 0.1


@pytest.mark.parametrize("similarity", ["mse", "lncc"])
def test_landmarks_steer_where_the_images_have_nothing_to_say(similarity):
    grid = grid_around(2, 3.0)
    image = picture(grid, name="image")
    points = np.array([[5.0, -8.0], [-20.0, 14.0]])
    there = points + np.array([4.0, 3.0])
    pair = Pair(image, image, None, None, Points(points), Points(there), initial=Affine(np.eye(3)))
    run = parse(f"deformable:similarity={similarity},use_landmarks=true").solve(pair)
    # they object, as nothing else of them has moved
    assert np.linalg.norm(run.transform(points) - there, axis=1).max() < 2.5


class Swinging:
    """A pull that always points along I, and to and fro along J."""

    def __init__(self, *_):
        self.turn = 0

    def __call__(self, field, known, out):
        self.turn += 1
        out[0], out[1] = -1.0, (-1.0) ** self.turn
        return -float(self.turn)

    def stiffness(self):
        return torch.full((1, 24, 24), 1e-6)


@pytest.mark.parametrize(("momentum", "share"), [(0.0, 0.5**0.5), (0.5, (1 + 1 / 9) ** -0.5)])
def test_momentum_goes_straight_on_where_the_force_swings(monkeypatch, momentum, share):
    monkeypatch.setattr(optimise, "pull_of", Swinging)
    blank = torch.zeros((1, 24, 24))
    level = Level(Grid((24, 24), np.eye(3)), blank, blank)
    field = descend(level, torch.zeros((2, 24, 24)), MSE(), Rule(1.0, 0.5, 0.4, 0.0, momentum), 30)
    # all vectors are alike: a step is 0.4 long, and its share along I is that of (1, 1), or of the sums (2, 2/3)
    assert float(field[0].mean()) == pytest.approx(30 * 0.4 * share, rel=0.02)
    assert float(field[1].abs().max()) < 0.4


def test_the_record_names_the_kernels_that_were_used():
    grid = grid_around(3, 9.0)
    fixed = picture(grid, name="f")
    made = Deformable().resolved(Deformable().grids(fixed))
    assert 0 < made.force_sigma < 1.7  # few voxels leave no room for the usual one
    assert 0 < made.field_sigma <= 0.5
    assert made.momentum == 0.5


def test_landmarks_beyond_the_field_pull_nothing():
    grid = grid_around(2, 4.0)
    points = np.array([[0.0, 0.0], [900.0, 0.0]])
    targets = points + np.array([[3.0, 0.0], [-400.0, 300.0]])
    pair = Pair(picture(grid, name="f"), picture(grid, name="m"), None, None, Points(points), Points(targets))
    run = Deformable(use_landmarks=True).solve(pair)
    assert np.linalg.norm(run.transform(points[:1]) - targets[:1]) < 1
    assert any("1 of 2 landmarks lie outside" in told for told in run.decisions)
    assert field_of(run.transform).voxel_vectors().abs().max() < 3


@pytest.mark.parametrize("turned", [0.0, 6.0])
def test_a_loop_that_goes_to_and_fro_shortens_its_steps(turned):
    # next to nothing left to gain, which steps of a voxel would gain and lose for ever
    grid = grid_around(3, 3.0)
    fixed = picture(grid, name="fixed")
    shifted = ndimage.rotate(fixed.data[0].numpy(), turned, axes=(0, 1), reshape=False, order=1)
    moving = fixed.with_data(torch.from_numpy(shifted)[None])
    solution = Deformable(similarity=MIND(dilation=1), coarsest=18).solve(Pair(fixed, moving))
    values = np.array([s.value for s in solution.trace if s.stage == "deformable" and s.level == 1])
    assert np.diff(values)[5:].max() < 0.4 * np.ptp(values)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_linear_start_is_honoured(dim):
    truth = known(dim)
    pair = known_pair(grid_around(dim, SPACING[dim]), grid_around(dim, SPACING[dim]), truth)
    solution = Deformable().solve(Pair(pair.fixed, pair.moving, initial=truth))
    assert errors(solution.transform, truth, pair.fixed.grid).mean() < 0.4 * SPACING[dim]


@pytest.mark.parametrize("dim", [2, 3])
def test_a_deformable_start_is_honoured(dim):
    # larger than a few steps could find
    truth = known(dim) @ swell(dim)
    pair = warped_pair(dim, truth=truth)
    few = Deformable(iterations=(3,))
    runs = few.solve(Pair(pair.fixed, pair.moving, initial=truth)), few.solve(pair)
    started, unaided = (errors(run.transform, truth, pair.fixed.grid).mean() for run in runs)
    assert started < 0.2 * SPACING[dim]
    assert started < 0.5 * unaided


def test_a_sheared_fixed_grid_gets_an_orthogonal_field():
    shear = np.eye(4)
    shear[:3, :3] = np.diag((4.0, 4.0, 4.5)) @ np.array([[1, 0.2, 0], [0, 1, 0.15], [0, 0, 1]])
    grid = Grid((40, 44, 34), shear)
    shear[:3, 3] = np.array([1.0, 5.0, -2.0]) - grid.centre
    fixed = picture(Grid(grid.shape, shear), name="fixed")
    truth = swell(3)
    solution = Deformable().solve(Pair(fixed, picture(grid_around(3, 4.2), truth.inverse(), name="moving")))
    assert not fixed.grid.is_orthogonal
    assert field_of(solution.transform).grid.is_orthogonal
    assert errors(solution.transform, truth, fixed.grid).mean() < 1.6


@pytest.mark.parametrize("dim", [2, 3])
def test_fields_keep_their_millimetres_from_level_to_level(dim):
    coarse = grid_around(dim, 8.0)
    fine = coarse.orthogonalised(4.0)
    world = np.moveaxis(np.stack([np.sin(coarse.points()[..., d] / 40 + d) for d in range(dim)], -1), -1, 0)
    field = torch.from_numpy(world).float() / 8.0
    moved = to_level(field, coarse, fine)
    points = fine.points()[(slice(2, -2),) * dim]
    expected = Displacement(to_world(field, coarse), coarse)(points)
    np.testing.assert_allclose(Displacement(to_world(moved, fine), fine)(points), expected, atol=0.05)


@pytest.mark.parametrize("dim", [2, 3])
def test_tapering_keeps_the_inside_and_folds_nothing(dim):
    grid = grid_around(dim, 6.0)
    field = torch.stack([torch.full(grid.shape, v) for v in (2.5, -1.5, 1.0)[:dim]])
    wide, target = tapered(field, grid)
    points = grid.points()
    there = Displacement(to_world(wide, target), target)(points) - points
    np.testing.assert_allclose(
        there, np.broadcast_to(np.array((15.0, -9.0, 6.0))[:dim], there.shape), atol=1e-3
    )
    assert float(determinants(wide).least.min()) > 0
    assert all(float(wide.select(a, e).abs().max()) == 0 for a in range(1, dim + 1) for e in (0, -1))


@pytest.mark.parametrize(
    "options", [{"iterations": ()}, {"iterations": (0, 0)}, {"iterations": (-1, 5)}, {"trials": 0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(OptionError):
        Deformable(**options)


def test_the_trace_tells_every_level_and_the_value_falls():
    solution = Deformable().solve(warped_pair(2))
    steps = [s for s in solution.trace if s.stage == "deformable"]
    assert steps
    for level in {s.level for s in steps}:
        values = [s.value for s in steps if s.level == level]
        assert min(values) <= values[0]
    assert [s.seconds for s in steps] == sorted(s.seconds for s in steps)
    assert solution.seconds["deformable"] > 0


def test_thick_slices_are_told_of():
    thick = Grid.from_spacing((60, 70, 16), (3.0, 3.0, 12.0), (-90.0, -105.0, -90.0))
    images = [
        picture(grid, None, name=name) for name, grid in (("fine", grid_around(3, 5.0)), ("thick", thick))
    ]
    told = [text for text in Deformable(iterations=(3,)).solve(Pair(*images)).decisions if "as thick" in text]
    assert len(told) == 1
    assert told[0].startswith("thick: slices of 12 mm are 4.0 times")
    flat = Grid.from_spacing((70, 18), (3.0, 12.0), (-105.0, -105.0))
    images = [
        picture(grid, None, name=name) for name, grid in (("fine", grid_around(2, 3.0)), ("oblong", flat))
    ]
    assert "as thick" not in " ".join(Deformable(iterations=(3,)).solve(Pair(*images)).decisions)
