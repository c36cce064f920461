"""Each artefact does what its name says: the property is measured."""

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from coincide.data.synthesis import Artefacts, Synthesis, draw
from coincide.data.synthesis.acquisition import (
    field_of_view,
    gaussian_noise,
    moved,
    quantum_noise,
    rician_noise,
    ringing,
    speckle,
    thick_slices,
)
from coincide.data.synthesis.artefacts import imaged, stretched
from coincide.data.synthesis.film import radiograph
from coincide.data.synthesis.noise import smooth_noise, taper
from coincide.data.synthesis.vessels import branches

NONE = Artefacts(blur=0, bias=0, gamma=0, noise=0, rate=0)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def edges(shape=(64, 48, 40)):
    """A block, off the middle."""
    picture = np.zeros(shape, np.float32)
    picture[18:44, 12:30, 9:27] = 1
    return picture


def power_beyond(picture, axis, share):
    """Share of the squares of the Fourier coefficients beyond `share` of the frequencies along an axis."""
    power = np.abs(np.fft.rfft(picture, axis=axis)) ** 2
    power = np.moveaxis(power, axis, 0)
    return power[int(np.ceil(share * len(power))) :].sum() / power.sum()


@pytest.mark.parametrize("scale", [2.0, 5.0, 12.0])
def test_smooth_noise_is_of_unit_variance_and_as_wide_as_asked(rng, scale):
    field = smooth_noise(rng, (96, 90, 84), scale, 2)
    assert field.shape == (2, 96, 90, 84)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(1, abs=0.15)
    assert abs(field.mean()) < 0.05 + 0.02 * scale
    # a cubic B-spline of white noise: correlation at one control distance is that of the spline with itself
    step = round(scale)
    at_one = np.mean(field[:, step:] * field[:, :-step]) / np.mean(field**2)
    assert at_one == pytest.approx(1191 / 2416, abs=0.06 + 0.01 * scale)


def test_a_scale_for_each_axis(rng):
    field = smooth_noise(rng, (80, 80), (2.0, 10.0))[0]
    assert np.abs(np.diff(field, axis=0)).mean() > 3 * np.abs(np.diff(field, axis=1)).mean()
    white = smooth_noise(rng, (80, 80), 0.5)[0]
    assert abs(np.corrcoef(white[1:].ravel(), white[:-1].ravel())[0, 1]) < 0.05


def test_a_taper_is_zero_at_the_border_and_one_inside():
    window = taper((20, 30), (4, 6))
    assert window[0].max() == window[:, -1].max() == 0
    assert window[4:-4, 6:-6].min() == 1


def test_thick_slices_lose_detail_along_their_axis_alone_and_stay_in_place():
    picture = edges()
    thick = thick_slices(picture, 1, 4.0)
    assert power_beyond(thick, 1, 0.3) < 0.2 * power_beyond(picture, 1, 0.3)
    assert power_beyond(thick, 0, 0.3) == pytest.approx(power_beyond(picture, 0, 0.3), rel=0.1)
    assert center_of_mass(thick) == pytest.approx(center_of_mass(picture), abs=0.15)


def test_ringing_leaves_no_high_frequencies_and_overshoots_at_edges():
    picture = edges()
    rung = ringing(picture, 2, 0.6)
    assert power_beyond(rung, 2, 0.42) < 1e-10
    # Gibbs: about a twelfth of the step
    assert 1.03 < rung.max() < 1.15
    assert ringing(picture, 2, 0.0) == pytest.approx(picture, abs=1e-5)


def test_a_moving_patient_makes_ghosts_along_one_axis_and_stays_in_place(rng):
    picture = edges()
    ghosts = [moved(rng, picture, 1, 3.0) for _ in range(5)]
    outside = picture == 0
    beside = np.zeros_like(outside)
    beside[18:44, :, 9:27] = True
    along = np.mean([g[outside & beside].mean() for g in ghosts])
    across = np.mean([g[outside & ~beside].mean() for g in ghosts])
    assert along > 0.02
    assert along > 2 * across
    for ghost in ghosts:
        solid = ghost > 0.5
        assert center_of_mass(solid) == pytest.approx(center_of_mass(picture), abs=0.8)
    assert moved(rng, picture, 1, 0.0) == pytest.approx(picture, abs=1e-5)


def test_gaussian_noise_is_the_same_everywhere(rng):
    picture = edges()
    noise = gaussian_noise(rng, picture, 0.05) - picture
    assert noise[picture == 0].std() == pytest.approx(0.05, rel=0.03)
    assert noise[picture == 1].std() == pytest.approx(0.05, rel=0.03)
    assert abs(noise.mean()) < 1e-3


