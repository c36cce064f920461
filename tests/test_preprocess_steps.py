"""Steps: each against what is known of it, and all of them under other axes, padding and twice."""

import numpy as np
import pytest
import torch

from coincide.errors import DimensionError, IntensityError, LabelError, MaskError, OptionError, PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.ops.sample import sample as sample_at
from coincide.preprocess import STEPS
from coincide.preprocess.noise import noise_sd
from coincide.preprocess.orientation import along_world, to_letters
from coincide.preprocess.pipeline import Pipeline, description, parse, step
from coincide.transforms import rigid
from phantom import STEP_SPECS as SPECS
from phantom import axis_codes, direction_of, grid_around, head, picture

pytest.importorskip("pywt", reason="needs PyWavelets")

GRID = grid_around(3, (5.0, 6.0, 8.0))
SCAN = picture(GRID, noise=0.03)
LABELS = Image((head(GRID.points()) > 0.4).astype(np.int64) * 614454277, GRID, "label")
OTHER = picture(grid_around(3, 7.0), contrast=lambda v: v**2, name="other")
FLAT, HEAVY = ("undistort",), ("brain",)
IN_3D = [name for name in STEPS if name not in (*FLAT, *HEAVY)]
VALUES = [
    *("window", "rescale", "zscore", "gamma", "clahe", "match", "gaussian", "mean", "median", "bilateral"),
    *("nlm", "wavelet", "tv", "speckle", "unsharp", "deconvolve", "n4"),
]


def run(name: str, image=SCAN, labels=None):
    return parse(SPECS.get(name, name))(image, labels, {"other": OTHER})


def turned(image: Image, code) -> Image:
    """The same image with other index axes, by numpy alone."""
    direction = direction_of(code)
    order = [int(np.flatnonzero(column)[0]) for column in direction.T]
    signs = [int(column.sum()) for column in direction.T]
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for new, (old, sign) in enumerate(zip(order, signs)):
        matrix[old, new] = sign
        matrix[old, 3] = 0 if sign > 0 else image.grid.shape[old] - 1

    def lay(values):
        return torch.from_numpy(
            np.ascontiguousarray(np.transpose(values, order)[tuple(slice(None, None, s) for s in signs)])
        )

    grid = Grid([image.grid.shape[a] for a in order], image.grid.affine @ matrix)
    mask = None if image.mask is None else lay(image.mask.numpy())
    return Image(lay(image.numpy()[0]), grid, image.kind, mask)


def test_every_step_is_described_with_its_units():
    for known in description():
        assert known["summary"].endswith("."), known["name"]
        for option in known["options"]:
            assert option["help"], f"{known['name']}: {option['name']} says nothing"
    assert {d["name"] for d in description()} == set(STEPS)
    assert all(step(SPECS.get(n, n).split("|")[-1]).name == n for n in STEPS)


@pytest.mark.parametrize("name", IN_3D)
def test_other_axes_give_the_same_voxels_at_the_same_places(name):
    code = ((2, 0, 1), (1, -1, -1))
    plain, other = run(name, SCAN, LABELS), run(name, turned(SCAN, code), turned(LABELS, code))
    if name != "reorient":
        assert other.image.grid.shape == tuple(plain.image.grid.shape[a] for a in (2, 0, 1))
    places = plain.image.grid.points().reshape(-1, 3)
    index = np.rint(other.image.grid.index(places)).astype(int)
    np.testing.assert_allclose(other.image.grid.world(index), places, atol=1e-6)
    rows = tuple(index.T)
    np.testing.assert_allclose(
        other.image.numpy()[0][rows], plain.image.numpy().ravel(), rtol=1e-6, atol=1e-3
    )
    np.testing.assert_array_equal(other.labels.numpy()[0][rows], plain.labels.numpy().ravel())
    assert set(np.unique(plain.labels.numpy())) == {0, 614454277}
    assert (plain.image.mask is None) == (other.image.mask is None)
    if plain.image.mask is not None:
        np.testing.assert_array_equal(other.image.mask.numpy()[rows], plain.image.mask.numpy().ravel())


