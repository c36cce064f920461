"""Measures against SimpleITK, scikit-image, scipy and answers known by hand."""

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from coincide import measures
from coincide.errors import DimensionError, LabelError, PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.measures import intensity
from coincide.measures.lattice import Lattice, lattice
from coincide.measures.summary import measure_points
from coincide.ops.jacobian import determinants, determinants_reference
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import Affine, rigid, rotation_matrix, translation
from coincide.transforms.velocity import Velocity


def smooth_noise(shape, sigma, seed):
    rng = np.random.default_rng(seed)
    noise = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(len(shape))])
    return (noise / np.abs(noise).max()).astype(np.float32)


def label_maps(shape=(22, 31, 17), seed=3, dtype=np.int32):
    """Two different maps of five large labels, with unequal names, from smoothed noise."""
    maps = []
    for i in range(2):
        rng = np.random.default_rng(seed)
        noise = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), 3) for _ in range(6)])
        noise = ndimage.shift(noise, (0, 1.4 * i, -0.8 * i, 2.1 * i)[: noise.ndim], order=1, mode="nearest")
        maps.append(np.array([0, 3, 7, 11, 40, 41], dtype)[noise.argmax(0)])
    return maps


def oblique_grid(shape, spacing=(1.5, 0.8, 3.0)):
    return Grid.from_spacing(shape, spacing, (12, -30, 7), rotation_matrix((20, -35, 50)))


# --- overlap -----------------------------------------------------------------------------------------------


def test_dice_equals_simpleitk():
    fixed, moved = label_maps()
    scores = measures.dice(fixed, moved)
    judge = sitk.LabelOverlapMeasuresImageFilter()
    judge.Execute(sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moved))
    assert sorted(scores) == [3, 7, 11, 40, 41]
    for label, score in scores.items():
        assert score == pytest.approx(judge.GetDiceCoefficient(label), abs=1e-12)
        assert 0.3 < score < 1


def test_present_finds_every_label_but_the_background():
    assert measures.present(np.array([[0, 5, 5], [9, 0, -2]])).tolist() == [-2, 5, 9]
    assert measures.present(np.zeros((3, 3), np.uint8)).tolist() == []
    assert measures.present(np.array([614454277], np.uint32)).tolist() == [614454277]


@pytest.mark.parametrize(
    "dtypes", list(itertools.permutations([np.uint8, np.int64, np.uint64, np.uint32], 2))
)
def test_label_types_may_differ(dtypes):
    fixed, moved = label_maps()
    expected = measures.dice(fixed, moved)
    assert measures.dice(fixed.astype(dtypes[0]), moved.astype(dtypes[1])) == expected


def test_large_labels_are_not_rounded():
    fixed = np.array([614454277, 614454278, 0], np.uint32)
    assert measures.dice(fixed, fixed + np.array([0, 1, 0], np.uint32)) == {614454277: 1.0}


def test_a_label_that_was_lost_scores_zero():
    fixed = np.array([1, 1, 2, 2])
    assert measures.dice(fixed, np.array([1, 1, 1, 0]), labels=[1, 2]) == {1: pytest.approx(0.8), 2: 0.0}


def test_labels_on_two_grids_are_refused():
    with pytest.raises(LabelError, match="Resample"):
        measures.dice(np.zeros((3, 4), int), np.zeros((4, 3), int))
    with pytest.raises(LabelError, match="float64"):
        measures.dice(np.zeros((3, 4)), np.zeros((3, 4), int))


# --- distance ----------------------------------------------------------------------------------------------


def surface_points(labels, label, grid):
    inner = ndimage.binary_erosion(labels == label)
    return grid.world(np.argwhere((labels == label) & ~inner))


