"""Files that cannot be read: each with its own error, that names the file, before memory is taken."""

import gzip
import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coincide.errors import (
    CoincideError,
    GeometryError,
    InputError,
    IntensityError,
    LabelError,
    MaskError,
    MissingFileError,
    OptionError,
    ResourceError,
    UnreadableFileError,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import InputWarning, as_image, as_mask, read_image
from coincide.preprocess.check import check_registrable

DIM, PIXDIM, SROW = 40, 76, 280
"""Where the NIfTI-1 header keeps the shape, the spacing and the sform."""


@pytest.fixture
def nifti(tmp_path):
    """A sound file whose values do not compress."""
    values = np.random.default_rng(0).integers(0, 30000, (20, 30, 25)).astype(np.int16)
    image = nib.Nifti1Image(values, np.diag([1.5, 2, 2.5, 1]))
    nib.save(image, tmp_path / "sound.nii")
    return tmp_path / "sound.nii"


def altered(path, at: int, values, name="bad.nii"):
    """A copy of `path` with `values` written at byte `at`."""
    content = bytearray(path.read_bytes())
    content[at : at + values.nbytes] = values.tobytes()
    out = path.with_name(name)
    out.write_bytes(content)
    return out


def refused(path, error, match, **options):
    with pytest.raises(error, match=match) as caught:
        read_image(path, **options)
    assert type(caught.value) is error
    assert str(path.name) in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".png", ".mgz", ".xyz", ""])
def test_missing(tmp_path, suffix):
    refused(tmp_path / f"none{suffix}", MissingFileError, "no such file")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.nii").mkdir()
    refused(tmp_path / "a.nii", MissingFileError, "folder")


@pytest.mark.parametrize("size", [0, 3, 200, 348, 400, 20000])
def test_truncated(nifti, size):
    nifti.write_bytes(nifti.read_bytes()[:size])
    refused(nifti, UnreadableFileError, "truncated|holds")


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9, 0.9999])
def test_truncated_gzip(nifti, keep):
    packed = gzip.compress(nifti.read_bytes())
    path = nifti.with_name("cut.nii.gz")
    path.write_bytes(packed[: int(len(packed) * keep)])
    refused(path, UnreadableFileError, "truncated|holds|damaged")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.95, -6])
def test_gzip_with_a_flipped_byte(nifti, place):
    """The values may still unpack; only the checksum at the end tells."""
    packed = bytearray(gzip.compress(nifti.read_bytes(), 1))
    packed[place if isinstance(place, int) else int(len(packed) * place)] ^= 0x10
    path = nifti.with_name("flipped.nii.gz")
    path.write_bytes(packed)
    refused(path, UnreadableFileError, "damaged")


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_declares_terabytes(nifti, packed):
    path = altered(nifti, DIM, np.array([3, 20000, 20000, 20000], "<i2"))
    if packed:
        path = path.with_name("bad.nii.gz")
        path.write_bytes(gzip.compress(path.with_name("bad.nii").read_bytes()))
    refused(path, UnreadableFileError, "declares 16 TB")


def test_terabytes_that_really_unpack(tmp_path, monkeypatch):
    """A file that honestly holds more than memory: zeros that pack a thousandfold."""
    from coincide.ops import memory

    path = tmp_path / "zeros.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((200, 200, 200), np.uint8), np.eye(4)), path)
    monkeypatch.setattr(memory, "available", lambda *_: 10_000_000)
    refused(path, ResourceError, "200 × 200 × 200 voxels")
    assert ResourceError.exit_code == 5


def test_a_file_larger_than_memory(nifti):
    path = altered(nifti, DIM, np.array([3, 6000, 6000, 6000], "<i2"))
    os.truncate(path, 352 + 2 * 6000**3)  # sparse: takes no space on the disk
    refused(path, ResourceError, "6000 × 6000 × 6000 voxels needs about")


@pytest.mark.parametrize("shape", [[3, -4, 5, 6], [3, 0, 5, 6], [9, 4, 5, 6], [-1, 4, 5, 6]])
def test_a_header_with_an_impossible_shape(nifti, shape):
    refused(
        altered(nifti, DIM, np.array(shape, "<i2")), UnreadableFileError, "expected|cannot be read|declares"
    )


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_impossible_spacing(nifti, axis, bad):
    refused(altered(nifti, PIXDIM + 4 * (axis + 1), np.array(bad, "<f4")), GeometryError, "spacing")


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((3, 4)),
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]],
        [[1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 1, 0]],
        [[np.nan, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
        [[1, 0, 0, np.inf], [0, 1, 0, 0], [0, 0, 1, 0]],
    ],
)
def test_singular_or_unreal_affine(nifti, rows):
    refused(altered(nifti, SROW, np.array(rows, "<f4")), GeometryError, "Mend the header")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x5c\x01\x00\x00" + bytes(344), bytes(400), b"\x1f\x8b" + bytes(50)]
)
@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".mgz", ".img", ".foo"]
)
def test_junk(tmp_path, suffix, content):
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="junk"):
        read_image(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 351), value=st.integers(0, 255))
@pytest.mark.filterwarnings("ignore")
def test_any_byte_of_the_header_may_be_wrong(nifti, at, value):
    """Either it is read, or refused by an error of ours; never a crash."""
    path = altered(nifti, at, np.uint8(value))
    try:
        read = read_image(path).data.numel()
    except CoincideError as error:
        read = str(error)
    assert "bad.nii" in read if isinstance(read, str) else read <= 15000