@pytest.mark.parametrize("name", [name for name in STEPS if name not in HEAVY])
def test_an_oblique_image_gives_the_same_and_turns_what_comes_out(name):
    dim = 2 if name in FLAT else 3
    scan = picture(grid_around(2, (2.0, 3.0)), noise=0.03) if dim == 2 else SCAN
    labels = Image((scan.numpy()[0] > 150).astype(np.int64) * 614454277, scan.grid, "label")
    turn = rigid((12, -9, 17) if dim == 3 else 17, (30, -20, 9)[:dim], np.zeros(dim)).matrix
    spec = there = SPECS.get(name, name)
    if name == "grow":
        seed = "x".join(f"{s:.9f}" for s in turn[:3] @ (10, -10, 0, 1))
        there = f"grow:seeds={seed},smooth=4"
    grid = Grid(scan.grid.shape, turn @ scan.grid.affine)
    assert not grid.matches(scan.grid)
    plain = parse(spec)(scan, labels, {"other": OTHER})
    other = parse(there)(Image(scan.data, grid), Image(labels.data, grid, "label"), {"other": OTHER})
    np.testing.assert_allclose(other.image.grid.affine, turn @ plain.image.grid.affine, atol=1e-5)
    np.testing.assert_allclose(other.image.data, plain.image.data, rtol=1e-5, atol=5e-3)
    assert other.labels.grid.matches(other.image.grid)
    assert (other.labels.data != plain.labels.data).float().mean() < 1e-3
    assert (other.image.mask is None) == (plain.image.mask is None)
    if plain.image.mask is not None:
        assert (other.image.mask != plain.image.mask).float().mean() < 1e-3
    back = other.back(other.labels)
    assert back.grid == grid
    if name not in ("crop", "undistort"):
        assert (back.data == labels.data).float().mean() > 0.97


# what is put round an image is not what is put round it later; a tilt's grid is laid out from the corners: see below
@pytest.mark.parametrize("name", [name for name in IN_3D if name not in ("pad", "untilt")])
def test_padding_changes_nothing_inside(name):
    spec = f"pad:margin=23,value=1e4 | {SPECS.get(name, name)}"
    plain, padded = run(name, SCAN, LABELS), parse(spec)(SCAN, LABELS, {"other": OTHER})
    places = plain.image.grid.points().reshape(-1, 3)
    index = np.rint(padded.image.grid.index(places)).astype(int)
    np.testing.assert_allclose(padded.image.grid.world(index), places, atol=1e-6)
    # a spline reaches far, and goes on past the border in its own way
    reach = 7 if name == "thin" else 0
    own = plain.image.grid.index(places)
    inner = np.all((own > reach - 1) & (own < np.array(plain.image.grid.shape) - reach), axis=1)
    rows = tuple(index[inner].T)
    np.testing.assert_allclose(
        padded.image.numpy()[0][rows],
        plain.image.numpy().ravel()[inner],
        rtol=1e-6,
        atol=0.5 if name == "thin" else 2e-3 if name == "resample" else 0,
    )
    np.testing.assert_array_equal(padded.labels.numpy()[0][rows], plain.labels.numpy().ravel()[inner])
    mask = np.ones(plain.image.grid.shape, bool) if plain.image.mask is None else plain.image.mask.numpy()
    np.testing.assert_array_equal(padded.image.mask.numpy()[rows], mask.ravel()[inner])


@pytest.mark.parametrize("name", VALUES)
def test_values_that_do_not_count_neither_change_nor_leak(name):
    mask = torch.from_numpy(head(GRID.points()) > 0.2)
    garbage = SCAN.data.clone()
    garbage[:, ~mask] = torch.linspace(-1e4, 1e4, int((~mask).sum()))
    garbage[0, 0, 0, 0] = float("nan")
    clean, dirty = run(name, SCAN.with_mask(mask)).image, run(name, SCAN.with_data(garbage, mask=mask)).image
    assert torch.equal(clean.data[:, mask], dirty.data[:, mask])
    np.testing.assert_array_equal(dirty.data[:, ~mask].numpy(), garbage[:, ~mask].numpy())
    assert not torch.equal(clean.data[:, mask], SCAN.data[:, mask]), "the step did nothing"


