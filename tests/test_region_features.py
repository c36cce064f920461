"""Features of regions, against scikit-image, SimpleITK, the biomarker standard's own phantom, and exact shapes."""

import csv
import json
import warnings

import numpy as np
import pytest
import torch

from coincide.cli import main
from coincide.errors import IntensityError, LabelError, OptionError
from coincide.features.appearance import binned
from coincide.features.region import Region, regions
from coincide.features.table import Features
from coincide.features.texture import gabor_kernel, matrix, pattern_codes
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import write_image
from coincide.preprocess.pipeline import parse
from coincide.transforms import rotation_matrix
from phantom import grid_around, head, picture

N = 0  # outside the region
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [N, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, N, N], [1, 1, 1, 1, 1], [1, 1, N, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, N, N], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
# the standard's consensus values (its chapter 5.1; 3-D, merged), to the digits it prints
STANDARD = {
    "volume_mm3": 556, "volume_voxels_mm3": 592, "surface_mm2": 388, "surface_to_volume_per_mm": 0.698,
    "sphericity": 0.843, "diameter_mm": 13.1, "major_axis_mm": 11.4, "minor_axis_mm": 9.31, "least_axis_mm": 8.54,
    "elongation": 0.816, "flatness": 0.749, "mean": 2.15, "variance": 3.05, "skewness": 1.08,
    "excess_kurtosis": -0.355, "median": 1, "percentile_90": 4, "interquartile_range": 3,
    "mean_absolute_deviation": 1.55, "robust_mean_absolute_deviation": 1.11, "median_absolute_deviation": 1.15,
    "energy": 567, "root_mean_square": 2.77, "histogram_entropy_bits": 1.27, "histogram_uniformity": 0.512,
    "texture_joint_maximum": 0.509, "texture_joint_average": 2.15, "texture_joint_variance": 3.13,
    "minimum": 1, "percentile_10": 1, "maximum": 6, "texture_difference_average": 1.38,
    "texture_difference_variance": 3.21, "texture_sum_average": 4.3, "texture_sum_variance": 7.41,
    "texture_joint_entropy_bits": 2.57, "texture_difference_entropy_bits": 1.64, "texture_sum_entropy_bits": 2.11,
    "texture_angular_second_moment": 0.291, "texture_contrast": 5.12, "texture_dissimilarity": 1.38,
    "texture_inverse_difference": 0.688, "texture_inverse_difference_moment": 0.631, "texture_correlation": 0.183,
    "texture_autocorrelation": 5.19, "texture_cluster_tendency": 7.41, "texture_cluster_shade": 17.4,
    "texture_cluster_prominence": 147,
}  # fmt: skip
# of `oblong()`, by mirp 2.7.0, the standard's own reference software: 12 grey levels, 3-D, merged
REFERENCE = {
    "volume_mm3": 988.378906, "volume_voxels_mm3": 1012.5, "surface_mm2": 580.810366,
    "surface_to_volume_per_mm": 0.587639378, "sphericity": 0.826162373, "diameter_mm": 20.5684832,
    "major_axis_mm": 18.2944174, "minor_axis_mm": 9.39852463, "least_axis_mm": 8.07859476,
    "elongation": 0.513737302, "flatness": 0.441587977, "mean": 133.229172, "variance": 777.042419,
    "median": 131, "minimum": 70, "percentile_10": 99, "percentile_90": 169.800003, "maximum": 225,
    "interquartile_range": 36.25, "mean_absolute_deviation": 22.0965481,
    "robust_mean_absolute_deviation": 15.2291937, "median_absolute_deviation": 21.9930553, "energy": 8003687,
    "root_mean_square": 136.11412, "histogram_entropy_bits": 3.11830418, "histogram_uniformity": 0.13389489,
    "texture_joint_maximum": 0.0555170021, "texture_joint_average": 5.3118205,
    "texture_joint_variance": 4.30341568, "texture_joint_entropy_bits": 5.75209156,
    "texture_difference_average": 1.40689336, "texture_difference_variance": 1.21195341,
    "texture_difference_entropy_bits": 2.09645554, "texture_sum_average": 10.623641,
    "texture_sum_variance": 14.0223604, "texture_sum_entropy_bits": 3.92231316,
    "texture_angular_second_moment": 0.0246068014, "texture_contrast": 3.19130234,
    "texture_dissimilarity": 1.40689336, "texture_inverse_difference": 0.523364507,
    "texture_inverse_difference_moment": 0.46536697, "texture_correlation": 0.629212865,
    "texture_autocorrelation": 30.9232015, "texture_cluster_tendency": 14.0223604,
    "texture_cluster_shade": 20.3101085, "texture_cluster_prominence": 596.569064,
}  # fmt: skip


