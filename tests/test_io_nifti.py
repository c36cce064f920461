"""NIfTI: where the voxels lie and what their values are, against nibabel, SimpleITK and arithmetic."""

import itertools
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from coincide.errors import DimensionError, IntensityError, LabelError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import InputNote, InputWarning, as_image, read_image, write_image
from coincide.transforms import rotation_matrix

CODES = [
    "".join(signs)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product(*axes)
]  # fmt: skip
LARGE = 614454277


def numbers(shape, dtype=np.float32) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path, data, affine=None, **header):
    affine = np.eye(4) if affine is None else affine
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def oblique(angles=(12, -25, 33), spacing=(0.9, 1.3, 2.4), origin=(-20, 7, -31)) -> np.ndarray:
    return Grid.from_spacing((2, 2, 2), spacing, origin, rotation_matrix(angles)).affine.copy()


def test_there_are_48_axis_codes():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", CODES)
def test_every_axis_code_keeps_every_value_where_it_was(tmp_path, code):
    base = oblique((2, -3, 4))
    data = numbers((3, 4, 5))
    turn = nib.orientations.axcodes2ornt(code)
    turned = nib.Nifti1Image(data, base).as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) != "RAS" or code == "RAS"
    image = read_image(save(tmp_path / "a.nii.gz", np.asarray(turned.dataobj), turned.affine))
    index = np.stack(np.meshgrid(*map(np.arange, (3, 4, 5)), indexing="ij"), -1)
    world = Grid((3, 4, 5), base).world(index)
    found = np.rint(image.grid.index(world)).astype(int)
    assert np.abs(image.grid.index(world) - found).max() < 1e-4
    assert np.array_equal(image.numpy()[0][tuple(np.moveaxis(found, -1, 0))], data)
    # SimpleITK's physical space, turned from LPS to RAS, is the same
    theirs = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    corner = np.array(theirs.TransformIndexToPhysicalPoint([n - 1 for n in theirs.GetSize()])) * (-1, -1, 1)
    assert np.allclose(image.grid.world(np.array(image.grid.shape) - 1), corner, atol=1e-4)
    write_image(image, tmp_path / "b.nii.gz")
    again = read_image(tmp_path / "b.nii.gz")
    assert np.array_equal(again.numpy(), image.numpy())
    assert np.allclose(again.grid.affine, image.grid.affine, atol=1e-5)
    assert image.data.is_contiguous()