def test_a_picture_is_straightened_alike_on_other_axes():
    grid = grid_around(2, (2.0, 3.0))
    image = picture(grid, noise=0.03)
    affine = grid.affine @ np.array([[0, -1, grid.shape[0] - 1], [1, 0, 0], [0, 0, 1]])
    other = Image(image.data[0].T.flip(1).contiguous(), Grid(grid.shape[::-1], affine))
    np.testing.assert_allclose(other.grid.points()[0, 0], grid.points()[-1, 0])
    plain, turned_ = (parse("undistort:k1=0.2,k2=0.05")(i).image for i in (image, other))
    np.testing.assert_allclose(turned_.data[0].flip(1).T, plain.data[0], rtol=1e-5, atol=1e-3)
    assert torch.equal(turned_.mask.flip(1).T, plain.mask)


def test_colours_are_worked_on_one_by_one():
    both = Image(torch.cat([SCAN.data, SCAN.data * 2 + 5]), GRID)
    done = parse("gaussian:sigma=7")(both).image
    np.testing.assert_allclose(done.data[1], done.data[0] * 2 + 5, rtol=1e-4, atol=1e-2)


def test_window_gamma_and_rescaling_do_what_they_say():
    values = run("window").image.numpy()
    np.testing.assert_array_equal(values, np.clip(SCAN.numpy(), -160, 240))
    there_and_back = parse("gamma:exponent=0.5 | gamma:exponent=2")(SCAN).image
    np.testing.assert_allclose(there_and_back.data, SCAN.data, atol=0.02)
    scaled = parse("rescale:lower=2,upper=98,low=10,high=20")(SCAN).image.numpy()
    low, high = np.percentile(SCAN.numpy(), [2, 98])
    np.testing.assert_allclose(
        scaled, 10 + 10 * np.clip((SCAN.numpy() - low) / (high - low), 0, 1), rtol=1e-5
    )
    standard = run("zscore").image.numpy()
    assert abs(standard.mean()) < 1e-5
    assert standard.std() == pytest.approx(1, abs=1e-5)


def test_matching_gives_the_other_histogram():
    ranks = np.linspace(5, 95, 19)
    found = np.percentile(run("match").image.numpy(), ranks)
    wanted = np.percentile(OTHER.numpy(), ranks)
    np.testing.assert_allclose(found, wanted, atol=0.01 * np.ptp(OTHER.numpy()))


@pytest.mark.parametrize(
    "name", ["gaussian:sigma=4", "nlm", "wavelet", "tv", "bilateral:contrast=0.1", "median:radius=9"]
)
def test_denoising_brings_the_image_nearer_to_the_truth(name):
    truth = 400 * head(grid_around(3, 3.0).points())
    noisy = picture(grid_around(3, 3.0), noise=0.08)
    done = parse(name)(noisy).image
    before = np.sqrt(((noisy.numpy()[0] - truth) ** 2).mean())
    assert np.sqrt(((done.numpy()[0] - truth) ** 2).mean()) < 0.75 * before
    assert noise_sd(noisy.numpy()[0]) == pytest.approx(32, rel=0.1)


def test_gaussian_and_spacing():
    from scipy.ndimage import gaussian_filter

    expected = gaussian_filter(SCAN.numpy()[0].astype(float), 7 / GRID.spacing, mode="nearest", truncate=4)
    np.testing.assert_allclose(parse("gaussian:sigma=7")(SCAN).image.numpy()[0], expected, atol=0.5)


def test_speckle_goes_where_it_is_and_not_where_there_is_structure():
    rng = np.random.default_rng(4)
    truth = np.where(np.arange(60)[:, None] < 30, 50.0, 200.0) * np.ones((60, 70))
    image = Image(
        (truth * (1 + 0.25 * rng.standard_normal(truth.shape))).astype(np.float32), Grid((60, 70), np.eye(3))
    )
    done = parse("speckle:sigma=2,variation=0.25")(image).image.numpy()[0]
    flat = (slice(5, 22), slice(None))
    assert done[flat].std() < 0.3 * image.numpy()[0][flat].std()
    assert done[flat].mean() == pytest.approx(image.numpy()[0][flat].mean(), rel=0.01)
    assert np.abs(done - truth).mean() < 0.4 * np.abs(image.numpy()[0] - truth).mean()


def test_deconvolution_takes_a_known_blur_back():
    from scipy.ndimage import gaussian_filter

    grid = grid_around(2, 1.0)
    truth = 100.0 * (head(grid.points()) > 0.5) + 20
    blurred = gaussian_filter(truth, 2.0, mode="nearest")
    image = Image(blurred.astype(np.float32), grid)
    done = parse("deconvolve:fwhm=4.71,iterations=40")(image).image.numpy()[0]
    assert np.abs(done - truth).mean() < 0.7 * np.abs(blurred - truth).mean()
    assert done.mean() == pytest.approx(blurred.mean(), rel=0.01)


