"""Transform files: the same points from coincide, SimpleITK, ANTs and nitransforms."""

import warnings

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from coincide.errors import CoincideError, MissingFileError, TransformError, UnreadableFileError
from coincide.grid import Grid
from coincide.io import read_transform, write_transform
from coincide.transforms import Affine, BSpline, Displacement, Velocity, rigid, rotation_matrix, translation

TURN = np.array([-1.0, -1.0, 1.0])
SHIFT = (6.0, -4.0, 3.0)


def grid(dim: int, shape=(13, 11, 9), spacing=(2.0, 3.0, 4.0)) -> Grid:
    """Oblique and anisotropic."""
    direction = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    return Grid.from_spacing(shape[:dim], spacing[:dim], (-20.0, 7.0, -31.0)[:dim], direction)


def affine(dim: int) -> Affine:
    matrix = np.eye(dim + 1)
    matrix[:dim, :dim] = np.array([[1.05, 0.1, -0.07], [-0.12, 0.93, 0.05], [0.02, -0.09, 1.1]])[:dim, :dim]
    matrix[:dim, dim] = SHIFT[:dim]
    return Affine(matrix, (11.0, -22.0, 35.0)[:dim])


def field(dim: int, scale: float = 1.5) -> Displacement:
    on = grid(dim)
    return Displacement(np.random.default_rng(dim).normal(scale=scale, size=(dim, *on.shape)), on)


def spline(dim: int) -> BSpline:
    on = grid(dim, (6, 7, 8), (12.0, 10.0, 9.0))
    return BSpline(np.random.default_rng(5).normal(scale=2, size=(dim, *on.shape)), on)


TRANSFORMS = {
    "shift": lambda dim: translation(SHIFT[:dim]),
    "rigid": lambda dim: rigid((7, -11, 5) if dim == 3 else 7, SHIFT[:dim], (11, -22, 35)[:dim]),
    "affine": affine,
    "field": field,
    "velocity": lambda dim: Velocity(field(dim).vectors, field(dim).grid),
    "spline": spline,
    "affine of field": lambda dim: affine(dim) @ field(dim),
    "field of affine": lambda dim: field(dim) @ affine(dim),
    "everything": lambda dim: (
        affine(dim)
        @ field(dim)
        @ spline(dim)
        @ rigid(5 if dim == 2 else (5, 6, 7), SHIFT[:dim], np.zeros(dim))
    ),
}
LINEAR = ("shift", "rigid", "affine")


def places(dim: int, margin: float = 2.0) -> np.ndarray:
    """Points in and round the field, none within rounding of its edge, where tools may differ."""
    shape = np.array(grid(dim).shape)
    index = np.random.default_rng(9).uniform(-margin, shape - 1 + margin, (300, dim))
    edge = np.minimum(np.abs(index + 0.5), np.abs(index - shape + 0.5))
    return grid(dim).world(index[edge.min(1) > 1e-3])


def by_simpleitk(path, points: np.ndarray) -> np.ndarray:
    turn = TURN[: points.shape[1]]
    theirs = sitk.ReadTransform(str(path))
    return np.array([theirs.TransformPoint((turn * p).tolist()) for p in points]) * turn


def by_ants(path, points: np.ndarray) -> np.ndarray:
    ants = pytest.importorskip("ants", reason="antspyx (the [bench] extra) is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas comes with antspyx")
    dim = points.shape[1]
    turn = TURN[:dim]
    table = pandas.DataFrame(points * turn, columns=list("xyz"[:dim]))
    mapped = ants.apply_transforms_to_points(dim, table, [str(path)])
    return mapped[list("xyz"[:dim])].to_numpy() * turn


def by_nitransforms(path, points: np.ndarray) -> np.ndarray:
    nitransforms = pytest.importorskip(
        "nitransforms", reason="nitransforms (the [test] extra) is not installed"
    )
    kind = nitransforms.manip if path.suffix == ".h5" else nitransforms.nonlinear
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Reference space not set")
        return np.asarray(kind.load(path, fmt="itk").map(points))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_h5_means_the_same_to_simpleitk(tmp_path, name, dim):
    transform, points = TRANSFORMS[name](dim), places(dim)
    write_transform(transform, tmp_path / "t.h5")
    assert np.abs(transform(points) - points).max() > 0.5
    assert np.abs(by_simpleitk(tmp_path / "t.h5", points) - transform(points)).max() < 1e-5
    assert np.abs(read_transform(tmp_path / "t.h5")(points) - transform(points)).max() < 1e-9


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_h5_means_the_same_to_ants(tmp_path, name, dim):
    transform, points = TRANSFORMS[name](dim), places(dim)
    write_transform(transform, tmp_path / "t.h5")
    assert np.abs(by_ants(tmp_path / "t.h5", points) - transform(points)).max() < 1e-3