@pytest.mark.parametrize("dim", [2, 3])
def test_surface_distances_equal_all_pairs(dim):
    fixed, moved = label_maps((40, 33, 1) if dim == 2 else (22, 31, 17))
    if dim == 2:
        fixed, moved = fixed[..., 0], moved[..., 0]
        sheared = np.array([[0.7, 0.2, 5], [0, 1.9, -3], [0, 0, 1]])
        grid = Grid(fixed.shape, sheared)
    else:
        grid = oblique_grid(fixed.shape)
    found = measures.surface_distances(fixed, moved, grid)
    assert len(found) >= 3
    for label, distance in found.items():
        pairs = cdist(surface_points(fixed, label, grid), surface_points(moved, label, grid))
        there, back = pairs.min(1), pairs.min(0)
        assert distance.assd == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-9)
        assert distance.hd95 == pytest.approx(
            max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-9
        )
        assert distance.hd == pytest.approx(max(there.max(), back.max()), rel=1e-9)


def test_hausdorff_distance_equals_simpleitk():
    # between solid objects that lie apart the farthest points are on the surfaces
    fixed, moved = np.zeros((20, 30, 25), np.uint8), np.zeros((20, 30, 25), np.uint8)
    fixed[3:8, 4:11, 5:9] = 1
    moved[12:15, 13:24, 14:20] = 1
    grid = Grid.from_spacing(fixed.shape, (1.5, 0.8, 3.0))
    images = [sitk.GetImageFromArray(m.transpose(2, 1, 0)) for m in (fixed, moved)]
    for image in images:
        image.SetSpacing((1.5, 0.8, 3.0))
    judge = sitk.HausdorffDistanceImageFilter()
    judge.Execute(*images)
    assert measures.surface_distances(fixed, moved, grid)[1].hd == pytest.approx(judge.GetHausdorffDistance())


def test_a_lost_label_has_no_distance():
    fixed = np.array([[1, 2], [1, 2]])
    found = measures.surface_distances(fixed, np.ones_like(fixed), Grid.from_spacing((2, 2), 1.0), [1, 2])
    assert found[2] is None
    assert found[1].hd == pytest.approx(1.0)


def test_surface_distances_know_their_grid():
    with pytest.raises(DimensionError):
        measures.surface_distances(np.ones((3, 3), int), np.ones((3, 3), int), Grid.from_spacing((3, 4), 1.0))


def test_landmark_errors_are_measured_in_the_moving_world():
    fixed = Points([[0, 0, 0], [10, 0, 0]])
    transform = Affine(np.diag([2.0, 1, 1, 1])) @ translation((1, 2, 3))
    moving = Points(transform(fixed.world) + np.array([[3, 4, 0], [0, 0, 1]]))
    errors = measures.target_registration_error(fixed, moving, transform)
    assert errors == pytest.approx([5, 1])
    assert measures.target_registration_error(fixed, moving)[0] == pytest.approx(np.linalg.norm([5, 6, 3]))
    with pytest.raises(PointsError):
        measures.target_registration_error(fixed, Points([[0, 0, 0]]), transform)


# --- jacobian ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(9, 14, 11), (7, 1, 6), (15, 12), (1, 8)])
def test_jacobian_kernel_equals_its_reference(shape):
    field = torch.from_numpy(3 * smooth_noise(shape, 1.0, 5))
    for name, fast, slow in zip(
        determinants(field)._fields, determinants(field), determinants_reference(field.double())
    ):
        assert fast.dtype == torch.float32
        torch.testing.assert_close(fast.double(), slow, atol=2e-5, rtol=1e-5, msg=name)


def test_central_jacobian_equals_simpleitk():
    field = 2 * smooth_noise((12, 15, 13), 2.0, 7)
    ours = determinants(torch.from_numpy(field)).central.numpy()
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(field.transpose(3, 2, 1, 0)).astype(np.float64), isVector=True
    )
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image)).transpose(2, 1, 0)
    inner = (slice(1, -1),) * 3  # at its borders ITK halves the differences
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-5)
    assert ours.std() > 0.1