META = (
    b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    b"CompressedData = False\n"
    b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 2 1 1\nDimSize = 4 5 6\n"
    b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + bytes(240)
)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"= 2 1 1", b"= 0 1 1", GeometryError),
        (b"= 2 1 1", b"= nan 1 1", GeometryError),
        (b"= 1 0 0 0 1 0 0 0 1", b"= 1 0 0 1 0 0 0 0 1", GeometryError),
        (b"= 4 5 6", b"= 400000 50000 600", ResourceError),
        (b"= 4 5 6", b"= 400 500 600", UnreadableFileError),
        (bytes(100), b"", UnreadableFileError),
    ],
)
def test_metaimage(tmp_path, old, new, error):
    path = tmp_path / "a.mha"
    path.write_bytes(META)
    assert read_image(path).grid.shape == (4, 5, 6)
    path.write_bytes(META.replace(old, new, 1))
    refused(path, error, "a.mha")


def test_complex_and_coloured_through_simpleitk(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    complex_image = sitk.GetImageFromArray(array + 1j * array)
    with pytest.raises(IntensityError, match="complex"):
        as_image(complex_image)
    with pytest.raises(LabelError, match="complex"):
        as_image(complex_image, kind="label")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.stack([array, array, -array], -1), isVector=True), tmp_path / "c.nrrd"
    )
    refused(tmp_path / "c.nrrd", IntensityError, "coloured")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_by_permission(nifti):
    nifti.chmod(0)
    refused(nifti, UnreadableFileError, "ermission")


def test_a_nibabel_image_whose_file_is_cut_later(nifti):
    loaded = nib.load(nifti)
    nifti.write_bytes(nifti.read_bytes()[:5000])
    with pytest.raises(UnreadableFileError, match="sound"):
        as_image(loaded)


def test_what_is_no_image(tmp_path):
    with pytest.raises(InputError, match="Image\\(data, Grid"):
        as_image(np.zeros((3, 4, 5)))
    with pytest.raises(OptionError, match="Did you mean 'label'"):
        as_image(Image(np.zeros((3, 4, 5)), Grid((3, 4, 5), np.eye(4))), kind="labels")
    with pytest.raises(OptionError, match="PNG"):
        read_image(tmp_path / "a.nii", spacing=2.0)


# masks, and images that show nothing


def image_of(values, affine=None) -> Image:
    values = np.asarray(values)
    return Image(values, Grid(values.shape, np.eye(4) if affine is None else affine), name="it")


def test_masks():
    values = np.zeros((3, 4, 5), np.float32)
    values[1, 2, 3] = 0.7
    values[0, 0, 0] = 0.2
    grid = image_of(values).grid
    with pytest.warns(InputWarning, match=r"3 or more different values, from 0 to 0\.7, expected two"):
        assert np.argwhere(as_mask(image_of(values), grid).numpy()).tolist() == [[1, 2, 3]]
    with pytest.raises(MaskError, match="0 of 60"):
        as_mask(image_of(values * 0), grid)
    with pytest.raises(MaskError, match="Resample"):
        as_mask(image_of(values, np.diag([1, 1, 1.1, 1])), grid)
    with pytest.raises(MaskError, match="Resample"):
        as_mask(image_of(values[:-1]), grid)


def test_masks_from_files(tmp_path):
    values = (np.random.default_rng(0).random((3, 4, 5)) > 0.5).astype(np.uint8) * 255
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "m.nii")
    mask = as_mask(tmp_path / "m.nii", Grid((3, 4, 5), np.eye(4)))
    assert np.array_equal(mask.numpy(), values > 0)
    nib.save(nib.Nifti1Image(values * 0, np.eye(4)), tmp_path / "m.nii")
    with pytest.raises(MaskError, match=r"m\.nii"):
        as_mask(tmp_path / "m.nii", Grid((3, 4, 5), np.eye(4)))


def test_what_is_not_a_number_marks_nothing():
    values = np.where(np.arange(60).reshape(3, 4, 5) < 40, 1.0, np.nan)
    with pytest.warns(InputWarning, match="20 of 60 voxels are NaN"):
        mask = as_mask(nib.Nifti1Image(values, np.eye(4)), image_of(values).grid)
    assert np.array_equal(mask.numpy(), values == 1)


def test_an_image_is_no_mask():
    grid = Grid((10, 12, 8), np.eye(4))
    soft = np.random.default_rng(0).random(grid.shape)
    for mask in (soft, np.rint(soft * 1000)):  # parts of a whole, and labels
        with pytest.warns(InputWarning, match="different values"):
            assert np.array_equal(as_mask(image_of(mask), grid).numpy(), mask.astype(np.float32) >= 0.5)
    with pytest.raises(MaskError, match="this is an image"):
        as_mask(image_of(soft * 1000), grid)


def test_images_that_show_nothing():
    sound = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    check_registrable(image_of(sound))
    with pytest.raises(IntensityError, match="all 210 voxels of the image have the value 3"):
        check_registrable(image_of(sound * 0 + 3))
    with pytest.raises(IntensityError, match="8 voxels"):
        check_registrable(image_of(sound[:2, :2, :2]))
    sound[1, 2, 3] = np.nan
    with pytest.raises(IntensityError, match="1 of 210 voxels"):
        check_registrable(image_of(sound))
    mask = np.isfinite(sound)
    check_registrable(Image(sound, image_of(sound).grid, mask=mask))
    with pytest.raises(IntensityError, match="3 voxels inside the mask"):
        check_registrable(Image(sound, image_of(sound).grid, mask=np.arange(210).reshape(5, 6, 7) < 3))


def test_an_image_with_nan_is_masked_when_taken():
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    values[1, 2, 3] = np.nan
    with pytest.warns(InputWarning, match="1 of 210"):
        image = as_image(image_of(values))
    assert not image.mask[1, 2, 3]
    check_registrable(image)
    labels = as_image(image_of(np.rint(np.nan_to_num(values))), kind="label")
    assert labels.numpy().dtype == np.int8