def test_n4_finds_a_field_that_was_put_there():
    grid = grid_around(3, (3.0, 3.0, 4.0))
    clean = picture(grid, noise=0.002).numpy()[0] + 20
    world = grid.points()
    field = np.exp(0.35 * np.sin(world[..., 0] / 60) + 0.25 * world[..., 1] / 80)
    done = parse("n4")(Image((clean * field).astype(np.float32), grid)).image.numpy()[0]
    inside = clean > 150
    left = np.log(done / clean)[inside].std()
    assert left < 0.4 * np.log(field)[inside].std()
    assert done[inside].mean() == pytest.approx((clean * field)[inside].mean(), rel=0.02)


@pytest.mark.parametrize("code", axis_codes(3)[::7])
def test_reorienting_follows_nibabel(code):
    import nibabel as nib

    image = turned(SCAN, code)
    for letters in ("RAS", "LPS", "PSR", "ILA"):
        done = parse(f"reorient:axes={letters}")(image).image
        assert "".join(nib.aff2axcodes(done.grid.affine)) == letters
        expected = nib.orientations.ornt_transform(
            nib.io_orientation(image.grid.affine), nib.orientations.axcodes2ornt(letters)
        )
        np.testing.assert_array_equal(done.numpy()[0], nib.apply_orientation(image.numpy()[0], expected))
    turn = along_world(image.grid)
    assert turn.back.image(turn.image(image)).grid == image.grid
    assert to_letters("RAS", image.grid) == turn


@pytest.mark.parametrize("spacing", ["4", "9x7x5"])
def test_resampling_keeps_places_and_field_of_view(spacing):
    oblique = Grid(GRID.shape, GRID.affine).affine.copy()
    angle = np.deg2rad(17)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    oblique[:3, :3] = turn @ oblique[:3, :3]
    image = picture(Grid(GRID.shape, oblique), noise=0)
    done = parse(f"resample:spacing={spacing},interpolation=cubic")(image).image
    wanted = np.broadcast_to([float(s) for s in spacing.split("x")], 3)
    np.testing.assert_allclose(done.grid.spacing, wanted)
    np.testing.assert_allclose(done.grid.direction, image.grid.direction, atol=1e-12)
    np.testing.assert_allclose(done.grid.centre, image.grid.centre, atol=1e-9)
    np.testing.assert_allclose(
        done.grid.shape * wanted, image.grid.shape * image.grid.spacing, atol=wanted.max()
    )
    truth = 400 * head(done.grid.points())
    assert np.abs(done.numpy()[0] - truth).mean() < 8


def test_a_gantry_is_untilted_to_where_the_header_says():
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = (-74, -95, -70)
    affine[1, 2] = -4 * np.tan(np.deg2rad(20))
    tilted = picture(Grid((75, 110, 36), affine), noise=0)
    done = parse("untilt")(tilted).image
    assert done.grid.is_orthogonal
    assert not tilted.grid.is_orthogonal
    np.testing.assert_allclose(done.grid.spacing, (2, 2, 4), atol=1e-6)
    inside = tilted.grid.inside(done.grid.points(), margin=-1)
    assert np.abs(done.numpy()[0] - 400 * head(done.grid.points()))[inside].mean() < 3


def test_a_padded_gantry_is_untilted_to_the_same_places():
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = (-74, -95, -70)
    affine[1, 2] = -4 * np.tan(np.deg2rad(20))
    tilted = picture(Grid((75, 110, 36), affine), noise=0)
    plain, padded = (parse(s)(tilted).image for s in ("untilt", "pad:margin=9,value=1e4 | untilt"))
    inside = tilted.grid.inside(plain.grid.points(), margin=-1)
    there = torch.from_numpy(np.moveaxis(padded.grid.index(plain.grid.points()), -1, 0).copy())
    again = sample_at(padded.data, there).numpy()[0]
    assert np.abs(again - plain.numpy()[0])[inside].mean() < 1


