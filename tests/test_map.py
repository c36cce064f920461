"""Maximum a posteriori registration: known warps within the uncertainty that it states, and what it says of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.io import read_image
from coincide.measures.uncertainty import deviations
from coincide.methods import Status, parse
from coincide.optimise.deformable import Level
from coincide.optimise.posterior import Posterior, Prior, noise_of
from coincide.optimise.spline import Lattice
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import register
from coincide.report.layers import closer
from coincide.report.scene import look
from coincide.report.tables import sections
from coincide.results import write_results
from coincide.transforms import Displacement
from phantom import anatomy, grid_around, head, picture


def problem(seed: int, dim: int = 2) -> tuple[Pair, Displacement]:
    """Two noisy pictures of the head and the random smooth warp between them, fixed-world mm → moving-world mm."""
    rng = np.random.default_rng(seed)
    around = grid_around(dim, 4.0 if dim == 2 else 5.0, extent=(260, 280, 250))
    length, amplitude, noise = rng.uniform(14, 28), rng.uniform(1, 4), rng.uniform(0.004, 0.04)
    waves = [
        ndimage.gaussian_filter(rng.normal(size=around.shape), length / around.spacing[0]) for _ in range(dim)
    ]
    window = np.exp(-(((around.points() / 95) ** 2).sum(-1) ** 3))
    truth = Displacement(torch.from_numpy(np.stack(waves) * amplitude / np.std(waves) * window), around)
    spacing = 2.0 if dim == 2 else 4.5
    # the length of the name is the seed of a picture's noise
    fixed = picture(grid_around(dim, spacing), None, name="f" * (1 + seed), noise=noise)
    moving = picture(grid_around(dim, 1.1 * spacing), truth.inverse(), name="m" * (1001 + seed), noise=noise)
    return Pair(fixed, moving), truth


def standing(seed: int, dim: int = 2, spec: str = "map:trials=1"):
    """Errors of each component and their stated standard deviations, both `(points, dim)` mm."""
    pair, truth = problem(seed, dim)
    solution = parse(spec).solve(pair)
    assert solution.status is Status.SUCCEEDED
    points = anatomy(pair.fixed.grid)[::7]
    return solution.transform(points) - truth(points), deviations(solution.uncertainty, points)


def covered(seed: int, dim: int = 2) -> float:
    """Share of the errors within 1.96 standard deviations."""
    errors, stated = standing(seed, dim)
    return float((np.abs(errors) < 1.96 * stated).mean())


def test_the_interval_covers_the_truth():
    assert 0.85 < np.mean([covered(seed) for seed in range(3)]) < 1


@pytest.mark.slow
def test_the_interval_covers_the_truth_in_volumes():
    assert 0.85 < np.mean([covered(seed, 3) for seed in range(3)]) < 1


@pytest.mark.slow
def test_a_hundred_problems_are_covered_and_ranked():
    """The interval holds the truth as often as it says, and the stated uncertainty follows the error."""
    rows = []
    for seed in range(100):
        errors, stated = standing(seed)
        lengths = np.linalg.norm(errors, axis=1), np.linalg.norm(stated, axis=1)
        rows.append(
            (np.mean(np.abs(errors) < 1.96 * stated), stats.spearmanr(*lengths)[0], *np.mean(lengths, 1))
        )
    covered_, within, error, said = np.array(rows).T
    between = stats.spearmanr(error, said)[0]
    print(
        f"covered {covered_.mean():.3f}, rank correlation within {within.mean():.2f}, between {between:.2f}"
    )
    assert 0.90 <= covered_.mean() <= 0.98
    assert within.mean() > 0.25
    assert between > 0.7


def flat_level(dim: int, noise: float = 0.05) -> Level:
    """Waves along the first axis in one half of the image, nothing in the other; each image with its own noise."""
    grid = Grid.from_spacing((40,) * dim, 2.0) if dim == 2 else Grid.from_spacing((27,) * dim, 3.0)
    x = grid.points()
    waves = np.sin(x[..., 0] / 5) * (x[..., 0] < 40)
    rng = np.random.default_rng(0)
    images = [torch.from_numpy((waves + noise * rng.normal(size=grid.shape))[None]).float() for _ in range(2)]
    return Level(grid, *images)


@pytest.mark.parametrize("dim", [2, 3])
def test_what_is_not_seen_is_as_uncertain_as_the_prior_says(dim):
    level = flat_level(dim)
    still = torch.zeros((dim, *level.grid.shape))
    lattice, noise = Lattice(level.grid, 13.0 if dim == 2 else 18.0), noise_of(level, still)
    posterior = Posterior.of(level, still, lattice, Prior(2.0, 12.0 if dim == 2 else 20.0), noise)
    middle = np.full((1, dim), 40.0)
    middle[0, 0] = 20.0
    seen, unseen = posterior.deviations(middle)[0], posterior.deviations(middle + np.eye(dim)[:1] * 45)[0]
    assert seen[0] < 0.2
    # along the waves' crests nothing tells, and where there are none
    assert (seen[1:] > 1).all()
    # a field of 2 mm, somewhat less of it where control points stand as far apart as it is smooth
    assert (unseen > 1).all()
    assert (unseen < 3.5).all()


def test_noise_is_told_from_the_images():
    level = flat_level(2)
    noise = noise_of(level, torch.zeros((2, *level.grid.shape)))
    # two images of 0.05 each; gain and offset take a little
    assert noise.variance == pytest.approx(2 * 0.05**2, rel=0.15)
    assert noise.number == pytest.approx(1600, rel=0.1)
    smooth = replace(level, fixed=torch.from_numpy(ndimage.gaussian_filter(level.fixed.numpy(), (0, 2, 2))))
    assert noise_of(smooth, torch.zeros((2, *level.grid.shape))).number < 1000


@pytest.mark.parametrize("dim", [2, 3])
def test_the_prior_has_the_amplitude_it_says(dim):
    """Fields drawn from it have its standard deviation, away from the border."""
    lattice = Lattice(Grid.from_spacing((49 if dim == 2 else 25,) * dim, 2.0), 4.0 if dim == 2 else 6.0)
    matrix = lattice.energy_matrix(Prior(1.5, 8.0).precision(lattice))
    factor = np.linalg.cholesky(matrix)
    draws = np.linalg.solve(factor.T, np.random.default_rng(0).normal(size=(len(matrix), 60)))
    fields = [lattice.field(np.stack([d.reshape(lattice.shape)] * dim))[0].numpy() * 2.0 for d in draws.T]
    inner = tuple(slice(n // 4, -(n // 4)) for n in lattice.grid.shape)
    assert np.std([f[inner] for f in fields]) == pytest.approx(1.5, rel=0.15)


def test_a_given_amplitude_is_kept_and_less_of_it_moves_less():
    pair, _ = problem(1)
    moved = []
    for amplitude in (0.01, 2.0):
        solution = parse(f"map:trials=1,rounds=1,amplitude={amplitude}").solve(pair)
        assert solution.evidence["amplitude_mm"] == amplitude
        points = anatomy(pair.fixed.grid)
        bent = solution.transform.parts()[-1]
        moved.append(float(np.linalg.norm(bent(points) - points, axis=1).mean()))
    assert moved[0] < 0.3 * moved[1]


def test_the_report_shows_the_uncertainty():
    told = []
    result = register(problem(0)[0], "map:trials=1,rounds=1", progress=told.append)
    assert {"deformable", "uncertainty"} <= {event.stage for event in told}
    assert result.uncertainty is not None
    assert result.uncertainty.channels == 2
    layer = next(layer for layer in closer(look(result)) if layer.name == "uncertainty")
    assert "one standard deviation" in layer.caption
    assert layer.legend[-1][1].endswith(" mm")
    picture_, view = layer.pictures[0], look(result).views[0]
    assert picture_.shape == (*view.plane.shape, 3)
    assert np.ptp(picture_) > 0.3


def test_the_uncertainty_is_written_and_measured(tmp_path):
    pair, truth = problem(0)
    grid = pair.fixed.grid
    mask = torch.from_numpy(head(grid.points()) > 0.2)
    places = anatomy(grid)[::97]
    landmarks = Points(places), Points(truth(places))
    pair = replace(
        pair, fixed=pair.fixed.with_mask(mask), fixed_points=landmarks[0], moving_points=landmarks[1]
    )
    result = register(pair, "map:trials=1,rounds=1")
    assert result.uncertainty is not None
    written = write_results(result, tmp_path, report=False)
    assert "uncertainty.nii.gz" in written
    record = json.loads((tmp_path / "registration.json").read_text())
    assert record["files"]["uncertainty.nii.gz"]["unit"] == "mm"
    on_disk = read_image(tmp_path / "uncertainty.nii.gz").data[0].numpy()
    assert on_disk.shape[:2] == grid.shape
    # by another way: SciPy's interpolation of each channel of the map
    index = np.moveaxis(result.uncertainty.grid.index(grid.points()), -1, 0)
    channels = [
        ndimage.map_coordinates(c, index, order=1, mode="nearest") for c in result.uncertainty.numpy()
    ]
    np.testing.assert_allclose(on_disk.reshape(grid.shape), np.hypot(*channels), atol=1e-4)
    stated = record["measures"]["uncertainty"]
    assert stated["mean_mm"] == pytest.approx(np.hypot(*channels)[mask.numpy()].mean(), rel=1e-4)
    assert stated["median_mm"] < stated["p95_mm"] < stated["max_mm"]
    errors = np.abs(result.transform(places) - truth(places))
    inside = errors < 1.96 * deviations(result.uncertainty, places)
    assert stated["landmarks_within_percent"] == pytest.approx(100 * inside.mean())
    assert 50 < stated["landmarks_within_percent"] < 100
    rows = dict(sections(result))["Stated uncertainty"]
    assert [row.name for row in rows][-1] == "Landmarks within"


def test_a_method_that_states_no_uncertainty_writes_none(tmp_path):
    result = register(problem(0)[0], "linear:model=rigid")
    assert "uncertainty" not in result.measures
    (tmp_path / "uncertainty.nii.gz").write_text("of an earlier run")
    (tmp_path / "registration.json").write_text('{"files": {"uncertainty.nii.gz": {}}}')
    assert "uncertainty.nii.gz" not in write_results(result, tmp_path, report=False)
    assert not (tmp_path / "uncertainty.nii.gz").exists()


@pytest.mark.parametrize("spec", ["map:amplitude=-1", "map:length=-2", "map:rounds=0", "map:spacing=-3"])
def test_impossible_options_are_refused(spec):
    with pytest.raises(OptionError, match=r"map: .* must be .* found"):
        parse(spec)