def test_shear_is_honoured_and_written_without_a_false_qform(tmp_path):
    affine = oblique()
    affine[:3, 1] += 0.3 * affine[:3, 0]
    image = Image(numbers((3, 4, 5)), Grid((3, 4, 5), affine))
    write_image(image, tmp_path / "a.nii")
    again = read_image(tmp_path / "a.nii")
    assert np.allclose(again.grid.affine, affine, atol=1e-5)
    assert int(nib.load(tmp_path / "a.nii").header["qform_code"]) == 0


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001), ("unknown", 1.0)]
)
def test_units_of_length(tmp_path, unit, factor):
    image = nib.Nifti1Image(numbers((3, 4, 5)), oblique())
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "a.nii")
    expected = oblique()
    expected[:3] *= factor
    assert np.allclose(read_image(tmp_path / "a.nii").grid.affine, expected, rtol=1e-6)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_intensities_of_every_type_and_byte_order(tmp_path, dtype, endian):
    data = numbers((3, 4, 5), dtype)
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
    nib.save(nib.Nifti1Image(data, oblique(), header, dtype=np.dtype(dtype)), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert str(image.data.dtype) == "torch.float32"
    assert np.array_equal(image.numpy()[0], data.astype(np.float32))


def test_slope_and_intercept(tmp_path):
    path = save(tmp_path / "a.nii", numbers((3, 4, 5), np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -7.0], "<f4").tobytes()
    path.write_bytes(raw)
    assert np.array_equal(read_image(path).numpy()[0], numbers((3, 4, 5)) * 0.5 - 7)
    with pytest.raises(LabelError, match="integers"):
        read_image(path, kind="label")
    raw[112:120] = np.array([2.0, -7.0], "<f4").tobytes()
    path.write_bytes(raw)
    labels = read_image(path, kind="label")
    assert labels.numpy().dtype == np.int8
    assert np.array_equal(labels.numpy()[0], numbers((3, 4, 5), int) * 2 - 7)


def test_nifti2_and_a_false_suffix_are_read(tmp_path):
    image = nib.Nifti2Image(numbers((3, 4, 5)), oblique())
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").numpy()[0], numbers((3, 4, 5)))
    (tmp_path / "a.nii.gz").rename(tmp_path / "b.nii")
    assert np.array_equal(read_image(tmp_path / "b.nii").numpy()[0], numbers((3, 4, 5)))


@pytest.mark.parametrize("suffix", [".img", ".hdr", ".mgz", ".mgh"])
def test_other_formats_of_nibabel(tmp_path, suffix):
    kind = nib.MGHImage if "mg" in suffix else nib.Nifti1Pair
    nib.save(kind(numbers((3, 4, 5)), oblique()), tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert np.array_equal(image.numpy()[0], numbers((3, 4, 5)))
    assert np.allclose(image.grid.affine, oblique(), atol=1e-5)


# labels


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
def test_labels_keep_their_type_and_value(tmp_path, dtype):
    data = numbers((3, 4, 5), dtype)
    data[0, 0, 0] = min(LARGE, np.iinfo(dtype).max)
    data[2, 1, 3] = np.iinfo(dtype).min
    image = read_image(save(tmp_path / "a.nii.gz", data), kind="label")
    assert image.numpy().dtype == dtype
    assert np.array_equal(image.numpy()[0], data)
    write_image(image, tmp_path / "b.nii.gz")
    stored = np.asarray(nib.load(tmp_path / "b.nii.gz").dataobj)
    assert stored.dtype == dtype
    assert np.array_equal(stored, data)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 3, 200], np.uint8), ([-3, 0, 200], np.int16), ([0, 70000, 1], np.uint32), ([0, 300, 2], np.uint16)],
)
def test_labels_stored_as_floating_point(tmp_path, values, expected):
    data = np.resize(np.array(values, np.float32), (3, 4, 5))
    image = read_image(save(tmp_path / "a.nii", data), kind="label")
    assert image.numpy().dtype == expected
    assert np.array_equal(image.numpy()[0], data)


@pytest.mark.parametrize(
    ("value", "dtype", "match"),
    [
        (1.5, np.float32, "1.5"),
        (np.nan, np.float32, "nan"),
        (LARGE, np.float32, "16,777,216"),
        (1e17, np.float64, "apart"),
    ],
)
def test_labels_that_are_none(tmp_path, value, dtype, match):
    data = numbers((3, 4, 5), dtype)
    data[1, 1, 1] = value
    with pytest.raises(LabelError, match=match):
        read_image(save(tmp_path / "a.nii", data), kind="label")


def test_large_labels_survive_in_float64(tmp_path):
    data = np.full((3, 4, 5), float(LARGE))
    assert int(read_image(save(tmp_path / "a.nii", data), kind="label").numpy().max()) == LARGE


# dimensions


def test_plain_2d_image_has_the_frame_of_its_affine(tmp_path):
    affine = np.eye(4)
    affine[:2, :2] = rotation_matrix(30) * (0.5, 0.8)
    affine[:2, 3] = 3, 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(save(tmp_path / "a.nii.gz", numbers((6, 7)), affine))
    assert image.grid.shape == (6, 7)
    assert np.allclose(image.grid.affine[:2, :2], affine[:2, :2])
    assert np.allclose(image.grid.world((5, 2)), affine[:2, :2] @ (5, 2) + (3, 4), atol=1e-5)
    write_image(image, tmp_path / "b.nii.gz")
    again = read_image(tmp_path / "b.nii.gz")
    assert np.allclose(again.grid.affine, image.grid.affine, atol=1e-6)
    assert nib.load(tmp_path / "b.nii.gz").shape == (6, 7)
    # SimpleITK has the same frame with both signs changed
    theirs = sitk.ReadImage(str(tmp_path / "b.nii.gz"))
    assert np.allclose(
        image.grid.world((5, 2)), -np.array(theirs.TransformIndexToPhysicalPoint((5, 2))), atol=1e-5
    )