@pytest.mark.parametrize("dim", [2, 3])
def test_least_jacobian_sees_every_one_sided_difference(dim):
    field = (2 * smooth_noise((8, 9, 7)[:dim], 1.0, 1)).astype(np.float64)
    found = determinants(torch.from_numpy(field.astype(np.float32)))
    rng = np.random.default_rng(0)
    for _ in range(40):
        at = tuple(rng.integers(0, n) for n in field.shape[1:])
        volumes = []
        for signs in itertools.product((1, -1), repeat=dim):
            rows = []
            for axis, sign in enumerate(signs):
                step = sign if 0 <= at[axis] + sign < field.shape[axis + 1] else -sign
                beside = tuple(a + step * (i == axis) for i, a in enumerate(at))
                apart = field[(slice(None), *beside)] - field[(slice(None), *at)]
                rows.append(step * apart + np.eye(dim)[axis])
            volumes.append(np.linalg.det(rows))
        assert found.least[at] == pytest.approx(min(volumes), abs=1e-4)
        assert found.forward[at] == pytest.approx(volumes[0], abs=1e-4)
        assert found.central[at] == pytest.approx(np.mean(volumes), abs=1e-4)


def test_central_differences_hide_a_fold_that_is_reported():
    field = np.zeros((1, 11, 6), np.float32).repeat(2, 0)
    field[0, ::2] = 1.5  # every other column jumps over its neighbour: central differences see nothing
    grid = Grid.from_spacing((11, 6), 1.0)
    maps = measures.jacobian_maps(Displacement(torch.from_numpy(field), grid), grid)
    numbers = measures.folding(maps)
    assert float(maps.central[1:-1].min()) == pytest.approx(1.0)
    assert numbers["folding_any_percent"] == pytest.approx(100 * 10 / 11)
    assert numbers["folding_forward_percent"] == pytest.approx(100 * 5 / 11)
    assert numbers["min_jacobian"] == pytest.approx(-0.5)


def test_folding_is_counted_inside_the_mask():
    values = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    maps = measures.jacobian_maps(translation((1, 1)), Grid.from_spacing((2, 2), 1.0))._replace(
        forward=values, central=values, least=values
    )
    assert measures.folding(maps)["folding_any_percent"] == 50.0
    inside = measures.folding(maps, torch.tensor([[False, True], [True, False]]))
    assert inside["folding_any_percent"] == 0.0
    assert inside["min_jacobian"] == 1.0
    assert inside["sd_log_jacobian"] == pytest.approx(np.log(2) / 2)


@pytest.mark.parametrize("kind", ["affine", "same grid", "velocity", "other grid", "field last"])
def test_lattice_is_the_transform(kind):
    grid = oblique_grid((14, 17, 12))
    own = grid if kind in ("same grid", "velocity", "affine") else oblique_grid((9, 20, 8), (2.0, 1.0, 5.0))
    vectors = torch.from_numpy(4 * smooth_noise(own.shape, 2.0, 2))
    field = Velocity(vectors, own) if kind == "velocity" else Displacement(vectors, own)
    affine = rigid((5, -8, 11), (3, -2, 4), grid.centre) @ Affine(np.diag([1.1, 0.9, 1.05, 1]))
    transform = {"affine": affine, "field last": field @ affine}.get(kind, affine @ field)
    found = lattice(transform, grid)
    points = grid.points()
    shifts = 0 if found.field is None else np.moveaxis(found.field.numpy(), 0, -1)
    index = np.moveaxis(np.indices(grid.shape), 0, -1) + shifts
    np.testing.assert_allclose(Affine(found.affine)(grid.world(index)), transform(points), atol=2e-5)
    assert (found.field is None) == (kind == "affine")
    moved = np.linalg.norm(transform(points) - points, axis=-1)
    mask = torch.from_numpy(moved < np.median(moved))
    assert found.longest() == pytest.approx(moved.max(), rel=1e-4)
    assert found.longest(mask) == pytest.approx(moved[mask.numpy()].max(), rel=1e-4)
    target = Grid.from_spacing((10, 11, 12), (2, 1.5, 1.1), grid.centre - 8)
    assert np.array_equal(found.inside(target).numpy(), target.inside(transform(points)))
    assert np.array_equal(Lattice(grid, None, np.eye(4)).inside(target).numpy(), target.inside(points))