def oblong(turn: np.ndarray) -> Image:
    """An ellipsoid of whole numbers on voxels of 0.75 × 1.25 × 2.5 mm."""
    spacing = np.array((0.75, 1.25, 2.5))
    i, j, k = np.meshgrid(*(np.arange(n) for n in (15, 13, 11)), indexing="ij")
    x, y, z = i * spacing[0] - 5.7, j * spacing[1] - 6.4, k * spacing[2] - 13.1
    waves = 20 * np.sin(x) + 15 * np.cos(0.7 * y + 0.3 * x) + 0.8 * z * z
    values = np.round(100 + waves + 3 * ((7 * i + 5 * j + 3 * k) % 11))
    inside = (x / 4.5) ** 2 + (y / 5.3) ** 2 + (z / 10.2) ** 2 <= 1
    grid = Grid.from_spacing(values.shape, spacing, (3, -4, 5), turn)
    return Image(values.astype(np.float32), grid, mask=torch.from_numpy(inside))


def ellipsoid(spacing, radii, affine_turn=None, centre=(3.0, -4.0, 5.0)):
    turn = np.eye(3) if affine_turn is None else affine_turn
    spacing = np.asarray(spacing, float)
    shape = np.ceil(2 * (max(radii) + 6) / spacing).astype(int)
    origin = np.array(centre) - turn @ ((shape - 1) / 2 * spacing)
    grid = Grid.from_spacing(tuple(shape), spacing, origin, turn)
    apart = (grid.points() - centre) / np.array(radii)
    inside = (apart**2).sum(-1) <= 1
    return Image(torch.from_numpy(inside.astype(np.float32)), grid), Image(
        inside.astype(np.uint8), grid, "label"
    )