@pytest.mark.parametrize(
    ("axis", "letters"), [(2, "RA"), (1, "RS"), (0, "AS")], ids=["axial", "coronal", "sagittal"]
)
def test_a_slice_is_a_2d_image_with_a_note(tmp_path, axis, letters):
    affine = Grid.from_spacing((1, 1, 1), (0.7, 0.9, 1.1), (5, 6, 7)).affine
    shape = [4, 5, 6]
    shape[axis] = 1
    path = save(tmp_path / "a.nii", numbers(shape), affine)
    with pytest.warns(InputNote, match=f"world's {letters[0]}, y along its {letters[1]}"):
        image = read_image(path)
    kept = [a for a in range(3) if a != axis]
    assert image.grid.shape == tuple(shape[a] for a in kept)
    assert np.allclose(image.grid.spacing, np.array((0.7, 0.9, 1.1))[kept])
    assert np.allclose(image.grid.origin, np.array((5, 6, 7))[kept])
    assert np.array_equal(image.numpy()[0], numbers(shape).squeeze())


def test_an_oblique_slice_keeps_lengths_and_angles(tmp_path):
    affine = oblique((20, 30, 10))
    with pytest.warns(InputNote, match="2-D"):
        image = read_image(save(tmp_path / "a.nii", numbers((4, 5, 1)), affine))
    flat, solid = image.grid.affine[:2, :2], affine[:3, :2]
    assert np.allclose(flat.T @ flat, solid.T @ solid, atol=1e-5)
    # two parallel slices keep their place relative to one another
    other = affine.copy()
    other[:3, 3] += affine[:3, :2] @ (3, 1)
    with pytest.warns(InputNote, match="2-D"):
        shifted = read_image(save(tmp_path / "b.nii", numbers((4, 5, 1)), other))
    assert np.allclose(image.grid.index(shifted.grid.origin), (3, 1), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5, 1, 1)])
def test_trailing_axes_of_length_one_are_dropped(tmp_path, shape):
    image = read_image(save(tmp_path / "a.nii", numbers(shape)))
    assert image.grid.shape == (3, 4, 5)
    assert np.array_equal(image.numpy()[0], numbers((3, 4, 5)))


def test_4d_needs_a_choice(tmp_path):
    data = numbers((3, 4, 5, 7))
    path = save(tmp_path / "a.nii.gz", data)
    with pytest.raises(DimensionError, match=r"7 volumes.*--time-index"):
        read_image(path)
    with pytest.raises(DimensionError, match="no volume 7"):
        read_image(path, time_index=7)
    assert np.array_equal(read_image(path, time_index=4).numpy()[0], data[..., 4])
    assert np.array_equal(read_image(path, time_index=4, kind="label").numpy()[0], data[..., 4])


@pytest.mark.parametrize("shape", [(3, 4, 5, 1, 3), (3, 4, 5, 2, 3)])
def test_5d_is_refused(tmp_path, shape):
    with pytest.raises(DimensionError, match="5-D"):
        read_image(save(tmp_path / "a.nii", numbers(shape)))


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1, 1), (1, 1, 5)])
def test_a_line_is_no_image(tmp_path, shape):
    with pytest.raises(DimensionError, match="expected"):
        read_image(save(tmp_path / "a.nii", numbers(shape)))


# values that cannot be registered as they are


def test_complex_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", numbers((3, 4, 5), np.complex64))
    with pytest.raises(IntensityError, match="complex"):
        read_image(path)
    with pytest.raises(LabelError, match="complex"):
        read_image(path, kind="label")


