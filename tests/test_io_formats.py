"""NRRD, MetaImage, pictures, and SimpleITK's images in memory."""

import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image as pil

from coincide.errors import (
    DimensionError,
    GeometryError,
    IntensityError,
    OptionError,
    OutputError,
    UnreadableFileError,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import InputNote, as_image, read_image, write_image, write_transform
from coincide.io.images import check_time_index, count_volumes, count_voxels, read_grid
from coincide.io.sitk import to_sitk
from coincide.transforms import Displacement, rigid, rotation_matrix
from coincide.transforms.resample import resample

TURN = np.array([-1.0, -1.0, 1.0])
LARGE = 614454277


def numbers(shape, dtype=np.float32) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def grid(dim: int, shape=(4, 5, 6)) -> Grid:
    direction = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    return Grid.from_spacing(shape[:dim], (0.9, 1.3, 2.4)[:dim], (-20, 7, -31)[:dim], direction)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("dim", [2, 3])
def test_written_images_lie_where_simpleitk_says(tmp_path, dim, suffix):
    image = Image(numbers((4, 5, 6)[:dim]), grid(dim))
    path = tmp_path / f"a{suffix}"
    write_image(image, path)
    again = read_image(path)
    assert np.array_equal(again.numpy(), image.numpy())
    assert np.allclose(again.grid.affine, image.grid.affine, atol=1e-5)
    assert again.data.is_contiguous()
    theirs = sitk.ReadImage(str(path))
    index = (3, 1, 4)[:dim]
    assert theirs[index] == image.data[(0, *index)]
    place = np.array(theirs.TransformIndexToPhysicalPoint(index)) * TURN[:dim]
    assert np.allclose(image.grid.world(index), place, atol=1e-5)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_labels_of_other_formats_keep_their_type(tmp_path, suffix, dtype):
    data = numbers((6, 5, 4), dtype)
    data[0, 0, 0] = min(LARGE, np.iinfo(dtype).max)
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / f"a{suffix}"))
    labels = read_image(tmp_path / f"a{suffix}", kind="label") if suffix != ".nii" else as_image(
        sitk.ReadImage(str(tmp_path / "a.nii")), kind="label"
    )  # fmt: skip
    assert labels.numpy().dtype == dtype
    assert np.array_equal(labels.numpy()[0], data.T)


def test_simpleitk_images_in_memory():
    theirs = sitk.GetImageFromArray(numbers((6, 5, 4), np.int16))
    theirs.SetOrigin((20, -7, -31))
    theirs.SetSpacing((0.9, 1.3, 2.4))
    image = as_image(theirs)
    assert np.allclose(image.grid.world((1, 2, 3)), TURN * theirs.TransformIndexToPhysicalPoint((1, 2, 3)))
    back = to_sitk(image, np.int16)
    assert np.array_equal(sitk.GetArrayFromImage(back), numbers((6, 5, 4), np.int16))
    assert np.allclose(back.GetOrigin(), theirs.GetOrigin())
    assert np.allclose(back.GetDirection(), theirs.GetDirection())


def test_simpleitk_time_series_and_slices():
    series = sitk.GetImageFromArray(numbers((3, 6, 5, 4)), isVector=False)
    with pytest.raises(DimensionError, match=r"3 volumes.*--time-index"):
        as_image(series)
    assert np.array_equal(as_image(series, time_index=2).numpy()[0], numbers((3, 6, 5, 4))[2].T)
    with pytest.raises(DimensionError, match="no volume 3"):
        as_image(series, time_index=3)
    with pytest.warns(InputNote, match="2-D"):
        assert as_image(sitk.GetImageFromArray(numbers((1, 5, 4)))).grid.shape == (4, 5)