def test_the_standards_phantom_has_the_standards_values():
    values = PHANTOM.transpose(2, 1, 0).astype(np.float32)
    inside = torch.from_numpy(values != N)
    assert int(inside.sum()) == 74
    grid = Grid.from_spacing(values.shape, 2.0)
    found = Features(bins=6)(Image(values, grid, mask=inside))["image"]
    wrong = {k: (found[k], v) for k, v in STANDARD.items() if found[k] != pytest.approx(v, rel=5e-3)}
    assert not wrong


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, -35, 50)])
def test_oblong_and_oblique_voxels_have_the_values_of_the_reference_software(angles):
    from scipy import stats

    image = oblong(rotation_matrix(angles))
    found = Features(bins=12)(image)["image"]
    assert {name: found[name] for name in REFERENCE} == pytest.approx(REFERENCE, rel=1e-6)
    # mirp has these in 32 bits
    values = image.numpy()[0][image.mask.numpy()].astype(float)
    assert found["skewness"] == pytest.approx(stats.skew(values), rel=1e-9)
    assert found["excess_kurtosis"] == pytest.approx(stats.kurtosis(values), rel=1e-9)
    names = {n for n in found if n.startswith("texture_") and "pattern" not in n}
    assert len(names) == 20
    assert names <= REFERENCE.keys()


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 1.3, 2.5)])
@pytest.mark.parametrize("turned", [False, True])
def test_an_ellipsoid_is_measured_in_the_world(spacing, turned):
    turn = rotation_matrix((20, -35, 50)) if turned else None
    radii = (14.0, 20.0, 28.0)
    image, labels = ellipsoid(spacing, radii, turn)
    found = Features(("shape", "position"))(image, labels)["1"]
    volume = 4 / 3 * np.pi * np.prod(radii)
    assert found["volume_mm3"] == pytest.approx(volume, rel=0.01)
    assert found["volume_voxels_mm3"] == pytest.approx(volume, rel=0.01)
    assert found["elongation"] == pytest.approx(20 / 28, rel=0.01)
    assert found["flatness"] == pytest.approx(14 / 28, rel=0.01)
    assert found["diameter_mm"] == pytest.approx(56, rel=0.05)
    # a full ellipsoid's standard deviation is its radius / √5
    assert found["major_axis_mm"] == pytest.approx(4 * 28 / np.sqrt(5), rel=0.01)
    assert [found[f"centre_{a}_mm"] for a in "xyz"] == pytest.approx([3, -4, 5], abs=0.15)
    assert found["axis_z"] == pytest.approx(1, abs=0.01)
    assert found["high_z_mm"] - found["low_z_mm"] == pytest.approx(56, abs=2 * max(spacing) + 2)
    # Thomsen's formula, good to 1.1 %; a mesh of a binary mask is a staircase, larger by some percent
    p = 1.6075
    a, b, c = radii
    surface = 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)
    assert 1.0 < found["surface_mm2"] / surface < 1.15


def test_shape_agrees_with_scikit_image_and_simpleitk():
    import SimpleITK as sitk
    from skimage.measure import marching_cubes, mesh_surface_area

    image, labels = ellipsoid((1.0, 1.5, 2.0), (9.0, 13.0, 17.0))
    found = Features(("shape", "position"))(image, labels)["1"]
    inside = np.pad(labels.numpy()[0], 1)
    corners, faces, _, _ = marching_cubes(inside.astype(float), 0.5, spacing=(1.0, 1.5, 2.0))
    assert found["surface_mm2"] == pytest.approx(mesh_surface_area(corners, faces), rel=1e-6)
    other = sitk.GetImageFromArray(labels.numpy()[0].T)
    other.SetSpacing((1.0, 1.5, 2.0))
    other.SetOrigin([float(o) for o in labels.grid.origin])
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(other)
    assert found["volume_voxels_mm3"] == pytest.approx(statistics.GetPhysicalSize(1), rel=1e-6)
    assert [found[f"centre_{a}_mm"] for a in "xyz"] == pytest.approx(statistics.GetCentroid(1), rel=1e-6)
    number = found["voxels"]
    moments = np.array(statistics.GetPrincipalMoments(1))
    assert found["major_axis_mm"] == pytest.approx(
        4 * np.sqrt(moments.max() * number / (number - 1)), rel=1e-6
    )


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 1.2)])
def test_a_disc_has_its_area_and_perimeter(spacing):
    grid = Grid.from_spacing((140, 110), spacing, (-35, -55))
    disc = np.linalg.norm(grid.points() - (0.3, 0.1), axis=-1) < 25
    found = Features(("shape",))(
        Image(disc.astype(np.float32), grid), Image(disc.astype(int), grid, "label")
    )["1"]
    assert found["area_mm2"] == pytest.approx(np.pi * 625, rel=0.01)
    assert found["perimeter_mm"] == pytest.approx(np.pi * 50, rel=0.035)
    assert found["circularity"] == pytest.approx(1, abs=0.035)


