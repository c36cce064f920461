"""Splines on a lattice: their kernels, their energies, and what pulls on control points."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from coincide.grid import Grid
from coincide.ops import _parallel
from coincide.ops.block_matching import match_blocks
from coincide.ops.differences import between, differences, differences_adjoint
from coincide.ops.spline import collect, expand, pull, taps
from coincide.optimise.spline import Lattice

BENDING = (0.0, 0.0, 1.0)


def lattice(dim: int) -> Lattice:
    return Lattice(Grid.from_spacing((13, 17, 15)[:dim], (1.3, 1.0, 0.8)[:dim]), 4.0)


def coefficients(of: Lattice, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(of.grid.dim, *of.shape))


def noise(shape, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("derivative", [0, 1, 2])
def test_taps_are_those_of_scipy(derivative):
    places = np.linspace(0, 5, 41)
    values = np.random.default_rng(0).normal(size=8)
    spline = (
        BSpline(np.arange(-3.0, 9.0), values, 3).derivative(derivative)
        if derivative
        else BSpline(np.arange(-3.0, 9.0), values, 3)
    )
    np.testing.assert_allclose(taps(places, 8, derivative).matrix @ values, spline(places), atol=1e-6)


@pytest.mark.parametrize("dim", [2, 3])
def test_kernels_are_the_reference_and_each_others_adjoint(dim):
    of = lattice(dim)
    c, up = noise((2, *of.shape)), noise((2, *of.grid.shape), 2)
    np.testing.assert_allclose(expand(c, of.axes), expand(c.double(), of.axes), atol=1e-5)
    np.testing.assert_allclose(collect(up, of.axes), collect(up.double(), of.axes), atol=1e-4)
    there, back = (expand(c.double(), of.axes) * up).sum(), (c * collect(up.double(), of.axes)).sum()
    assert float(there) == pytest.approx(float(back), rel=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_pull_is_what_autograd_finds(dim):
    shape = (9, 11, 8)[:dim]
    image, field, up = noise((3, *shape)), 2 * noise((dim, *shape), 2), noise((3, *shape), 3)
    found = pull(image, field, up)
    np.testing.assert_allclose(found, pull(image.double(), field.double(), up.double()), atol=2e-5)
    assert float(found.abs().max()) > 1


@pytest.mark.parametrize("dim", [2, 3])
def test_a_spline_is_fitted_by_itself(dim):
    of = lattice(dim)
    field = of.field(coefficients(of))
    np.testing.assert_allclose(of.field(of.fitted(field)), field, atol=1e-3)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("what", ["bending", "smooth", "folding"])
def test_gradients_of_what_holds_back_are_those_of_finite_differences(what, dim):
    of = lattice(dim)
    cost = {
        "bending": lambda c: of.energy(c, BENDING),
        "smooth": lambda c: of.energy(c, (0.3, 1.2, 0.5)),
        "folding": lambda c: of.folding(c, 0.9),
    }[what]
    at, way = coefficients(of), coefficients(of, 1)
    step = 1e-3
    slope = (cost(at + step * way)[0] - cost(at - step * way)[0]) / (2 * step)
    value, gradient = cost(at)
    assert value > 0
    assert float((gradient * way).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_bending_of_a_parabola_is_known(dim):
    """u = a x² along the first axis, mm, bends by 2a everywhere; linear maps bend nothing and fold nothing."""
    of = Lattice(Grid.from_spacing((17,) * dim, 1.0), 4.0)
    x = of.grid.points()
    field = np.zeros((dim, *of.grid.shape))
    field[0] = 0.01 * x[..., 0] ** 2
    found = of.fitted(torch.from_numpy(field).float())
    assert of.energy(found, BENDING)[0] == pytest.approx(0.02**2, rel=1e-2)
    field[0] = 0.1 * x[..., -1]
    assert of.energy(of.fitted(torch.from_numpy(field).float()), BENDING)[0] < 1e-6
    assert of.folding(of.fitted(torch.from_numpy(field).float()), 0.9)[0] == 0
    # squeezed to a half: the determinant falls short of 0.9 by 0.4 wherever it is looked at
    field[0] = -0.5 * x[..., 0]
    assert of.folding(of.fitted(torch.from_numpy(field).float()), 0.9)[0] == pytest.approx(0.16, rel=1e-2)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_matrix_of_an_energy_is_its_energy(dim):
    of = lattice(dim)
    c, energy = coefficients(of), (0.3, 1.2, 0.5)
    matrix = of.energy_matrix(energy)
    by_matrix = sum(float(x.ravel() @ matrix @ x.ravel()) for x in c)
    assert by_matrix == pytest.approx(of.energy(c, energy)[0], rel=1e-9)


def test_differences_have_an_adjoint_and_stay_where_voxels_count():
    counted = torch.from_numpy(np.random.default_rng(0).random((9, 8, 7)) > 0.2).double()
    open_ = between(counted)
    image, up = noise((9, 8, 7)).double(), noise((3, 9, 8, 7), 2).double()
    there, back = (differences(image, open_) * up).sum(), (image * differences_adjoint(up, open_)).sum()
    assert float(there) == pytest.approx(float(back), rel=1e-12)
    everywhere = differences(image, between(torch.ones(9, 8, 7).double()))
    inner = np.stack(np.gradient(image.numpy()))[:, 1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(everywhere[:, 1:-1, 1:-1, 1:-1], inner)
    spoilt = torch.where(counted > 0, image, 1e6)
    assert torch.equal(differences(spoilt, open_), differences(image, open_))


def test_threads_do_not_change_a_bit():
    of = Lattice(Grid.from_spacing((70, 60, 50), 1.0), 6.0)
    c, up, image = noise((3, *of.shape)), noise((3, 70, 60, 50), 2), noise((1, 70, 60, 50), 3)
    corners = np.random.default_rng(0).integers(3, 40, (300, 3))
    found = []
    try:
        for number in (1, 2, 3):
            _parallel.set_threads(number)
            shifts, _ = match_blocks(image[0].numpy(), up[0].numpy(), corners, 4, 2)
            found.append(
                (expand(c, of.axes), collect(up, of.axes), pull(image, up, image), torch.from_numpy(shifts))
            )
    finally:
        _parallel.set_threads(None)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0]))