def test_a_sheared_grid_cannot_go_to_itk(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    image = Image(numbers((4, 5, 6)), Grid((4, 5, 6), sheared))
    with pytest.raises(GeometryError, match="orthogonal grid"):
        write_image(image, tmp_path / "a.mha")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mhd", "a.jpg", "a.xyz", "a"])
def test_formats_that_are_not_written(tmp_path, name):
    with pytest.raises(OutputError, match=r"\.nii"):
        write_image(Image(numbers((4, 5)), Grid((4, 5), np.eye(3))), tmp_path / name)


@pytest.mark.parametrize("dim", [2, 3])
def test_simpleitk_warps_as_coincide_does(tmp_path, dim):
    """Image, reference and transform go through files; values agree at every voxel inside."""
    rng = np.random.default_rng(dim)
    shape = (24, 22, 20)[:dim]
    moving = Image(rng.normal(size=shape).astype(np.float32), grid(dim, shape))
    fixed = Grid.from_spacing(
        (18, 16, 14)[:dim], 1.1, moving.grid.centre - 8, rotation_matrix(5 if dim == 2 else (3, 4, 5))
    )
    vectors = torch.from_numpy(rng.normal(scale=0.8, size=(dim, *fixed.shape)))
    angles = 7 if dim == 2 else (7, -11, 5)
    transform = rigid(angles, (1.5, -1.0, 0.7)[:dim], fixed.centre) @ Displacement(vectors, fixed)
    write_image(moving, tmp_path / "moving.nii.gz")
    write_image(Image(np.zeros(fixed.shape, np.float32), fixed), tmp_path / "fixed.nii.gz")
    write_transform(transform, tmp_path / "t.h5")
    read = [sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("moving", "fixed")]
    theirs = sitk.Resample(*read, sitk.ReadTransform(str(tmp_path / "t.h5")), sitk.sitkLinear, 0.0)
    ours = resample(moving, transform, fixed).numpy()[0]
    inside = moving.grid.inside(transform(fixed.points()), margin=-0.01)
    assert inside.mean() > 0.3
    assert np.abs(ours - sitk.GetArrayFromImage(theirs).T)[inside].max() < 1e-3
    assert np.abs(ours[inside]).std() > 0.1


# pictures


def test_a_picture_lies_x_to_the_right_and_y_down(tmp_path):
    pil.fromarray(numbers((5, 7), np.uint8)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", spacing=(0.5, 0.8))
    assert image.grid.shape == (7, 5)
    assert image.data[0, 6, 1] == 1 * 7 + 6
    assert np.allclose(image.grid.world((6, 1)), (3.0, 0.8))
    assert np.allclose(read_image(tmp_path / "a.png", spacing=0.2).grid.spacing, 0.2)


def test_a_transform_file_fits_a_picture_that_itk_read_once_it_has_the_direction_the_docs_name(tmp_path):
    values = np.asarray(pil.fromarray(numbers((9, 11), np.uint8)).resize((55, 45), pil.Resampling.BICUBIC))
    pil.fromarray(values).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", spacing=1.0)
    turn = rigid(20.0, (3.0, -5.0), (27.0, 22.0))
    write_transform(turn, tmp_path / "t.h5")
    theirs = sitk.ReadImage(str(tmp_path / "a.png"), sitk.sitkFloat32)
    theirs.SetDirection((-1, 0, 0, -1))
    moved = sitk.Resample(theirs, theirs, sitk.ReadTransform(str(tmp_path / "t.h5")), sitk.sitkLinear, 0.0)
    ours = resample(image, turn, image.grid).numpy()[0]
    inside = (slice(12, -12), slice(12, -12))
    assert np.abs(sitk.GetArrayFromImage(moved).T[inside] - ours[inside]).max() < 0.01
    assert np.abs(ours - image.numpy()[0])[inside].max() > 10


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_stated_resolution_is_the_spacing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    pil.fromarray(numbers((5, 7), np.uint8)).save(path, dpi=(254, 127))
    with pytest.warns(InputNote, match=r"0\.1 × 0\.2 mm"):
        assert np.allclose(read_image(path).grid.spacing, (0.1, 0.2), rtol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.allclose(read_image(path, spacing=3).grid.spacing, 3)


def test_no_resolution_is_a_millimetre_and_a_note(tmp_path):
    for suffix in (".png", ".tif", ".jpg"):
        pil.fromarray(numbers((5, 7), np.uint8)).save(tmp_path / f"a{suffix}")
        with pytest.warns(InputNote, match="1 mm a pixel is assumed"):
            assert np.allclose(read_image(tmp_path / f"a{suffix}").grid.spacing, 1)


def test_volumes_and_pages_are_counted_by_the_header(tmp_path):
    pages = [pil.fromarray(numbers((5, 7), np.uint8)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.png")
    series = nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4))
    nib.save(series, tmp_path / "a.nii")
    several = sitk.GetImageFromArray(np.zeros((2, 6, 5, 4), np.float32), isVector=False)
    sitk.WriteImage(several, str(tmp_path / "a.nrrd"))
    for number, sources in ((3, ["a.tif"]), (1, ["a.png"]), (2, ["a.nii", "a.nrrd", series, several])):
        for source in sources:
            assert count_volumes(tmp_path / source if isinstance(source, str) else source) == number
    assert count_voxels(tmp_path / "a.tif") == 35
    assert read_grid(tmp_path / "a.nii").shape == (4, 5, 6)
    with pytest.raises(OptionError, match="no 4-D image"):
        check_time_index(0, tmp_path / "a.png")
    check_time_index(0, tmp_path / "a.png", series)


@pytest.mark.parametrize("mode", ["L", "I;16", "F", "1", "P", "RGB", "RGBA", "LA"])
def test_grey_in_any_form(tmp_path, mode):
    grey = numbers((5, 7), np.uint8) * 7
    picture = {
        "I;16": lambda: pil.fromarray(grey.astype(np.uint16) * 200),
        "F": lambda: pil.fromarray(grey.astype(np.float32) / 3),
        "1": lambda: pil.fromarray(grey % 2 == 0),
    }.get(mode, lambda: pil.fromarray(grey).convert(mode))()
    path = tmp_path / ("a.tif" if mode == "F" else "a.png")
    picture.save(path)
    expected = {"I;16": grey.astype(float) * 200, "F": grey / np.float32(3), "1": grey % 2 == 0}.get(
        mode, grey
    )
    assert np.allclose(read_image(path, spacing=1).numpy()[0].T, expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_coloured_pictures_are_refused(tmp_path, suffix):
    colour = np.random.default_rng(0).integers(0, 255, (15, 17, 3)).astype(np.uint8)
    pil.fromarray(colour).save(tmp_path / f"a{suffix}")
    with pytest.raises(IntensityError, match="coloured"):
        read_image(tmp_path / f"a{suffix}", spacing=1)


def test_pages_need_a_choice(tmp_path):
    pages = [pil.fromarray(numbers((5, 7), np.uint8) + page) for page in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DimensionError, match="3 pages"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", time_index=2, spacing=1).data[0, 0, 0] == 2


@pytest.mark.parametrize("spacing", [0, -1, np.nan, (1, 0)])
def test_impossible_spacing_of_a_picture(tmp_path, spacing):
    pil.fromarray(numbers((5, 7), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(GeometryError, match="positive"):
        read_image(tmp_path / "a.png", spacing=spacing)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_truncated_pictures(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    pil.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(UnreadableFileError, match="truncated"):
        read_image(path, spacing=1)


@pytest.mark.parametrize(
    ("suffix", "values", "kind"),
    [
        (".png", numbers((7, 5)), "intensity"),
        (".png", numbers((7, 5)) * 100, "intensity"),
        (".png", numbers((7, 5), np.int32) * 50, "label"),
        (".tif", numbers((7, 5)) / 3 - 4, "intensity"),
        (".tif", numbers((7, 5), np.uint16) * 1000, "label"),
    ],
)
def test_pictures_written_are_read_again(tmp_path, suffix, values, kind):
    image = Image(values, Grid.from_spacing((7, 5), (0.5, 0.8)), kind)
    write_image(image, tmp_path / f"a{suffix}")
    with pytest.warns(InputNote):
        again = read_image(tmp_path / f"a{suffix}", kind=kind)
    assert np.array_equal(again.numpy(), image.numpy())
    assert np.allclose(again.grid.affine, image.grid.affine, rtol=1e-3)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (Image(numbers((7, 5)) - 3, Grid.from_spacing((7, 5), 1)), OutputError),
        (Image(numbers((7, 5), np.int64) + LARGE, Grid.from_spacing((7, 5), 1), "label"), OutputError),
        (Image(numbers((7, 5)), Grid.from_spacing((7, 5), 1, (3, 4))), GeometryError),
        (Image(numbers((7, 5, 3)), Grid.from_spacing((7, 5, 3), 1)), DimensionError),
        (Image(torch.zeros(2, 7, 5), Grid.from_spacing((7, 5), 1)), DimensionError),
    ],
)
def test_what_a_picture_cannot_hold(tmp_path, image, error):
    with pytest.raises(error):
        write_image(image, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