def test_cooccurrence_is_scikit_images():
    from skimage.feature import graycomatrix, graycoprops

    picture_ = picture(grid_around(2, 4.0), noise=0.05)
    levels = binned(picture_.numpy()[0], 16)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    theirs = graycomatrix(levels.astype(np.uint8), [1], angles, 16, symmetric=True).sum(-1, keepdims=True)
    ours = matrix(levels, np.ones(levels.shape, bool), 16)
    np.testing.assert_array_equal(ours, theirs[:, :, 0, 0])
    found = Features(("texture",), bins=16)(picture_)["image"]
    shares = theirs / theirs.sum()
    for name, key in (("contrast", "contrast"), ("dissimilarity", "dissimilarity"), ("correlation", "correlation"),
                      ("ASM", "angular_second_moment"), ("homogeneity", "inverse_difference_moment")):  # fmt: skip
        assert found[f"texture_{key}"] == pytest.approx(graycoprops(shares, name)[0, 0], rel=1e-6)


def test_binary_patterns_are_scikit_images():
    from skimage.feature import local_binary_pattern

    values = np.random.default_rng(3).random((40, 33))
    with warnings.catch_warnings():
        # it would rather have whole numbers
        warnings.simplefilter("ignore")
        theirs = local_binary_pattern(values, 8, 2.0, method="uniform").astype(int)
    np.testing.assert_array_equal(pattern_codes(values, np.array([2.0, 2.0])), theirs)


def test_binary_patterns_are_of_circles_in_mm():
    def wavy(world):
        return np.sin(world[..., 0] / 3.1) + np.cos(world[..., 1] / 4.3 + world[..., 0] / 7.7)

    turn = rotation_matrix(25)
    grid = Grid.from_spacing((260, 90), (0.1, 0.3), (2, 1), turn)
    radius = 1.5
    codes = pattern_codes(wavy(grid.points()), radius / grid.spacing)
    angles = 2 * np.pi * np.arange(8) / 8
    offsets = radius * np.stack([-np.sin(angles), np.cos(angles)], -1) @ turn.T
    bits = np.stack([wavy(grid.points() + o) >= wavy(grid.points()) for o in offsets])
    uniform = (bits != np.roll(bits, 1, axis=0)).sum(0) <= 2
    inner = (slice(20, -20), slice(8, -8))
    assert (codes == np.where(uniform, bits.sum(0), 9))[inner].mean() > 0.99