def test_a_tilt_the_header_hides_is_undone_and_carried_back():
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = (-74, -95, -70)
    true = affine.copy()
    true[1, 2] = -4 * np.tan(np.deg2rad(15))
    true[:3, 3] += Grid((75, 110, 36), affine).centre - Grid((75, 110, 36), true).centre
    stacked = Image(picture(Grid((75, 110, 36), true), noise=0).data, Grid((75, 110, 36), affine))
    done = parse("untilt:angle=-15")(stacked)
    shown = Grid((75, 110, 36), true).inside(done.image.grid.points(), margin=-1)
    assert np.abs(done.image.numpy()[0] - 400 * head(done.image.grid.points()))[shown].mean() < 3
    again = done.back(done.image)
    assert again.grid == stacked.grid
    assert np.abs(again.numpy() - stacked.numpy()).mean() < 4


def test_the_feed_of_the_table_is_more_than_the_distance_of_tilted_planes():
    feed = Image(torch.rand(1, 30, 40, 20), Grid((30, 40, 20), np.diag([2.0, 2.0, 5.0, 1.0])))
    near = np.diag([2.0, 2.0, 5 * np.cos(np.deg2rad(20)), 1.0])
    near[2, 3] = feed.grid.centre[2] * (1 - np.cos(np.deg2rad(20)))
    planes = Image(feed.data, Grid(feed.grid.shape, near))
    one = parse("untilt:angle=20,distance=feed")(feed).image
    other = parse("untilt:angle=20")(planes).image
    assert one.grid.matches(other.grid)
    np.testing.assert_allclose(one.data, other.data, atol=1e-5)
    # one slice lies as far from the next as the table went
    moved = step("untilt:angle=20,distance=feed").leads_to(feed.grid.world([(9, 9, 3), (9, 9, 4)]), feed.grid)
    assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(5)


def test_coarser_voxels_cover_the_whole_field_of_view():
    grid = Grid.from_spacing((40, 40, 20), (1.0, 1.0, 3.0))
    done = parse("resample:spacing=7")(Image(torch.rand(1, *grid.shape), grid)).image
    # ceil(40 / 7), ceil(60 / 7): image biomarker standard, chapter 2.4
    assert done.grid.shape == (6, 6, 9)
    np.testing.assert_allclose(done.grid.centre, grid.centre)


@pytest.mark.parametrize(("k1", "k2"), [(0.15, 0.0), (-0.12, 0.03)])
def test_a_lens_is_straightened_and_the_bend_can_be_put_back(k1, k2):
    grid = grid_around(2, 1.0)
    half = np.linalg.norm(grid.spacing * grid.shape) / 2
    straight = picture(grid, noise=0)
    # what is shown at radius s lies at radius r: found here by bisection
    apart = (grid.points() - grid.centre) / half
    shown = np.linalg.norm(apart, axis=-1)
    low, high = np.zeros_like(shown), np.full_like(shown, 2.0)
    for _ in range(60):
        middle = (low + high) / 2
        over = middle * (1 + k1 * middle**2 + k2 * middle**4) > shown
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    lies = grid.centre + apart * (low / np.maximum(shown, 1e-9))[..., None] * half
    bent = Image((400 * head(lies)).astype(np.float32), grid)
    done = parse(f"undistort:k1={k1},k2={k2}")(bent)
    inner = np.linalg.norm(grid.points() - grid.centre, axis=-1) < 0.6 * half
    assert np.abs(done.image.numpy()[0] - straight.numpy()[0])[inner].mean() < 0.6
    assert np.abs(bent.numpy()[0] - straight.numpy()[0])[inner].mean() > 3
    assert np.abs(done.back(done.image).numpy()[0] - bent.numpy()[0])[inner].mean() < 1


def test_labels_found_on_the_processed_image_come_back():
    done = parse("reorient:axes=PSR | pad:margin=20 | resample:spacing=3 | crop:margin=2")(SCAN, LABELS)
    back = done.back(done.labels)
    assert back.grid == GRID
    assert back.data.dtype == torch.int64
    assert (back.data == LABELS.data).float().mean() > 0.985
    assert len(done.stages) == 5
    assert done.stages[0].image is SCAN
    assert done.stages[2].image.grid.shape != GRID.shape


