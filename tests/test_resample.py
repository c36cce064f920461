"""Resampling images through transforms: against SimpleITK, once through the whole chain, labels whole."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from coincide.errors import DimensionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample
from coincide.transforms import Affine, BSpline, Displacement, Velocity, chain, identity, rigid, translation
from coincide.transforms.displacement import to_world
from coincide.transforms.resample import resample, slabs
from phantom import axis_codes, code_name, direction_of, grid_around, picture

BIG_LABEL = 614454277
OBLIQUE = grid_around(3, (5.0, 6.0, 8.0), rigid((12, -25, 33), (0, 0, 0), (0, 0, 0)).matrix[:3, :3])
PLAIN = grid_around(3, (7.0, 6.0, 5.5))


def as_sitk(image: Image) -> sitk.Image:
    """The image for SimpleITK, whose world is LPS."""
    turn = np.array([-1.0, -1.0, 1.0])[: image.dim]
    found = sitk.GetImageFromArray(np.ascontiguousarray(image.numpy()[0].T))
    found.SetSpacing(image.grid.spacing.tolist())
    found.SetOrigin((turn * image.grid.origin).tolist())
    found.SetDirection((turn[:, None] * image.grid.direction).ravel().tolist())
    return found


def sitk_affine(transform: Affine) -> sitk.AffineTransform:
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix = flip @ transform.matrix @ flip
    found = sitk.AffineTransform(3)
    found.SetMatrix(matrix[:3, :3].ravel().tolist())
    found.SetTranslation(matrix[:3, 3].tolist())
    return found


@pytest.mark.parametrize("how", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("target", [PLAIN, OBLIQUE], ids=["plain", "oblique"])
def test_simpleitk_resamples_the_same(how, target):
    moving = picture(OBLIQUE, name="moving")
    motion = rigid((7, -11, 5), (6, -4, 3), (3, -5, 4))
    kinds = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}
    reference = as_sitk(Image(np.zeros(target.shape, np.float32), target))
    theirs = sitk.Resample(as_sitk(moving), reference, sitk_affine(motion), kinds[how], 0.0)
    expected = sitk.GetArrayFromImage(theirs).T
    ours = resample(moving, motion, target, how).numpy()[0]
    # in the last half voxel ITK's spline swings on where ours keeps the edge's value
    inside = moving.grid.inside(motion(target.points()), margin=0 if how == "cubic" else 0.5)
    apart = np.abs(ours - expected)[inside] > 0.02
    # the two may differ on which side of a border a position falls, and of a half with nearest
    assert apart.mean() < (1e-3 if how != "nearest" else 3e-3)
    assert np.abs(expected).max() > 100


@pytest.mark.parametrize("code", [axis_codes(3)[n] for n in (0, 7, 18, 29, 41)], ids=code_name)
def test_the_same_scan_laid_out_otherwise_is_the_same_scan(code):
    one, other = grid_around(3, 6.0), grid_around(3, 6.0, direction_of(code))
    scan = picture(one, noise=0)
    again = resample(picture(other, noise=0), identity(3), one).numpy()
    inner = np.zeros(one.shape, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    # the two lattices may be half a voxel apart: then it is what linear interpolation costs
    assert np.abs(again - scan.numpy())[0][inner].mean() < 6


@pytest.mark.parametrize("dim", [2, 3])
def test_identity_gives_back_every_voxel(dim):
    grid = grid_around(dim, 6.0)
    scan = picture(grid)
    for how in ("linear", "nearest"):
        assert torch.equal(resample(scan, identity(dim), grid, how).data, scan.data)
    np.testing.assert_allclose(resample(scan, identity(dim), grid, "cubic").data, scan.data, atol=0.01)


def parts_of(dim):
    """A chain with a part of every kind, 3-D or 2-D."""
    grid = grid_around(dim, 12.0)
    unit = np.stack(np.meshgrid(*(np.linspace(0, np.pi, n) for n in grid.shape), indexing="ij"))
    window = np.prod(np.sin(unit), 0)
    waves = torch.from_numpy(np.stack([window * np.cos(unit[-1] + n) for n in range(dim)])).float()
    return [
        rigid((7, -11, 5)[:dim] if dim == 3 else (7,), (6, -4, 3)[:dim], (3, -5, 4)[:dim]),
        Displacement(to_world(waves * 0.5, grid), grid),
        Velocity(to_world(waves * 0.3, grid), grid),
        BSpline(waves * 5, grid),
        translation((2.0, -3.0, 1.0)[:dim]),
    ]


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 0, 1), (3, 4, 2), (0, 4), (1,), (0, 1, 2, 3, 4)])
def test_it_looks_where_the_transform_points(dim, order):
    transform = chain(*(parts_of(dim)[n] for n in order))
    moving, target = picture(grid_around(dim, 5.0), noise=0), grid_around(dim, (6.0, 7.0, 8.0)[:dim])
    world = transform(target.points())
    index = torch.from_numpy(np.ascontiguousarray(np.moveaxis(moving.grid.index(world), -1, 0)))
    expected = sample(moving.data.double(), index, "linear", "zero")
    found = resample(moving, transform, target).data
    assert float(((found - expected).abs() > 0.05).float().mean()) < 1e-3
    assert float(found.max()) > 200


def test_it_interpolates_once():
    # there and back again through two parts: two interpolations would blur, one leaves every voxel as it was
    scan, there = picture(PLAIN), translation((2.7, -1.9, 3.3))
    grid = grid_around(3, 12.0)
    still = Displacement(torch.zeros((3, *grid.shape)), grid)
    back = resample(scan, there @ still @ there.inverse(), PLAIN)
    np.testing.assert_allclose(back.data, scan.data, atol=0.05)


def test_work_is_done_in_slabs_that_cover_the_grid_once():
    grid = Grid((300, 200, 170), np.eye(4))
    edges = list(slabs(grid))
    assert len(edges) > 3
    assert edges[0][0] == 0
    assert edges[-1][1] == 300
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))


def test_slabs_do_not_show(monkeypatch):
    scan, motion = picture(OBLIQUE), parts_of(3)[0] @ parts_of(3)[1]
    whole = resample(scan, motion, PLAIN)
    monkeypatch.setattr("coincide.transforms.resample._BLOCK", 2000)
    assert len(list(slabs(PLAIN))) > 5
    # sums of the same positions in another order: the last bit may differ
    np.testing.assert_allclose(resample(scan, motion, PLAIN).data, whole.data, atol=1e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("how", ["auto", "label", "nearest"])
def test_labels_come_out_whole(kind, how):
    top = min(np.iinfo(kind).max - 1, BIG_LABEL)
    shown = picture(OBLIQUE, noise=0).numpy()[0]
    names = np.array([0, 17, top], kind)[np.digitize(shown, [100, 330])]
    labels = Image(names, OBLIQUE, "label", name="labels")
    found = resample(labels, rigid((7, -11, 5), (6, -4, 3), (3, -5, 4)), PLAIN, how)
    assert found.kind == "label"
    assert found.numpy().dtype == kind
    assert set(np.unique(found.numpy())) == {0, 17, top}


def test_smooth_labels_have_smoother_outlines_than_nearest():
    labels = Image((picture(OBLIQUE, noise=0).numpy()[0] > 150).astype(np.uint8), OBLIQUE, "label")
    fine = grid_around(3, 3.0)
    truth = picture(fine, noise=0).numpy()[0] > 150
    shown = {how: resample(labels, identity(3), fine, how).numpy()[0] > 0 for how in ("label", "nearest")}
    wrong = {how: (outline != truth).mean() for how, outline in shown.items()}
    assert wrong["label"] < 0.8 * wrong["nearest"]


def test_outside_is_zero():
    scan = Image(np.full(PLAIN.shape, 5.0, np.float32), PLAIN)
    far = resample(scan, translation((1000, 0, 0)), PLAIN)
    assert float(far.data.abs().max()) == 0
    half = resample(scan, translation((70, 0, 0)), PLAIN).data
    assert {0.0, 5.0} == set(half.unique().tolist())


def test_channels_stay_together():
    data = torch.stack([torch.full(PLAIN.shape, v) for v in (1.0, 2.0, 3.0)])
    found = resample(Image(data, PLAIN), identity(3), PLAIN)
    assert torch.equal(found.data, data)


def test_dimensions_must_agree():
    with pytest.raises(DimensionError, match="2-D"):
        resample(picture(grid_around(2, 6.0)), identity(3), PLAIN)
