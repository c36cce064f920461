"""Quality of images, against scikit-image and what was done to them; agreement of raters against known tables."""

import json

import numpy as np
import pytest
import torch

from coincide.cli import main
from coincide.errors import DimensionError, InputError, IntensityError, LabelError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import write_image
from coincide.measures.quality.alone import alone, entropy_focus, sharpness, smoothed
from coincide.measures.quality.raters import agreement, cohen_kappa, intraclass_correlation
from coincide.measures.quality.reference import compared, multi_scale, similarity
from coincide.preprocess.pipeline import parse
from coincide.transforms import rotation_matrix
from phantom import grid_around, head, picture

GRID = grid_around(3, 4.0)
CLEAN = Image((400 * head(GRID.points())).astype(np.float32), GRID)
NOISY = Image(
    CLEAN.numpy() + 12 * np.random.default_rng(5).standard_normal(GRID.shape).astype(np.float32), GRID
)


@pytest.mark.parametrize("dim", [2, 3])
def test_errors_and_similarity_are_scikit_images(dim):
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

    grid = grid_around(dim, 4.0)
    a, b = picture(grid, noise=0.05).numpy()[0].astype(float), 400 * head(grid.points())
    extent = float(np.ptp(b))
    found = compared(Image(a, grid), Image(b, grid))
    assert found["mse"] == pytest.approx(mean_squared_error(b, a), rel=1e-6)
    assert found["mae"] == pytest.approx(np.abs(a - b).mean(), rel=1e-6)
    assert found["psnr_db"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=extent), rel=1e-6)
    theirs = structural_similarity(
        b, a, data_range=extent, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found["ssim"] == pytest.approx(theirs, rel=1e-6)


def test_multi_scale_similarity_is_its_definition():
    from skimage.measure import block_reduce
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(1)
    b = np.cumsum(np.cumsum(rng.standard_normal((64, 48)), 0), 1)
    a = b + 0.1 * b.std() * rng.standard_normal(b.shape)
    extent = float(np.ptp(b))
    whole = np.ones(b.shape)
    # three scales fit; at the last one the whole similarity counts, which scikit-image has
    structures = []
    for k in range(3):
        fewer = [block_reduce(v, 2**k, np.mean) for v in (a, b)]
        structures.append(similarity(*fewer, whole[:: 2**k, :: 2**k], extent))
    last = structural_similarity(
        block_reduce(b, 4, np.mean), block_reduce(a, 4, np.mean), data_range=extent, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    # the published weights of all five sum to 1.0001
    weights = np.array([0.0448, 0.2856, 0.3001]) / 0.6305 * 1.0001
    expected = structures[0][1] ** weights[0] * structures[1][1] ** weights[1] * last ** weights[2]
    assert multi_scale(a, b, whole, extent) == pytest.approx(expected, rel=1e-6)
    # where brightness is the same everywhere, structure is all there is of similarity
    assert multi_scale(b, b, whole, extent) == pytest.approx(1)


def test_multi_scale_similarity_is_the_reference_librarys():
    i, j = np.meshgrid(np.arange(192), np.arange(256), indexing="ij")
    b = np.round(127 + 60 * np.sin(i / 9) * np.cos(j / 13) + 40 * np.sin((i + 2 * j) / 31))
    a = b + 3 * ((7 * i + 5 * j + i * j) % 11) - 15
    # pytorch-msssim 1.0.0 in 64 bits, its window too
    assert similarity(a, b, np.ones(b.shape), 255.0)[0] == pytest.approx(0.588368290178, rel=1e-6)
    assert multi_scale(a, b, np.ones(b.shape), 255.0) == pytest.approx(0.94929474058, rel=1e-6)


def test_only_what_counts_enters():
    mask = torch.from_numpy(head(GRID.points()) > 0.2)
    dirty = NOISY.with_data(torch.where(mask, NOISY.data, torch.full_like(NOISY.data, 1e6)), mask=mask)
    assert compared(dirty, CLEAN) == compared(NOISY.with_mask(mask), CLEAN)
    assert alone(dirty) == alone(NOISY.with_mask(mask))
    assert alone(dirty).keys() <= alone(NOISY).keys()


@pytest.mark.parametrize("inside", [(0, 18), (14, 18), (16, 18)])
def test_images_with_nothing_in_common_are_unlike_inside_a_mask_too(inside):
    grid = Grid.from_spacing((60, 60, 40), (1.0, 1.0, 1.0))
    rng = np.random.default_rng(3)
    apart = np.linalg.norm(grid.points() - grid.centre, axis=-1)
    mask = torch.from_numpy((apart >= inside[0]) & (apart < inside[1]))
    one, other = (Image(100 + 5 * rng.standard_normal(grid.shape), grid, mask=mask) for _ in range(2))
    found = compared(one, other)
    assert abs(found["ssim"]) < 0.1
    assert found["ms_ssim"] < 0.3
    assert compared(one, one)["ms_ssim"] == pytest.approx(1)
    garbage = one.with_data(torch.where(mask, one.data, torch.full_like(one.data, torch.nan)), mask=None)
    assert compared(garbage, other) == found


def test_ghosts_are_looked_for_in_air_that_counts_alone():
    ghosts = NOISY.with_data(NOISY.data + 0.15 * CLEAN.data.roll(GRID.shape[1] // 2, 2))
    shell = head(GRID.points())
    assert "ghost_ratio" not in alone(ghosts.with_mask(torch.from_numpy(shell > 0.2)))
    lost = ghosts.data.clone()
    lost[:, :3] = torch.nan
    assert alone(ghosts.with_data(lost))["ghost_ratio"] == pytest.approx(
        alone(ghosts)["ghost_ratio"], rel=0.2
    )


def test_noise_and_contrast_are_what_was_put_in():
    labels = Image((head(GRID.points()) > 0.4).astype(int), GRID, "label")
    found = alone(NOISY, labels)
    assert found["noise_sd"] == pytest.approx(12, rel=0.1)
    inside = labels.numpy()[0] == 1
    contrast = CLEAN.numpy()[0][inside].mean() - CLEAN.numpy()[0][~inside].mean()
    assert found["cnr_1"] == pytest.approx(contrast / 12, rel=0.1)
    assert found["snr_1"] == pytest.approx(CLEAN.numpy()[0][inside].mean() / 12, rel=0.1)


def test_sharpness_is_per_mm_and_falls_with_blur():
    sharp = alone(CLEAN)["sharpness_per_mm"]
    finer = grid_around(3, (4.0, 4.0, 2.0))
    assert alone(Image((400 * head(finer.points())).astype(np.float32), finer))[
        "sharpness_per_mm"
    ] == pytest.approx(sharp, rel=0.15)
    values = [alone(parse(f"gaussian:sigma={s}")(NOISY).image)["sharpness_per_mm"] for s in (4, 8)]
    assert values[1] < 0.75 * values[0] < 0.75 * sharp
    assert alone(NOISY)["sharpness_per_mm"] == pytest.approx(sharp, rel=0.15)


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, -35, 50)])
def test_a_slope_is_as_steep_as_it_is_on_any_voxels(angles):
    grid = Grid.from_spacing((20, 24, 16), (0.7, 1.3, 2.9), (5, -3, 8), rotation_matrix(angles))
    ramp = grid.points() @ np.array((3.0, -4.0, 12.0))
    assert sharpness(smoothed(ramp), np.ones(grid.shape, bool), grid, 0.0) == pytest.approx(13, rel=1e-6)


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (2.0, 2.0, 8.0)])
def test_noise_is_not_sharpness(spacing):
    grid = grid_around(3, spacing)
    clean = 400 * head(grid.points())
    noise = np.random.default_rng(5).standard_normal(grid.shape)
    found = [alone(Image((clean + sd * noise).astype(np.float32), grid)) for sd in (0, 20, 60)]
    assert found[2]["snr"] < 6
    for noisy in found[1:]:
        assert noisy["sharpness_per_mm"] == pytest.approx(found[0]["sharpness_per_mm"], rel=0.1)