@pytest.mark.parametrize("name", ["affine of field", "field of affine"])
def test_h5_means_the_same_to_nitransforms(tmp_path, name):
    transform = TRANSFORMS[name](3)
    # nitransforms interpolates by cubic splines: meet the voxel centres
    points = field(3).grid.points()[2:-2, 2:-2, 2:-2].reshape(-1, 3)
    points = points if name == "affine of field" else affine(3).inverse()(points)
    write_transform(transform, tmp_path / "t.h5")
    assert np.abs(by_nitransforms(tmp_path / "t.h5", points) - transform(points)).max() < 1e-3


@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat"])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_files_mean_the_same_to_simpleitk_and_ants(tmp_path, name, dim, suffix):
    transform, points = TRANSFORMS[name](dim), places(dim)
    path = tmp_path / f"t{suffix}"
    write_transform(transform, path)
    assert np.abs(by_simpleitk(path, points) - transform(points)).max() < 1e-9
    assert np.abs(by_ants(path, points) - transform(points)).max() < 1e-3
    again = read_transform(path)
    assert np.allclose(again.matrix, transform.matrix, atol=1e-12)
    assert np.allclose(again.centre, transform.centre)


@pytest.mark.parametrize("dim", [2, 3])
def test_text_holds_composites_too(tmp_path, dim):
    transform, points = TRANSFORMS["everything"](dim), places(dim)
    write_transform(transform, tmp_path / "t.tfm")
    assert np.abs(by_simpleitk(tmp_path / "t.tfm", points) - transform(points)).max() < 1e-5
    assert np.abs(read_transform(tmp_path / "t.tfm")(points) - transform(points)).max() < 1e-9


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", ["field", "affine of field", "velocity", "everything"])
def test_displacement_nifti_means_the_same_to_ants(tmp_path, name, dim, suffix):
    transform = TRANSFORMS[name](dim)
    path = tmp_path / f"warp{suffix}"
    write_transform(transform, path, grid=grid(dim))
    points = grid(dim).points().reshape(-1, dim)
    assert np.abs(by_ants(path, points) - transform(points)).max() < 1e-3
    assert np.abs(read_transform(path)(points) - transform(points)).max() < 1e-3
    header = nib.load(path).header
    assert (int(header["intent_code"]), nib.load(path).shape[3:]) == (1007, (1, dim))


def test_displacement_nifti_means_the_same_to_nitransforms(tmp_path):
    transform = TRANSFORMS["affine of field"](3)
    write_transform(transform, tmp_path / "warp.nii.gz")
    points = grid(3).points()[1:-1, 1:-1, 1:-1].reshape(-1, 3)
    assert np.abs(by_nitransforms(tmp_path / "warp.nii.gz", points) - transform(points)).max() < 1e-3


def test_simpleitk_reads_the_displacement_nifti_as_vectors_in_lps(tmp_path):
    transform = field(3)
    write_transform(transform, tmp_path / "warp.nii")
    image = sitk.Cast(sitk.ReadImage(str(tmp_path / "warp.nii")), sitk.sitkVectorFloat64)
    theirs = sitk.DisplacementFieldTransform(image)
    points = places(3)
    mapped = np.array([theirs.TransformPoint((TURN * p).tolist()) for p in points]) * TURN
    assert np.abs(mapped - transform(points)).max() < 1e-3


def simpleitks(dim: int) -> list[sitk.Transform]:
    """A transform of every class SimpleITK can write, none of them symmetric."""
    centre, shift = (11.0, -22.0, 35.0)[:dim], SHIFT[:dim]
    axis, angle = (0.2, -0.5, 0.8), 0.6
    if dim == 2:
        return [
            sitk.TranslationTransform(2, shift),
            sitk.ScaleTransform(2, (1.2, 0.7)),
            sitk.Euler2DTransform(centre, angle, shift),
            sitk.Similarity2DTransform(1.3, angle, shift, centre),
            sitk.AffineTransform((1.1, 0.2, -0.3, 0.8), shift, centre),
        ]
    turned = sitk.Euler3DTransform(centre, 0.3, -0.5, 0.8, shift)
    turned.SetComputeZYX(True)
    return [
        sitk.TranslationTransform(3, shift),
        sitk.ScaleTransform(3, (1.2, 0.7, 1.4)),
        sitk.Euler3DTransform(centre, 0.3, -0.5, 0.8, shift),
        turned,
        sitk.VersorTransform(axis, angle, centre),
        sitk.VersorRigid3DTransform(axis, angle, shift, centre),
        sitk.Similarity3DTransform(1.3, axis, angle, shift, centre),
        sitk.ScaleVersor3DTransform((1.2, 0.7, 1.4), axis, angle, shift, centre),
        sitk.ScaleSkewVersor3DTransform(
            (1.2, 0.7, 1.4), (0.1, 0.2, -0.3, 0.15, -0.25, 0.05), axis, angle, shift, centre
        ),
        sitk.AffineTransform((1.1, 0.2, -0.3, 0.1, 0.9, 0.05, -0.2, 0.15, 1.2), shift, centre),
    ]


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".mat"])
@pytest.mark.parametrize("dim", [2, 3])
def test_every_linear_class_of_itk_is_read(tmp_path, dim, suffix):
    points = places(dim)
    for theirs in simpleitks(dim):
        path = tmp_path / f"t{suffix}"
        sitk.WriteTransform(theirs, str(path))
        assert np.abs(read_transform(path)(points) - by_simpleitk(path, points)).max() < 1e-9, (
            theirs.GetName()
        )


