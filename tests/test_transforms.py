"""Transforms as maps of points: against SimpleITK, scipy's ODE solver, and their own inverses."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from coincide.errors import DimensionError, TransformError
from coincide.grid import Grid
from coincide.transforms import (
    Affine,
    BSpline,
    Displacement,
    Velocity,
    chain,
    identity,
    rigid,
    rotation_matrix,
    similarity,
    translation,
)

TURN = np.array([-1.0, -1.0, 1.0])


def oblique_grid(dim: int, shape=(13, 11, 9), spacing=(2.0, 3.0, 4.0)) -> Grid:
    """An anisotropic grid turned away from every axis."""
    direction = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    return Grid.from_spacing(shape[:dim], spacing[:dim], (-20.0, 7.0, -31.0)[:dim], direction)


def waves(grid: Grid, amplitude: float = 2.0) -> np.ndarray:
    """A smooth field, mm, `(dim, *shape)`, with another formula for each component, zero at the border."""
    unit = np.stack(np.meshgrid(*(np.linspace(0, np.pi, n) for n in grid.shape), indexing="ij"))
    window = np.prod(np.sin(unit), axis=0)
    parts = [window * np.cos(unit[-1] + 0.7), window * unit[0] / 3, -window * np.sin(unit[1] + 1.1) ** 2]
    return amplitude * np.stack(parts[: grid.dim])


def affine(dim: int) -> Affine:
    matrix = np.eye(dim + 1)
    matrix[:dim, :dim] = np.array([[1.05, 0.1, -0.07], [-0.12, 0.93, 0.05], [0.02, -0.09, 1.1]])[:dim, :dim]
    matrix[:dim, dim] = (6, -4, 3)[:dim]
    return Affine(matrix, (1.0, -2.0, 5.0)[:dim])


@pytest.mark.parametrize("dim", [2, 3])
def test_displacement_is_what_simpleitk_makes_of_it(dim):
    grid = oblique_grid(dim)
    vectors = waves(grid) + np.random.default_rng(0).normal(size=(dim, *grid.shape))
    turn = TURN[:dim]
    lps = (vectors.T * turn).astype(np.float64)
    field = sitk.GetImageFromArray(np.ascontiguousarray(lps), isVector=True)
    field.SetSpacing(grid.spacing.tolist())
    field.SetOrigin((turn * grid.origin).tolist())
    field.SetDirection((turn[:, None] * grid.direction).ravel().tolist())
    theirs = sitk.DisplacementFieldTransform(field)
    # inside, in the half voxel round the border, and outside
    index = np.random.default_rng(1).uniform(-1.5, 1.5, (400, dim)) + np.random.default_rng(2).uniform(
        0, np.array(grid.shape) - 1, (400, dim)
    )
    points = grid.world(index)
    expected = np.array([theirs.TransformPoint((turn * p).tolist()) for p in points]) * turn
    assert np.abs(Displacement(vectors, grid)(points) - expected).max() < 1e-5


@pytest.mark.parametrize("dim", [2, 3])
def test_bspline_is_what_simpleitk_makes_of_it(dim):
    grid = oblique_grid(dim, (7, 8, 6), (10.0, 12.0, 9.0))
    rng = np.random.default_rng(3)
    spline = BSpline(rng.normal(scale=3, size=(dim, *grid.shape)), grid)
    turn = TURN[:dim]
    theirs = sitk.BSplineTransform(dim, 3)
    direction = (turn[:, None] * grid.direction).ravel()
    theirs.SetFixedParameters([*grid.shape, *(turn * grid.origin), *grid.spacing, *direction])
    blocks = [s * c.T.ravel() for s, c in zip(turn, spline.coefficients.numpy())]
    theirs.SetParameters(np.concatenate(blocks).tolist())
    points = grid.world(rng.uniform(-0.5, np.array(grid.shape) - 0.5, (800, dim)))
    expected = np.array([theirs.TransformPoint((turn * p).tolist()) for p in points]) * turn
    assert np.abs(spline(points) - expected).max() < 1e-9
    moved = np.abs(expected - points).max(1) > 0
    assert 0.1 < moved.mean() < 0.95


@pytest.mark.parametrize("dim", [2, 3])
def test_bspline_inverse_undoes_it(dim):
    grid = oblique_grid(dim, (9, 8, 10), (10.0, 12.0, 9.0))
    spline = BSpline(np.random.default_rng(4).normal(scale=0.8, size=(dim, *grid.shape)), grid)
    points = grid.world(np.random.default_rng(5).uniform(2.2, np.array(grid.shape) - 3.2, (300, dim)))
    assert np.abs(spline(points) - points).max() > 0.5
    # white noise is the roughest spline: sampling it four times a control point costs a few hundredths
    assert np.abs(spline.inverse()(spline(points)) - points).max() < 0.1


def test_folded_bspline_has_no_inverse():
    grid = Grid.from_spacing((8, 8, 8), 5.0)
    coefficients = np.zeros((3, 8, 8, 8))
    coefficients[0, 4:] = -30
    with pytest.raises(TransformError, match="folds"):
        BSpline(coefficients, grid).inverse()


@pytest.mark.parametrize("dim", [2, 3])
def test_velocity_flows_as_an_ode_solver_says(dim):
    grid = oblique_grid(dim, (33, 29, 25), (1.0, 1.2, 1.4))
    velocity = Velocity(waves(grid, 4.0), grid)
    stream = Displacement(velocity.vectors, grid)
    middle = (np.array(grid.shape) - 1) / 2
    starts = grid.world(middle + np.random.default_rng(6).uniform(-0.6, 0.6, (12, dim)) * middle)
    ends = [solve_ivp(lambda t, x: stream(x) - x, (0, 1), p, rtol=1e-8, atol=1e-8).y[:, -1] for p in starts]
    assert np.abs(velocity(starts) - starts).max() > 2
    assert np.abs(velocity(starts) - ends).max() < 0.06  # a twentieth of a voxel


@pytest.mark.parametrize("dim", [2, 3])
def test_velocity_inverse_flows_back(dim):
    grid = oblique_grid(dim, (33, 29, 25), (1.0, 1.2, 1.4))
    velocity = Velocity(waves(grid, 4.0), grid)
    middle = (np.array(grid.shape) - 1) / 2
    points = grid.world(middle + np.random.default_rng(7).uniform(-0.6, 0.6, (200, dim)) * middle)
    assert np.abs(velocity.inverse()(velocity(points)) - points).max() < 0.06


@settings(max_examples=50, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    shift=st.tuples(*[st.floats(-100, 100)] * 3),
    scale=st.floats(0.2, 5),
    centre=st.tuples(*[st.floats(-200, 200)] * 3),
)
def test_linear_transforms_compose_and_invert(angles, shift, scale, centre):
    a, b = similarity(angles, shift, scale, centre), rigid(angles[::-1], shift[::-1], centre)
    points = np.random.default_rng(8).uniform(-100, 100, (20, 3))
    assert np.allclose((a @ b)(points), a(b(points)), atol=1e-8)
    assert np.allclose((a @ b).inverse()((a @ b)(points)), points, atol=1e-6)
    assert isinstance(a @ b, Affine)


@pytest.mark.parametrize("angle", [30.0, -75.0])
def test_rotation_is_simpleitks(angle):
    theirs = sitk.Euler2DTransform((3.0, 4.0), np.deg2rad(angle), (1.0, 2.0))
    assert np.allclose(rigid(angle, (1, 2), (3, 4))([7, -5]), theirs.TransformPoint((7.0, -5.0)))
    euler = sitk.Euler3DTransform((3.0, 4.0, 5.0), *np.deg2rad((7, angle, 5)), (1.0, 2.0, 3.0))
    euler.SetComputeZYX(True)
    assert np.allclose(
        rigid((7, angle, 5), (1, 2, 3), (3, 4, 5))([7, -5, 9]), euler.TransformPoint((7.0, -5.0, 9.0))
    )


def test_chain_applies_the_last_first_and_keeps_only_what_it_must():
    grid = oblique_grid(3)
    field = Displacement(waves(grid), grid)
    whole = translation((1, 2, 3)) @ affine(3) @ field @ identity(3)
    assert [type(part) for part in whole.parts()] == [Affine, Displacement]
    points = grid.points()[::3, ::3, ::3]
    assert np.allclose(whole(points), affine(3)(field(points)) + np.array([1, 2, 3]))
    assert np.array_equal(chain(identity(2), identity(2))(np.ones(2)), np.ones(2))


def test_singular_matrix_has_no_inverse():
    with pytest.raises(TransformError, match="singular"):
        Affine(np.diag([1, 1, 0, 1])).inverse()


@pytest.mark.parametrize(("kind", "number"), [(Displacement, 3), (Velocity, 3), (BSpline, 3)])
def test_vectors_must_fit_their_grid(kind, number):
    with pytest.raises(DimensionError, match="needs"):
        kind(np.zeros((number, 5, 5, 6)), Grid.from_spacing((5, 5, 5), 1.0))
    bad = np.zeros((number, 5, 5, 5))
    bad[1, 2, 3, 4] = np.nan
    with pytest.raises(TransformError, match="NaN"):
        kind(bad, Grid.from_spacing((5, 5, 5), 1.0))


def test_bspline_needs_four_control_points():
    with pytest.raises(DimensionError, match="at least 4"):
        BSpline(torch.zeros(2, 3, 9), Grid.from_spacing((3, 9), 1.0))


@pytest.mark.parametrize("transform", [affine(2), affine(3)])
def test_points_of_another_dimension_are_refused(transform):
    with pytest.raises(DimensionError):
        transform(np.zeros((4, 5 - transform.dim)))
    with pytest.raises(DimensionError):
        affine(2) @ affine(3)