def test_jacobian_of_an_affine_is_its_determinant():
    affine = Affine(np.diag([1.2, 0.7, 1.1, 1]))
    maps = measures.jacobian_maps(affine, oblique_grid((40, 50, 30)))
    for values in maps:
        np.testing.assert_allclose(values.numpy(), affine.determinant, atol=2e-4)


def test_a_mirror_image_is_all_folds():
    grid = Grid.from_spacing((12, 14, 10), 1.0)
    field = Displacement(torch.from_numpy(3 * smooth_noise(grid.shape, 1.0, 2)), grid)
    mirror = Affine(np.diag([-1.5, 1, 1, 1]))
    maps = measures.jacobian_maps(mirror @ field, grid)
    vectors = np.moveaxis((mirror @ field)(grid.points()) - grid.points(), -1, 0).astype(np.float32)
    for values, expected in zip(maps, determinants(torch.from_numpy(vectors))):
        torch.testing.assert_close(values, expected, atol=2e-4, rtol=1e-4)
    assert measures.folding(maps)["folding_forward_percent"] > 90


# --- consistency -------------------------------------------------------------------------------------------


def test_inverse_residual_of_known_maps():
    fixed = Grid.from_spacing((20, 16, 12), (1, 2, 3))
    moving = Grid.from_spacing((20, 16, 12), (2, 2, 2))
    there = translation((3.0, -4.0, 2.0))
    found = measures.inverse_residual(there, translation((-3.0, 4.0, -1.0)), fixed, moving)
    assert found["max_mm"] == found["mean_mm"] == pytest.approx(1.0, rel=1e-6)
    assert found["forward"]["max_voxels"] == pytest.approx(1 / 3, rel=1e-5)
    assert found["backward"]["p999_voxels"] == pytest.approx(1 / 2, rel=1e-5)
    assert found["max_voxels"] == pytest.approx(1 / 2, rel=1e-5)
    assert found["forward"]["points"] == moving.inside(there(fixed.points())).sum()


def test_inverse_residual_of_a_field_matches_its_definition():
    grid = oblique_grid((16, 18, 12))
    edge = np.zeros(grid.shape)
    edge[2:-2, 2:-2, 2:-2] = 1
    taper = ndimage.gaussian_filter(edge, 1.0)
    field = Displacement(
        torch.from_numpy((2 * taper * smooth_noise(grid.shape, 2.0, 4)).astype(np.float32)), grid
    )
    transform = translation((1, 0, 0)) @ field
    back = Displacement(-field.vectors, grid) @ translation((-1, 0, 0))  # right to first order only
    found = measures.inverse_residual(transform, back, grid, grid, limit=None)
    points = grid.points().reshape(-1, 3)
    away = transform(points)
    inside = grid.inside(away) & grid.inside(away - [1, 0, 0])
    residual = np.linalg.norm(back(away) - points, axis=1)[inside]
    assert found["forward"]["points"] == inside.sum()
    assert found["forward"]["mean_mm"] == pytest.approx(residual.mean(), rel=1e-4)
    assert found["forward"]["max_mm"] == pytest.approx(residual.max(), rel=1e-4)
    assert 0.01 < found["mean_mm"] < found["p999_mm"] <= found["max_mm"]
    few = measures.inverse_residual(transform, back, grid, grid, limit=500)
    assert 300 < few["forward"]["points"] <= 500
    assert few["mean_mm"] == pytest.approx(found["mean_mm"], rel=0.2)