def test_gabor_filters_answer_to_their_wavelength_in_mm():
    from skimage.filters import gabor_kernel as theirs

    for angle in (0, np.pi / 2):
        other = theirs(1 / 6, theta=np.pi / 2 - angle, sigma_x=0.56 * 6, sigma_y=0.56 * 6, n_stds=3)
        weights = np.abs(other) / np.abs(other).sum()
        expected = other / np.abs(other).sum() - weights * (other / np.abs(other).sum()).sum()
        np.testing.assert_allclose(gabor_kernel(6.0, angle, np.ones(2)), expected, rtol=1e-6, atol=1e-12)
    kernel = gabor_kernel(6.0, 0.4, np.array([1.0, 1.0]))
    # scikit-image's axes are the other way about, and its kernel keeps its answer to brightness
    other = theirs(1 / 6, theta=np.pi / 2 - 0.4, sigma_x=0.56 * 6, sigma_y=0.56 * 6, n_stds=3)
    assert abs(kernel.sum()) < 1e-12
    size = [min(a, b) for a, b in zip(kernel.shape, other.shape)]
    cut = [tuple(slice((n - s) // 2, (n + s) // 2) for n, s in zip(k.shape, size)) for k in (kernel, other)]
    scaled = other / np.abs(other).max() * np.abs(kernel).max()
    np.testing.assert_allclose(kernel[cut[0]], scaled[cut[1]], atol=0.01 * np.abs(kernel).max())
    grid = Grid.from_spacing((120, 60), (0.5, 1.0))
    wave = Image(np.sin(2 * np.pi * grid.points()[..., 0] / 8).astype(np.float32), grid)
    found = Features(("texture",))(wave)["image"]
    assert found["gabor_8mm_mean"] > 3 * max(found["gabor_4mm_mean"], found["gabor_16mm_mean"])


def test_colour_has_moments_of_its_own():
    rng = np.random.default_rng(0)
    grid = Grid((30, 20), np.eye(3))
    image = Image(rng.random((3, 30, 20)).astype(np.float32) * np.array([1, 2, 3])[:, None, None], grid)
    found = Features(("appearance",))(image)["image"]
    shares = Features(("histogram",), bins=7)(image)["image"]
    for name, values in zip(("red", "green", "blue"), image.numpy()):
        assert found[f"{name}_mean"] == pytest.approx(values.mean(), rel=1e-5)
        expected = np.histogram(values.astype(float), 7)[0] / values.size
        assert [shares[f"{name}_histogram_{n}"] for n in range(1, 8)] == pytest.approx(expected, abs=1e-9)


def test_axes_and_padding_change_no_feature():
    grid = grid_around(3, (5.0, 6.0, 7.0))
    scan = picture(grid, noise=0.02)
    labels = Image((head(grid.points()) > 0.4).astype(int) + (head(grid.points()) > 0.7), grid, "label")
    plain = Features()(scan, labels)
    for steps in ("reorient:axes=PIR", "pad:margin=20"):
        done = parse(steps)(scan, labels)
        other = Features()(done.image, done.labels)
        assert other.keys() == plain.keys()
        for region, row in plain.items():
            for name, value in row.items():
                assert other[region][name] == pytest.approx(value, rel=1e-6, abs=1e-6), (steps, region, name)


def test_resampling_first_makes_textures_independent_of_spacing():
    fine, flat = (picture(grid_around(3, s), noise=0) for s in ((4.0, 4.0, 4.0), (4.0, 4.0, 8.0)))
    raw, same = Features(("texture",), bins=8), Features(("texture",), bins=8, spacing=4.0)
    key = "texture_contrast"
    near = abs(same(flat)["image"][key] / same(fine)["image"][key] - 1)
    assert near < 0.15
    assert near < 0.5 * abs(raw(flat)["image"][key] / raw(fine)["image"][key] - 1)


def test_what_cannot_be_described_is_refused():
    scan = picture(grid_around(2, 6.0))
    with pytest.raises(OptionError, match="group of features"):
        Features(("shapes",))
    with pytest.raises(OptionError, match="bins"):
        Features(bins=1)
    with pytest.raises(LabelError, match="labels lie on"):
        Features()(scan, Image(np.zeros((4, 4), int), Grid((4, 4), np.eye(3)), "label"))
    with pytest.raises(IntensityError, match="no voxel"):
        Features()(scan.with_data(torch.full_like(scan.data, float("nan"))))


def test_a_single_voxel_is_described():
    labels = np.zeros((9, 8, 7), int)
    labels[0, 4, 3] = 5
    grid = Grid((9, 8, 7), np.eye(4))
    found = Features()(
        Image(np.random.default_rng(0).random((9, 8, 7)).astype(np.float32), grid),
        Image(labels, grid, "label"),
    )
    assert found["5"]["voxels"] == 1
    assert found["5"]["variance"] == 0
    assert isinstance(regions(Image(labels.astype(np.float32), grid))["image"], Region)


def test_the_command_writes_csv_and_json(tmp_path, capsys):
    grid = grid_around(3, 8.0)
    write_image(picture(grid), tmp_path / "scan.nii.gz")
    write_image(Image((head(grid.points()) > 0.4).astype(int) * 7, grid, "label"), tmp_path / "labels.nii.gz")
    scan, labels = str(tmp_path / "scan.nii.gz"), str(tmp_path / "labels.nii.gz")
    for name in ("f.csv", "f.json"):
        assert main(["features", scan, "--labels", labels, "--out", str(tmp_path / name)]) == 0
    rows = {r["region"]: r for r in csv.DictReader((tmp_path / "f.csv").read_text().splitlines())}
    found = json.loads((tmp_path / "f.json").read_text())
    assert set(rows) == set(found) == {"image", "7"}
    assert float(rows["7"]["surface_mm2"]) == found["7"]["surface_mm2"]
    capsys.readouterr()
    assert main(["features", scan, "--json", "--groups", "shape"]) == 0
    assert "sphericity" in json.loads(capsys.readouterr().out)["image"]
    assert "fewer than" not in capsys.readouterr().err
    write_image(Image((head(grid.points()) > 0.97).astype(int) * 9, grid, "label"), tmp_path / "speck.nii.gz")
    assert main(["features", scan, "--labels", str(tmp_path / "speck.nii.gz"), "--spacing", "25"]) == 0
    assert "region 9: fewer than 8 voxels count at 25 mm" in " ".join(capsys.readouterr().err.split())
    assert main(["features", scan, "--groups", "shape,colour"]) == 3
    assert main(["features", scan, "--out", str(tmp_path / "f.txt")]) == 3
    assert "as .csv or .json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["features", "none.nii"], 3, "none.nii"),
        (["features", "scan.nii", "--labels", "other.nii", "--out", "f.csv"], 3, "labels lie on"),
        (["features", "scan.nii", "--mask", "other.nii", "--out", "f.csv"], 3, "other.nii"),
        (["features", "scan.nii", "--out", "no/f.csv"], 3, "no"),
        (["features", "scan.nii", "--out", "f.txt"], 3, "as .csv or .json"),
        (["features", "scan.nii", "--labels", "f.csv", "--out", "f.csv"], 3, "overwrite"),
        (["features", "scan.nii", "--groups", "shapes", "--out", "f.csv"], 3, "Did you mean 'shape'"),
        (["features", "scan.nii", "--bins", "1", "--out", "f.csv"], 3, "bins"),
        (["features", "scan.nii", "--spacing", "-1", "--out", "f.csv"], 3, "spacing"),
        (["features", "scan.nii", "--time-index", "1", "--out", "f.csv"], 3, "no 4-D image"),
        (["features", "flat.nii", "--mask", "empty.nii", "--out", "f.csv"], 3, "empty"),
        (["quality", "scan.nii", "--reference", "other.nii"], 3, "Resample"),
        (["quality", "scan.nii", "--labels", "other.nii"], 3, "another grid"),
        (["quality", "flat.nii"], 3, "percentiles"),
        (["quality", "scan.nii", "--reference", "flat.nii"], 3, "constant"),
        (["quality", "scan.nii", "--time-index", "0"], 3, "no 4-D image"),
    ],
)
def test_what_will_not_do_is_refused_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, arguments, code, says
):
    monkeypatch.chdir(tmp_path)
    grid = grid_around(3, 12.0)
    write_image(picture(grid), tmp_path / "scan.nii")
    write_image(Image(np.full(grid.shape, 7, np.float32), grid), tmp_path / "flat.nii")
    write_image(Image(np.zeros(grid.shape, np.uint8), grid, "label"), tmp_path / "empty.nii")
    other = grid_around(3, 15.0)
    write_image(Image((head(other.points()) > 0.4).astype(np.uint8), other, "label"), tmp_path / "other.nii")
    before = sorted(tmp_path.iterdir())
    assert main(arguments) == code
    assert says in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_a_label_that_resampling_loses_stands_in_the_table_with_no_voxel():
    values = np.random.default_rng(2).normal(100, 5, (24, 24, 24)).astype(np.float32)
    names = np.zeros(values.shape, np.int16)
    names[4:16, 4:16, 4:16], names[20, 20, 20] = 1, 9
    grid = Grid.from_spacing(values.shape, 1.0)
    found = Features(("shape",), spacing=4.0)(Image(values, grid), Image(names, grid, "label"))
    assert list(found) == ["image", "1", "9"]
    assert found["9"] == {"voxels": 0.0}
    assert found["1"]["voxels"] > 0
