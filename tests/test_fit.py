"""Closed-form linear fits: exact, against SimpleITK and scipy, and refused where nothing settles them."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from coincide.errors import OptionError, PointsError
from coincide.optimise.fit import fewest, fit_linear
from coincide.transforms import Affine, rigid, similarity, translation

RNG = np.random.default_rng
SHIFT = (31.0, -12.0, 7.5)


def cloud(dim: int, number: int = 40, seed: int = 0) -> np.ndarray:
    """Points far from the origin, longer one way than another."""
    return RNG(seed).normal(size=(number, dim)) * (40, 25, 9)[:dim] + np.array((120, -300, 55))[:dim]


def truth(model: str, dim: int, angle: float = 77.0) -> Affine:
    angles, centre = ((angle, -20.0, 33.0) if dim == 3 else angle), (110.0, -280.0, 40.0)[:dim]
    if model == "translation":
        return translation(SHIFT[:dim])
    if model == "affine":
        shear = np.eye(dim + 1)
        shear[:dim, :dim] += np.array([[0.1, 0.2, -0.3], [0.05, -0.2, 0.1], [0.2, 0.1, 0.3]])[:dim, :dim]
        return Affine(rigid(angles, SHIFT[:dim], centre).matrix @ shear)
    scale = 1.4 if model == "similarity" else 1.0
    return similarity(angles, SHIFT[:dim], scale, centre)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
def test_exact_points_give_the_exact_matrix(model, dim):
    source = cloud(dim)
    expected = truth(model, dim)
    assert np.abs(fit_linear(source, expected(source), model) - expected.matrix).max() < 1e-9


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
def test_as_few_points_as_are_said_to_suffice_do(model, dim):
    source = cloud(dim, fewest(model, dim), seed=3)
    expected = truth(model, dim)
    matrix = fit_linear(source, expected(source), model)
    assert np.abs(Affine(matrix)(source) - expected(source)).max() < 1e-8
    assert np.abs(matrix - expected.matrix).max() < 1e-6


@settings(max_examples=60, deadline=None)
@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), scale=st.floats(0.05, 20))
def test_every_rotation_and_scale_is_found(angles, scale):
    source = cloud(3)
    expected = similarity(angles, SHIFT, scale, source[0])
    assert np.allclose(fit_linear(source, expected(source), "similarity"), expected.matrix, atol=1e-7)


def by_simpleitk(source, target, model, weights=None):
    """Their matrix; world turns do not matter, as both sets are in the same one."""
    dim = source.shape[1]
    start = {
        ("rigid", 2): sitk.Euler2DTransform(),
        ("rigid", 3): sitk.VersorRigid3DTransform(),
        ("similarity", 3): sitk.Similarity3DTransform(),
        ("affine", 2): sitk.AffineTransform(2),
        ("affine", 3): sitk.AffineTransform(3),
    }[model, dim]
    tool = sitk.LandmarkBasedTransformInitializerFilter()
    tool.SetFixedLandmarks(source.ravel().tolist())
    tool.SetMovingLandmarks(target.ravel().tolist())
    if weights is not None:
        tool.SetLandmarkWeight(np.asarray(weights).tolist())
    return tool.Execute(start)


@pytest.mark.parametrize(("model", "dim"), [("rigid", 2), ("rigid", 3), ("affine", 2), ("affine", 3)])
def test_noisy_points_are_fitted_as_simpleitk_does(model, dim):
    source = cloud(dim)
    target = truth(model, dim)(source) + RNG(1).normal(scale=3, size=source.shape)
    ours, theirs = Affine(fit_linear(source, target, model)), by_simpleitk(source, target, model)
    expected = np.array([theirs.TransformPoint(p.tolist()) for p in source])
    assert np.abs(ours(source) - expected).max() < 1e-6


def test_weighted_affine_is_simpleitks():
    source, weights = cloud(3), RNG(2).uniform(0.1, 5, 40)
    target = truth("affine", 3)(source) + RNG(1).normal(scale=3, size=source.shape)
    theirs = by_simpleitk(source, target, "affine", weights)
    expected = np.array([theirs.TransformPoint(p.tolist()) for p in source])
    # theirs multiplies each equation by its weight, which weights the squared error by its square
    ours = Affine(fit_linear(source, target, "affine", weights**2))(source)
    assert np.abs(ours - expected).max() < 1e-6
    assert np.abs(Affine(fit_linear(source, target, "affine"))(source) - expected).max() > 0.1


def test_weighted_rotation_is_scipys():
    source, weights = cloud(3), RNG(2).uniform(0.1, 5, 40)
    target = truth("rigid", 3)(source) + RNG(1).normal(scale=3, size=source.shape)
    middle, goal = (np.average(p, axis=0, weights=weights) for p in (source, target))
    expected, _ = Rotation.align_vectors(target - goal, source - middle, weights)
    assert np.allclose(fit_linear(source, target, "rigid", weights)[:3, :3], expected.as_matrix(), atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
def test_no_neighbour_of_the_fit_is_better(model, dim):
    source, weights = cloud(dim), RNG(2).uniform(0.1, 5, 40)
    target = truth(model, dim)(source) + RNG(1).normal(scale=6, size=source.shape)

    def cost(transform):
        return (weights * ((transform(source) - target) ** 2).sum(1)).sum()

    best = Affine(fit_linear(source, target, model, weights))
    small = RNG(4).normal(scale=1e-3, size=(30, 3))
    for angle, shift, grown in zip(small, RNG(5).normal(scale=1e-2, size=(30, dim)), small[:, 1]):
        turn = (angle if dim == 3 else angle[0]) if model != "translation" else (0, 0, 0)[: 2 * dim - 3]
        other = similarity(turn, shift, 1 + grown * (model in ("similarity", "affine")), target.mean(0))
        assert cost(other @ best) >= cost(best)


def test_points_of_weight_zero_do_not_count():
    source = cloud(3)
    target = truth("rigid", 3)(source)
    target[5:] += RNG(1).normal(scale=50, size=target[5:].shape)
    target[7] = np.nan
    weights = np.where(np.arange(40) < 5, 2.0, 0.0)
    assert np.allclose(fit_linear(source, target, "rigid", weights), truth("rigid", 3).matrix, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("model", ["rigid", "similarity"])
def test_a_mirror_image_is_turned_never_reflected(model, dim):
    source = cloud(dim)
    matrix = fit_linear(source, source * ([-1] + [1] * (dim - 1)), model)
    assert np.linalg.det(matrix[:dim, :dim]) > 0


def test_an_affine_fit_may_reflect():
    source = cloud(3)
    assert np.allclose(fit_linear(source, source * (-1, 1, 1), "affine"), np.diag((-1, 1, 1, 1)), atol=1e-9)


def test_points_in_a_plane_settle_a_rotation_in_3d():
    source = cloud(3) * (1, 1, 0)
    expected = truth("rigid", 3)
    assert np.allclose(fit_linear(source, expected(source), "rigid"), expected.matrix, atol=1e-9)


LINE = np.outer(np.arange(8.0), (1, 2, -3)) + 50
DEGENERATE = [
    ("rigid", np.full((5, 2), 7.0), "one place"),
    ("rigid", np.full((5, 3), 7.0), "one line"),
    ("similarity", LINE, "one line"),
    ("affine", LINE[:, :2], "one line"),
    ("affine", cloud(3) * (1, 1, 0), "one plane"),
    ("affine", np.zeros((9, 2)), "one place"),
]


@pytest.mark.parametrize(("model", "source", "match"), DEGENERATE)
def test_degenerate_points_are_refused(model, source, match):
    with pytest.raises(PointsError, match=match):
        fit_linear(source, source + 3.0, model)


def test_a_single_target_settles_no_rotation():
    with pytest.raises(PointsError, match="do not settle"):
        fit_linear(cloud(2), np.full((40, 2), 3.0), "rigid")


@pytest.mark.parametrize(
    ("source", "target", "options", "match"),
    [
        (cloud(3, 2), cloud(3, 2), {"model": "rigid"}, "2 pairs.*at least 3"),
        (cloud(2, 5), cloud(2, 5), {"weights": [1, 1, 0, 0, 0]}, "2 pairs.*at least 3"),
        (cloud(2, 5), cloud(2, 6), {}, "row by row"),
        (np.zeros((4, 4)), np.zeros((4, 4)), {}, "row by row"),
        (cloud(2, 5), cloud(2, 5), {"weights": [1, 1, 1, 1, -1]}, "0 or more"),
        (cloud(2, 5), cloud(2, 5), {"weights": np.ones(4)}, "as many weights"),
        (cloud(2, 5) * np.nan, cloud(2, 5), {}, "NaN"),
    ],
)
def test_what_cannot_be_fitted_is_refused(source, target, options, match):
    with pytest.raises(PointsError, match=match):
        fit_linear(source, target, **options)


def test_unknown_model_names_the_nearest():
    with pytest.raises(OptionError, match="'affine'"):
        fit_linear(cloud(2), cloud(2), "afine")