def test_inverse_residual_knows_where_a_velocity_ends():
    grid = Grid.from_spacing((16, 18), 1.0)
    flow = Velocity(torch.from_numpy(smooth_noise(grid.shape, 3.0, 4)), grid)
    wide = Grid.from_spacing((40, 40), 1.0, (-10, -10))
    found = measures.inverse_residual(flow, flow.inverse(), wide, wide)
    assert found["forward"]["points"] <= 16 * 18


def test_inverse_residual_without_overlap_is_empty():
    grid = Grid.from_spacing((5, 5), 1.0)
    assert measures.inverse_residual(translation((99, 0)), translation((-99, 0)), grid, grid) == {}


# --- everything at once ----------------------------------------------------------------------------------


def test_measure_gathers_everything_and_leaves_out_what_is_missing():
    grid = Grid.from_spacing((30, 26, 14), (1, 1.2, 2))
    fixed, _ = image_pair(grid.shape)
    shift = translation((2.0, -1.2, 2.0))
    moved = Grid(grid.shape, shift.matrix @ grid.affine)
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[3:-3, 3:-3, 2:-2] = True
    labels = torch.from_numpy(label_maps(grid.shape)[0])
    points = Points([[5, 5, 5], [9, 12, 8]])
    pair = Pair(
        Image(fixed, grid, mask=mask),
        Image(fixed, moved),
        Image(labels, grid, "label"),
        Image(labels, moved, "label"),
        points,
        points.mapped(shift),
    )
    found = measures.measure(pair, shift, shift.inverse())
    assert list(found) == ["before", "after", "field", "inverse", "labels", "points"]
    assert found["after"]["ncc"] == pytest.approx(1)
    assert found["after"]["mse"] == pytest.approx(0, abs=1e-4)
    assert found["after"]["overlap_percent"] == 100
    assert found["before"]["ncc"] < 0.9
    assert found["field"]["max_displacement_mm"] == pytest.approx(np.linalg.norm([2, 1.2, 2]))
    assert found["field"]["min_jacobian"] == 1
    assert found["inverse"]["max_mm"] < 1e-12
    assert found["labels"]["dice_mean"] == 1
    assert found["labels"]["dice_before_mean"] < 0.95
    assert found["labels"]["per_label"][7] == {
        "dice": 1.0,
        "dice_before": found["labels"]["per_label"][7]["dice_before"],
        "hd95_mm": 0.0,
        "assd_mm": 0.0,
    }
    assert found["points"]["after"]["tre_mean_mm"] == pytest.approx(0, abs=1e-12)
    assert found["points"]["before"]["tre_max_mm"] == pytest.approx(np.linalg.norm([2, 1.2, 2]))
    json.dumps(found, allow_nan=False)
    bare = measures.measure(Pair(pair.fixed, pair.moving), shift)
    assert list(bare) == ["before", "after", "field"]


def test_the_moving_mask_counts_where_it_is_carried():
    grid = Grid.from_spacing((20, 24), 1.0)
    fixed, moving = image_pair(grid.shape)
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[5:15, 6:18] = True
    pair = Pair(Image(fixed, grid), Image(moving, grid, mask=mask))
    found = measures.measure(pair, translation((3, 0)))
    assert found["after"]["overlap_percent"] == pytest.approx(100 * 120 / 480)
    expected = fixed[2:12, 6:18] - moving[5:15, 6:18]
    assert found["after"]["mse"] == pytest.approx(float((expected**2).mean()), rel=1e-5)


def test_images_that_do_not_meet_are_measured_without_nan():
    fixed, moving = image_pair((20, 20))
    far = Grid.from_spacing((20, 20), 1.0, (500, 500))
    pair = Pair(Image(fixed, Grid.from_spacing((20, 20), 1.0)), Image(moving, far))
    found = measures.measure(pair, translation((500, 500)), translation((-500, -500)))
    assert found["before"]["overlap_percent"] == 0
    assert found["before"]["ncc"] is None
    assert found["after"]["overlap_percent"] == 100
    json.dumps(found, allow_nan=False)


# --- intensity ---------------------------------------------------------------------------------------------