def test_composites_of_itk_are_read_last_added_first(tmp_path):
    inner = sitk.CompositeTransform([*simpleitks(3)[:3]])
    whole = sitk.CompositeTransform([simpleitks(3)[5], inner, sitk.TranslationTransform(3, (1.0, 2.0, 3.0))])
    whole.FlattenTransform()
    for suffix in (".h5", ".tfm"):
        sitk.WriteTransform(whole, str(tmp_path / f"t{suffix}"))
        points = places(3)
        expected = by_simpleitk(tmp_path / f"t{suffix}", points)
        assert np.abs(read_transform(tmp_path / f"t{suffix}")(points) - expected).max() < 1e-9


def test_ants_own_files_are_read(tmp_path):
    ants = pytest.importorskip("ants", reason="antspyx (the [bench] extra) is not installed")
    theirs = ants.new_ants_transform(precision="float", dimension=3, transform_type="AffineTransform")
    theirs.set_parameters([1.1, 0.2, -0.3, 0.1, 0.9, 0.05, -0.2, 0.15, 1.2, *SHIFT])
    theirs.set_fixed_parameters([11.0, -22.0, 35.0])
    ants.write_transform(theirs, str(tmp_path / "t.mat"))
    points = places(3)
    assert (
        np.abs(by_ants(tmp_path / "t.mat", points) - read_transform(tmp_path / "t.mat")(points)).max() < 1e-3
    )