def test_rician_noise_is_rayleigh_in_air_and_gaussian_in_bright_places(rng):
    picture = edges()
    noisy = rician_noise(rng, picture, 0.05)
    assert noisy.min() >= 0
    assert noisy[picture == 0].mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.03)
    assert noisy[picture == 1].std() == pytest.approx(0.05, rel=0.03)


def test_quantum_noise_grows_with_the_root_of_brightness(rng):
    picture = np.repeat(np.array([0.0, 0.25, 1.0], np.float32), 20000)
    noise = (quantum_noise(rng, picture, 0.08) - picture).reshape(3, -1).std(1)
    assert noise == pytest.approx([0, 0.04, 0.08], rel=0.03)


def test_speckle_grows_with_brightness_and_has_grains(rng):
    picture = np.full((200, 200), 0.5, np.float32)
    picture[:100] = 1.0
    noisy = speckle(rng, picture, 0.05)
    assert noisy[:100].std() == pytest.approx(2 * noisy[100:].std(), rel=0.15)
    grains = noisy[:100] - noisy[:100].mean()
    assert np.mean(grains[1:] * grains[:-1]) > 0.3 * np.mean(grains**2)
    assert (speckle(rng, np.zeros((9, 9), np.float32), 0.1) == 0).all()


def test_a_cropped_field_of_view_is_a_box_that_keeps_the_middle(rng):
    for _ in range(20):
        inside = field_of_view(rng, (30, 40), 0.3)
        rows, columns = inside.any(1), inside.any(0)
        assert np.array_equal(inside, rows[:, None] & columns[None])
        assert inside[9:21, 12:28].all()
    assert not field_of_view(rng, (300, 40), 0.3).all()


def test_cropped_images_are_dark_outside_and_say_so_by_their_mask():
    recipe = Synthesis(
        shape=(48, 48), spacing=(4.0, 4.0), anatomies=("blobs",), artefacts=Artefacts(rate=1.0)
    )
    image = draw(recipe, 2).pair.fixed
    assert image.mask is not None
    assert not bool(image.mask.all())
    assert float(image.data[0][~image.mask].max()) == 0
    assert draw(Synthesis(shape=(48, 48), spacing=(4.0, 4.0), artefacts=NONE), 2).pair.fixed.mask is None


def test_a_bias_field_is_smooth_and_a_factor(rng):
    picture = np.full((64, 64), 0.5, np.float32)
    picture[::2] = 0.25
    bright, _ = imaged(rng, Artefacts(blur=0, bias=0.8, gamma=0, noise=0, rate=0), picture)
    gain = bright[1::2].astype(np.float64)
    assert gain.std() > 0.05
    assert np.abs(np.diff(gain, axis=1)).max() < 0.2 * np.ptp(gain)


def test_gamma_keeps_the_order_of_brightness_and_changes_its_steps():
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    bent = [imaged(np.random.default_rng(s), Artefacts(0, 0, 0.5, 0, rate=0), ramp)[0] for s in range(6)]
    assert all((np.diff(b.ravel()) >= 0).all() for b in bent)
    assert np.std([b[32, 0] for b in bent]) > 0.05


def test_without_artefacts_a_picture_is_only_stretched(rng):
    picture = edges() * 3 + 1
    assert imaged(rng, NONE, picture)[0] == pytest.approx(stretched(picture), abs=1e-6)
    assert set(np.unique(stretched(picture))) == {0.0, 1.0}
    assert (stretched(np.ones((5, 5), np.float32)) == 0).all()


def test_blur_takes_detail_away():
    sharp = edges((64, 64, 64))
    blurred = [imaged(np.random.default_rng(s), Artefacts(2.0, 0, 0, 0, rate=0), sharp)[0] for s in range(4)]
    assert max(power_beyond(b, 0, 0.4) for b in blurred) < power_beyond(sharp, 0, 0.4)


def test_a_radiograph_falls_with_thickness_and_bone_stands_out(rng):
    soft = np.tile(np.linspace(0, 100, 80, dtype=np.float32), (60, 1))
    bone = np.zeros_like(soft)
    bone[20:30] = 20
    for _ in range(10):
        film = radiograph(rng, np.stack([bone, soft]), ("bone", "soft"), np.zeros_like(soft))
        way = np.sign(film[0, -1] - film[0, 0])
        assert (way * np.diff(film[0]) >= 0).all()
        assert (way * (film[25] - film[40]) > 0).all()


def test_vessels_obey_murrays_law_and_hang_together(rng):
    tree = branches(rng, (0, 0, 0), (0, 0, 1), 40, 6.0, 4)
    assert len(tree) == 2**5 - 1
    starts = {tuple(start) for start, _, _ in tree[1:]}
    assert starts <= {tuple(end) for _, end, _ in tree}
    for _, end, (radius, _) in tree:
        children = [r for start, _, (r, _) in tree if tuple(start) == tuple(end)]
        if children:
            assert sum(r**3 for r in children) == pytest.approx(radius**3)