def image_pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    base = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    base = (1000 + 300 * base / base.std()).astype(np.float32)
    other = (0.7 * base + 50 + 40 * rng.standard_normal(shape)).astype(np.float32)
    return torch.from_numpy(base), torch.from_numpy(other)


@pytest.mark.parametrize("shape", [(40, 52), (24, 30, 19)])
def test_intensity_measures_equal_scikit_image(shape):
    from skimage import metrics

    fixed, moving = image_pair(shape)
    found = measures.compare(fixed[None], moving[None])
    a, b = fixed.double().numpy(), moving.double().numpy()
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(a, b), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    assert found["ncc"] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)
    assert found["ssim"] == pytest.approx(metrics.structural_similarity(a, b, data_range=np.ptp(a)), abs=1e-4)
    nmi = metrics.normalized_mutual_information(a, b, bins=intensity.BINS)
    assert found["nmi"] == pytest.approx(nmi, abs=1e-4)


def test_structural_similarity_in_masks_and_thinned(monkeypatch):
    from skimage import metrics

    fixed, moving = image_pair((40, 33, 28), 1)
    mask = torch.zeros(fixed.shape, dtype=torch.bool)
    mask[5:35, 0:20, 9:] = True
    extent = float(fixed[mask].max() - fixed[mask].min())
    _, local = metrics.structural_similarity(fixed.numpy(), moving.numpy(), data_range=extent, full=True)
    whole = np.zeros(mask.shape, bool)
    whole[3:-3, 3:-3, 3:-3] = True
    expected = local[mask.numpy() & whole].mean()
    assert measures.compare(fixed[None], moving[None], mask)["ssim"] == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(intensity, "SSIM_VOXELS", 100)
    thinned = (slice(5, 35, 2), slice(3, 20, 2), slice(9, 25, 2))
    expected = local[thinned].mean()
    assert measures.compare(fixed[None], moving[None], mask)["ssim"] == pytest.approx(expected, abs=1e-4)


def test_thin_stacks_have_a_structural_similarity():
    fixed, moving = image_pair((30, 30, 4))
    assert 0 < measures.compare(fixed[None], moving[None])["ssim"] < 1
    assert measures.compare(fixed[None], fixed[None])["ssim"] == pytest.approx(1.0)


def test_outside_the_mask_and_nan_do_not_count():
    fixed, moving = image_pair((20, 20))
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[4:15, 3:12] = True
    expected = measures.compare(fixed[None], moving[None], mask)
    noisy = torch.where(mask, moving, torch.full_like(moving, 1e6))
    noisy[0, 0] = float("nan")
    found = measures.compare(fixed[None], noisy[None], mask)
    for name in ("mse", "mae", "ncc", "nmi"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    assert np.isfinite(found["ssim"])


def test_nothing_to_measure_is_none_not_nan():
    fixed, moving = image_pair((12, 12))
    nowhere = measures.compare(fixed[None], moving[None], torch.zeros(12, 12, dtype=torch.bool))
    assert set(nowhere.values()) == {None}
    flat = measures.compare(fixed[None], torch.ones(1, 12, 12))
    assert flat["ncc"] is None
    assert flat["nmi"] is None
    assert flat["mse"] > 0
    with pytest.raises(DimensionError):
        measures.compare(fixed[None], torch.ones(1, 11, 12))


def test_landmarks_are_scored_by_name_whatever_their_order():
    names = tuple("abcdef")
    world = np.random.default_rng(1).uniform(-40, 40, (6, 3))
    order = [3, 1, 5, 0, 2, 4]
    shuffled = Points(world[order] + 1.0, tuple(names[i] for i in order))
    assert measures.target_registration_error(Points(world, names), shuffled) == pytest.approx([3**0.5] * 6)
    found = measure_points(Points(world, names), Points(shuffled.world[:4], shuffled.names[:4]))
    assert found["number"] == 4
    assert found["after"]["tre_max_mm"] == pytest.approx(3**0.5)