def test_single_precision_and_misspelt_keys_are_read(tmp_path):
    transform, points = TRANSFORMS["affine of field"](3), places(3)
    write_transform(transform, tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5") as new, h5py.File(tmp_path / "old.h5", "w") as old:
        for number, group in new["TransformGroup"].items():
            kind = group["TransformType"][0].decode().replace("double", "float")
            out = old.create_group(f"TransformGroup/{number}")
            out.create_dataset("TransformType", data=[kind], dtype=h5py.string_dtype("ascii"))
            for key in ("Parameters", "FixedParameters"):
                if f"Transform{key}" in group:
                    out[f"Tranform{key}"] = group[f"Transform{key}"][()].astype(np.float32)
    assert np.abs(by_simpleitk(tmp_path / "old.h5", points) - transform(points)).max() < 1e-3
    assert np.abs(read_transform(tmp_path / "old.h5")(points) - transform(points)).max() < 1e-3


def test_eleven_parts_keep_their_order(tmp_path):
    parts = [field(3, 0.3) if n % 2 else rigid((n, -n, 2 * n), SHIFT, np.zeros(3)) for n in range(1, 12)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole @ part
    write_transform(whole, tmp_path / "t.h5")
    points = places(3)
    assert np.abs(read_transform(tmp_path / "t.h5")(points) - whole(points)).max() < 1e-9
    assert np.abs(by_simpleitk(tmp_path / "t.h5", points) - whole(points)).max() < 1e-4


def test_compressed_fields_are_read_by_simpleitk(tmp_path):
    on = Grid.from_spacing((60, 50, 40), 1.0)
    vectors = np.random.default_rng(1).normal(size=(3, *on.shape)).round(1)
    transform = Displacement(vectors, on)
    write_transform(transform, tmp_path / "plain.h5")
    write_transform(transform, tmp_path / "small.h5", compression=1)
    assert (tmp_path / "small.h5").stat().st_size < 0.5 * (tmp_path / "plain.h5").stat().st_size
    points = on.world(np.random.default_rng(2).uniform(0, 39, (50, 3)))
    assert np.abs(by_simpleitk(tmp_path / "small.h5", points) - transform(points)).max() < 1e-5


def test_sheared_field_cannot_be_written_and_says_what_to_do(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    transform = Displacement(np.zeros((3, 5, 5, 5)), Grid((5, 5, 5), sheared))
    for name in ("t.h5", "t.tfm", "t.nii.gz"):
        with pytest.raises(TransformError, match="orthogonalised"):
            write_transform(transform, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "transform", "match"),
    [
        ("t.mat", field(3), "linear transforms only"),
        ("t.nii", affine(3), "no grid"),
        ("t.xyz", affine(3), "Known"),
        ("t", affine(3), "Known"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, transform, match):
    with pytest.raises(TransformError, match=match):
        write_transform(transform, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def write_h5(path, records):
    with h5py.File(path, "w") as file:
        for number, (kind, parameters, fixed) in enumerate(records):
            group = file.create_group(f"TransformGroup/{number}")
            group.create_dataset("TransformType", data=[kind], dtype=h5py.string_dtype("ascii"))
            group["TransformParameters"], group["TransformFixedParameters"] = parameters, fixed


EYE = [1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
FIELD = "DisplacementFieldTransform_double_3_3"


@pytest.mark.parametrize(
    ("records", "match"),
    [
        ([], "no transform"),
        ([("ThinPlateSplineKernelTransform_double_3_3", EYE, [0.0] * 3)], "Known"),
        ([("AffineTransform_double_3_3", EYE[:-1], [0.0] * 3)], "11 parameters"),
        ([("AffineTransform_double_3_3", [np.nan, *EYE[1:]], [0.0] * 3)], "finite"),
        ([("AffineTransform_double_3_2", EYE, [0.0] * 3)], "not known"),
        ([("AffineTransform_double_3_3", EYE, [0.0] * 3)] * 2, "order is not known"),
        ([(FIELD, [0.0] * 24, [3.0, 2, 2, 0, 0, 0, 1, 1, 1, *EYE[:9]])], "36"),
        ([(FIELD, [0.0] * 24, [2.0, 2, 2, 0, 0, 0, 0, 0, 0, *EYE[:9]])], "spacing"),
        ([("BSplineTransform_double_3_3_2", [0.0] * 24, [2.0] * 18)], "not known"),
    ],
)  # fmt: skip
def test_broken_records_are_named(tmp_path, records, match):
    path = tmp_path / "t.h5"
    write_h5(path, records)
    if not records:
        h5py.File(path, "a").create_group("TransformGroup")
    with pytest.raises(TransformError, match=match) as caught:
        read_transform(path)
    assert "t.h5" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("TransformGroup", 3.0),
        ("TransformGroup/0", "text"),
        ("TransformGroup/0/TransformType/deeper", 3.0),
        ("TransformGroup/0/TransformParameters", "text"),
    ],
)
def test_odd_hdf5_is_refused(tmp_path, path, value):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file[path] = value
        if path.endswith("Parameters"):
            file["TransformGroup/0/TransformType"] = "AffineTransform_double_3_3"
    with pytest.raises(TransformError, match=r"t\.h5"):
        read_transform(tmp_path / "t.h5")


def test_other_hdf5_is_no_transform(tmp_path):
    h5py.File(tmp_path / "t.h5", "w").close()
    with pytest.raises(TransformError, match="TransformGroup"):
        read_transform(tmp_path / "t.h5")


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".mat", ".nii", ".nii.gz"])
def test_truncated_and_missing_files(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    with pytest.raises(MissingFileError, match="no such file"):
        read_transform(path)
    write_transform(field(3) if ".nii" in suffix or suffix == ".h5" else affine(3), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((UnreadableFileError, TransformError), match="t\\."):
        read_transform(path)
    path.write_bytes(b"\x00\xffjunk" * 40)
    with pytest.raises((UnreadableFileError, TransformError), match="t\\."):
        read_transform(path)


def test_fsl_and_other_matrices_are_told_apart(tmp_path):
    (tmp_path / "fsl.mat").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(UnreadableFileError, match="FSL"):
        read_transform(tmp_path / "fsl.mat")


def test_ambiguous_and_unsuitable_nifti_are_refused(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5, 1, 3), np.float32), np.eye(4))
    image.header.set_intent(1006)
    nib.save(image, tmp_path / "t.nii")
    with pytest.raises(TransformError, match="1007"):
        read_transform(tmp_path / "t.nii")
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4)), tmp_path / "t.nii")
    with pytest.raises(TransformError, match="displacement field"):
        read_transform(tmp_path / "t.nii")


def test_every_error_here_is_ours_and_exits_with_3():
    assert issubclass(TransformError, CoincideError)
    assert TransformError.exit_code == UnreadableFileError.exit_code == MissingFileError.exit_code == 3