def test_the_record_tells_order_settings_and_versions():
    record = parse("median:radius=9 | resample:spacing=4 | wavelet")(SCAN).record
    assert [s["step"] for s in record["steps"]] == ["median", "resample", "wavelet"]
    assert record["steps"][1]["options"] == {"spacing": (4.0,), "interpolation": "linear"}
    assert record["steps"][2]["before"]["affine"] == record["after"]["affine"]
    assert {"scipy", "PyWavelets", "scikit-image", "numpy"} <= set(record["versions"])


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("sharpen", OptionError, "unknown step 'sharpen'"),
        ("gausian", OptionError, "Did you mean 'gaussian'"),
        ("gaussian:sigma=-1", OptionError, "above 0"),
        ("gaussian:sgima=1", OptionError, "Did you mean 'sigma'"),
        ("window:low=5,high=5", OptionError, "a lower and a higher"),
        ("rescale:lower=60,upper=40", OptionError, "a lower and a higher"),
        ("match", OptionError, "no reference"),
        ("match:reference=x.nii", OptionError, "was not handed over"),
        ("median:radius=2", OptionError, "no neighbour"),
        ("wavelet:wavelet=sym44", OptionError, "Did you mean 'sym4'"),
        ("reorient:axes=RAL", OptionError, "one of each"),
        ("resample:spacing=1x2", OptionError, "2 spacings for a 3-D image"),
        ("undistort", DimensionError, "bends pictures"),
        ("undistort:k1=-0.3,k2=-0.1", OptionError, "fold"),
        ("untilt:distance=feed", OptionError, "goes with an angle"),
        ("crop", MaskError, "no mask to crop"),
        ("fill", MaskError, "no mask"),
        ("threshold:at=1e9", MaskError, "nothing is left"),
        ("grow", OptionError, "seeds hold 0"),
        ("grow:seeds=1x2", OptionError, "seeds hold 2"),
        ("grow:seeds=900x0x0", PointsError, "outside"),
        ("gaussian |", OptionError, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(spec, error, says):
    with pytest.raises(error, match=says):
        parse(spec)(SCAN)


def test_images_that_show_nothing_are_refused():
    flat = SCAN.with_data(torch.full_like(SCAN.data, 7.0))
    for name in ("rescale", "zscore", "gamma", "clahe", "threshold", "n4"):
        with pytest.raises(IntensityError, match="percentiles"):
            run(name, flat)
    with pytest.raises(IntensityError, match="no voxel"):
        run("gaussian", SCAN.with_data(torch.full_like(SCAN.data, float("nan"))))
    for name in ("nlm", "wavelet", "tv"):
        assert torch.equal(run(name, flat).image.data, flat.data)
    with pytest.raises(LabelError, match="labels lie on"):
        run("gaussian", SCAN, Image(np.zeros(OTHER.grid.shape, int), OTHER.grid, "label"))
    with pytest.raises(OptionError, match="needs a step"):
        Pipeline(())
    with pytest.raises(DimensionError, match="2-D"):
        run("untilt", picture(grid_around(2)))
    with pytest.raises(DimensionError, match="2-D"):
        run("reorient", picture(grid_around(2)))


@pytest.mark.parametrize("factor", [3, 4])
def test_thin_slices_have_the_thick_ones_as_their_means_and_are_nearer_to_the_truth(factor):
    from coincide.measures.quality.reference import compared

    fine = grid_around(3, (3.0, 3.0, 1.5), extent=(150, 172, 144))
    fine = fine.cropped((0, 0, 0), (*fine.shape[:2], fine.shape[2] // factor * factor))
    truth = picture(fine, noise=0)
    thick = truth.data.reshape(1, *fine.shape[:2], -1, factor).mean(-1)
    affine = fine.affine.copy()
    affine[:3, 2] *= factor
    affine[2, 3] += 1.5 * (factor - 1) / 2
    given = Image(thick, Grid(tuple(thick.shape[1:]), affine))
    done = parse(f"thin:factor={factor}")(given).image
    assert done.grid.matches(fine)
    again = done.data.reshape(1, *fine.shape[:2], -1, factor).mean(-1)
    assert (again - thick).abs().mean() < 0.02 * (thick.max() - thick.min())
    spline = parse("resample:spacing=3x3x1.5,interpolation=cubic")(given).image
    assert spline.grid.matches(fine)
    assert compared(done, truth)["psnr_db"] > compared(spline, truth)["psnr_db"] + 0.5
    with pytest.raises(OptionError, match="as thin as its pixels"):
        parse("thin")(done)