def test_artefacts_are_seen():
    plain = alone(NOISY)
    ghosts = NOISY.with_data(NOISY.data + 0.15 * CLEAN.data.roll(GRID.shape[1] // 2, 2))
    assert alone(ghosts)["ghost_ratio"] > plain["ghost_ratio"] + 0.02
    uneven = NOISY.data.clone()
    uneven[..., ::2] *= 1.2
    assert alone(NOISY.with_data(uneven))["slice_unevenness"] > 3 * plain["slice_unevenness"]
    moved = sum(CLEAN.data.roll(k, 1) for k in (0, 3, -5)) / 3
    assert alone(CLEAN.with_data(moved))["entropy_focus"] > alone(CLEAN)["entropy_focus"]
    # all the energy in one voxel is the sharpest focus there is
    assert entropy_focus(np.eye(5).ravel()[:5]) == pytest.approx(0)


def test_axes_do_not_matter():
    other = parse("reorient:axes=PIR")(NOISY).image
    plain, turned = alone(NOISY), alone(other)
    assert {k: pytest.approx(v, rel=1e-6) for k, v in plain.items()} == turned


def test_kappa_and_icc_of_published_tables():
    # Shrout and Fleiss 1979, table 2 and table 4: ICC(2,1) = .29, ICC(2,4) = .62
    scores = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    found = intraclass_correlation(scores)
    assert found["icc_2_1"] == pytest.approx(0.29, abs=0.005)
    assert found["icc_2_k"] == pytest.approx(0.62, abs=0.005)
    # 50 decisions: 20 yes by both, 15 no by both, 5 and 10 apart: kappa .4
    one, other = np.repeat([1, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    for weights in ("none", "linear", "quadratic"):
        assert cohen_kappa(one, other, np.array([0, 1]), weights) == pytest.approx(0.4)
    assert np.isnan(cohen_kappa(np.ones(3), np.ones(3), np.array([0, 1])))


def test_weighted_kappa_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    rng = np.random.default_rng(2)
    one = rng.integers(1, 6, 60)
    other = np.clip(one + rng.integers(-1, 2, 60), 1, 5)
    for weights in ("linear", "quadratic"):
        theirs = metrics.cohen_kappa_score(one, other, weights=weights)
        assert cohen_kappa(one, other, np.arange(1, 6), weights) == pytest.approx(theirs, rel=1e-9)


def test_agreement_takes_what_each_pair_rated():
    scores = {"b": {"x": 1, "y": 5, "z": 3}, "a": {"x": 1, "y": 5, "z": 3, "w": 2}, "c": {"x": 5, "y": 1}}
    found = agreement(scores, range(1, 6))
    assert [p["raters"] for p in found["pairs"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert found["pairs"][0] == {"raters": ["a", "b"], "images": 3, "kappa_quadratic": 1.0}
    assert found["pairs"][1]["kappa_quadratic"] == pytest.approx(-1)
    assert found["images_rated_by_all"] == 2
    assert agreement({}, range(1, 6))["pairs"] == []


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(DimensionError, match="Resample"):
        compared(CLEAN, picture(grid_around(3, 8.0)))
    with pytest.raises(IntensityError, match="constant"):
        compared(CLEAN, CLEAN.with_data(torch.ones_like(CLEAN.data)))
    with pytest.raises(IntensityError, match="percentiles"):
        alone(CLEAN.with_data(torch.ones_like(CLEAN.data)))
    with pytest.raises(LabelError, match="another grid"):
        alone(CLEAN, Image(np.zeros((3, 4, 5), int), Grid((3, 4, 5), np.eye(4)), "label"))
    with pytest.raises(InputError, match="two subjects"):
        intraclass_correlation(np.ones((1, 3)))


def test_the_command_measures_alone_and_beside_a_reference(tmp_path, capsys):
    write_image(NOISY, tmp_path / "noisy.nii.gz")
    write_image(CLEAN, tmp_path / "clean.nii.gz")
    noisy, clean = str(tmp_path / "noisy.nii.gz"), str(tmp_path / "clean.nii.gz")
    assert main(["quality", noisy, "--reference", clean, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reference"]["rmse"] == pytest.approx(12, rel=0.05)
    assert main(["quality", noisy]) == 0
    shown = capsys.readouterr().out
    assert shown.split()[:2] == ["measure", "value"]
    assert "snr" in shown
    assert main(["quality", noisy, "--reference", clean]) == 0
    assert "beside the reference: ssim" in capsys.readouterr().out
    assert main(["quality", str(tmp_path / "none.nii")]) == 3