def colours(*channels) -> np.ndarray:
    out = np.zeros(channels[0].shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name, channel in zip("RGB", channels):
        out[name] = channel
    return out


def test_coloured_is_refused_but_grey_stored_as_colour_is_grey(tmp_path):
    grey = numbers((3, 4, 5), np.uint8)
    path = save(tmp_path / "a.nii", colours(grey, grey, grey))
    assert np.array_equal(read_image(path).numpy()[0], grey)
    with pytest.raises(IntensityError, match="coloured"):
        read_image(save(tmp_path / "b.nii", colours(grey, grey, grey + 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_few_voxels_that_are_no_numbers_are_masked_out(tmp_path, bad):
    data = numbers((3, 4, 5)) + 10
    data[1, 2, 3] = data[0, 0, 0] = bad
    with pytest.warns(InputWarning, match="2 of 60 voxels"):
        image = read_image(save(tmp_path / "a.nii", data))
    assert image.mask is not None
    assert np.array_equal(image.mask.numpy(), np.isfinite(data))
    assert np.isfinite(image.numpy()).all()
    assert image.numpy()[0, 1, 2, 3] == 11  # the smallest value left


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_mostly_no_numbers_is_refused(tmp_path, share):
    data = numbers((3, 4, 5))
    data.ravel()[: int(share * data.size)] = np.nan
    with pytest.raises(IntensityError, match="of 60 voxels are NaN"):
        read_image(save(tmp_path / "a.nii", data))


# headers that contradict themselves


def test_forms_that_disagree_are_both_named_and_the_sform_wins(tmp_path):
    image = nib.Nifti1Image(numbers((3, 4, 5)), oblique())
    image.set_sform(oblique(), 1)
    image.set_qform(oblique(origin=(9, 9, 9)), 1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.warns(InputWarning, match=r"a\.nii: qform and sform disagree") as caught:
        found = read_image(tmp_path / "a.nii")
    assert "-31." in str(caught[0].message)
    assert "9. " in str(caught[0].message)
    assert np.allclose(found.grid.affine, oblique(), atol=1e-5)


def test_forms_that_agree_are_silent(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(save(tmp_path / "a.nii", numbers((3, 4, 5)), oblique()))


def test_a_header_that_says_nothing_gets_a_warning(tmp_path):
    image = nib.Nifti1Image(numbers((3, 4, 5)), None)
    nib.save(image, tmp_path / "a.nii")
    with pytest.warns(InputWarning, match="does not say where"):
        read_image(tmp_path / "a.nii")


# in memory


def test_nibabel_images_in_memory(tmp_path):
    image = as_image(nib.Nifti1Image(numbers((3, 4, 5), np.int16), oblique()))
    assert np.array_equal(image.numpy()[0], numbers((3, 4, 5)))
    assert np.allclose(image.grid.affine, oblique())
    labels = as_image(nib.Nifti1Image(numbers((3, 4, 5), np.uint16), oblique()), kind="label")
    assert labels.numpy().dtype == np.uint16
    loaded = as_image(nib.load(save(tmp_path / "a.nii.gz", numbers((3, 4, 5)), oblique())))
    assert loaded.name.endswith("a.nii.gz")


def test_written_intensities_are_rounded_and_clipped(tmp_path):
    grid = Grid((2, 2, 2), np.eye(4))
    values = np.array([-3.0, 0.4, 0.6, 254.6, 300, 1, 2, 3], np.float32).reshape(2, 2, 2)
    write_image(Image(values, grid), tmp_path / "a.nii", like_dtype=np.uint8)
    stored = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    assert stored.dtype == np.uint8
    assert stored.ravel().tolist() == [0, 0, 1, 255, 255, 1, 2, 3]


@pytest.mark.data
@pytest.mark.parametrize("case", ["3167", "3177", "3229", "3231", "5245"])
def test_radiographs_have_the_frame_of_their_points(shared_data, case):
    from coincide.io import read_points

    image = read_image(shared_data / "hand_xray" / f"{case}.nii.gz")
    points = read_points(shared_data / "hand_xray" / f"{case}_points.csv")
    assert (image.dim, len(points)) == (2, 37)
    assert image.grid.inside(points.world).all()
    # landmarks sit on bright bone: the ends of the fingers lie at the top, the wrist at the bottom
    values = image.numpy()[0][tuple(np.rint(image.grid.index(points.world)).astype(int).T)]
    assert np.median(values) > np.median(image.numpy())
