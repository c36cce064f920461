"""Methods that look at intensities: known motions and warps, and what each claims."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import coincide
from coincide.errors import OptionError
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.ops.block_matching import match_blocks
from coincide.ops.jacobian import determinants
from coincide.optimise.lbfgs import minimise
from coincide.optimise.phase import shift_between
from coincide.optimise.trimmed import fit_trimmed
from coincide.pair import Pair
from coincide.transforms import Affine, identity, similarity, translation
from phantom import error_mm, inverted_contrast, known, known_affine, known_pair
from test_deformable import errors, field_of, swell, warped_pair
from test_determinism import fingerprint
from test_methods import LAYOUTS, voxel_of

LAYOUT = {2: "RA-AL", 3: "oblique-anisotropic"}


def solved(spec: str, dim: int, truth, layout=None, contrast=None, change=lambda pair: pair):
    """The solution of a known pair, and its error in voxels."""
    fixed, moving = LAYOUTS[dim][layout or LAYOUT[dim]]
    solution = parse(spec).solve(change(known_pair(fixed, moving, truth, contrast)))
    return solution, error_mm(solution.transform, truth, fixed) / voxel_of(fixed)


def goes_back(solution, grid) -> bool:
    """Whether the inverse that came along undoes the transform."""
    return error_mm(solution.inverse @ solution.transform, identity(grid.dim), grid) < 0.1 * voxel_of(grid)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    ("spec", "limit"),
    [("least_squares:model=rigid", 0.1), ("blocks:model=rigid", 0.25), ("demons", 0.5), ("bspline", 0.3)],
)
def test_a_known_motion_is_recovered(spec, limit, dim):
    solution, error = solved(spec, dim, known(dim))
    assert solution.status is Status.SUCCEEDED
    assert error < limit
    assert goes_back(solution, LAYOUTS[dim][LAYOUT[dim]][0])


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("spec", "limit"), [("least_squares", 0.15), ("blocks", 0.3)])
def test_a_known_stretch_and_shear_is_recovered(spec, limit, dim):
    assert solved(spec, dim, known_affine(dim))[1] < limit


@pytest.mark.parametrize("contrast", [lambda v: 3.0 - 2.5 * v, lambda v: 0.3 + 5 * v])
def test_least_squares_solves_for_gain_and_offset(contrast):
    solution, error = solved("least_squares:model=rigid", 3, known(3), contrast=contrast)
    assert error < 0.1
    # pictures are 400 times the head's brightness
    slope = (
        (contrast(1.0) - contrast(0.0)).item()
        if hasattr(contrast(1.0), "item")
        else contrast(1.0) - contrast(0.0)
    )
    assert solution.evidence["gain"] == pytest.approx(1 / slope, rel=0.03)
    assert solution.evidence["offset"] == pytest.approx(-400 * contrast(0.0) / slope, abs=12)
    assert solution.evidence["unexplained"] < 0.01


def test_least_squares_without_gain_minds_brightness():
    truth = known(2)
    assert solved("least_squares:model=rigid,intensities=same", 2, truth)[1] < 0.1
    # close enough to be taken for one scale, and yet another brightness
    other = {"truth": truth, "contrast": lambda v: 0.08 + 0.85 * v}
    same = solved("least_squares:model=rigid,intensities=same", 2, **other)[1]
    fitted = solved("least_squares:model=rigid", 2, **other)[1]
    assert fitted < 0.05
    assert same > 1.5 * fitted


@pytest.mark.parametrize("layout", ["RA-AL", "oblique-anisotropic"])
@pytest.mark.parametrize(("angle", "scale"), [(-75, 1.15), (130, 0.85), (180, 1.3), (0, 1.0)])
def test_fourier_mellin_finds_any_turn_and_size(angle, scale, layout):
    truth = similarity(angle, (9, -6), scale, (3, 5))
    solution, error = solved("phase", 2, truth, layout)
    assert solution.status is Status.SUCCEEDED
    assert error < 0.5
    part = solution.transform.matrix[:2, :2]
    assert np.sqrt(np.linalg.det(part)) == pytest.approx(scale, rel=0.01)
    turn = np.rad2deg(np.arctan2(part[1, 0], part[0, 0])) - angle
    assert (turn + 180) % 360 - 180 == pytest.approx(0, abs=1)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("layout", ["oblique", "anisotropic", "oblique-anisotropic"])
def test_phase_correlation_finds_a_shift_in_millimetres(layout, dim):
    truth = translation((16.3, -9.1, 4.4)[:dim])
    solution, error = solved("phase:model=translation", dim, truth, layout)
    assert error < 0.15
    assert solution.evidence["coherence"] > 0.2
    assert isinstance(solution.transform, Affine)


def test_phase_correlation_is_exact_on_a_periodic_shift():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(41, 37, 31))
    spectrum = np.fft.fftn(image)
    shift = np.array([3.37, -5.81, 0.25])
    waves = np.meshgrid(*[np.fft.fftfreq(n) for n in image.shape], indexing="ij")
    moved = np.fft.ifftn(spectrum * np.exp(-2j * np.pi * sum(w * s for w, s in zip(waves, shift)))).real
    peak = shift_between(image, moved)
    np.testing.assert_allclose(peak.shift, shift, atol=0.01)
    assert shift_between(image, rng.normal(size=image.shape)).clearness < 1.5


def test_phase_says_when_two_pictures_show_different_things():
    pair = known_pair(*LAYOUTS[2]["RA-AL"], known(2))
    other = pair.moving.with_data(
        torch.from_numpy(np.random.default_rng(0).normal(size=pair.moving.data.shape)).float()
    )
    solution = parse("phase:model=translation").solve(replace(pair, moving=other))
    assert solution.status is Status.NO_CORRESPONDENCE


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("fixed", "moving"), [("3167", "3177"), ("5245", "3167")])
def test_phase_says_when_two_hands_are_too_unlike(fixed, moving, shared_data):
    """It laid one of them 64 mm off, and said nothing."""
    files = [shared_data / "hand_xray" / f"{name}.nii.gz" for name in (fixed, moving)]
    result = coincide.register(*files, "phase")
    assert result.verdict.level == "failed"
    assert any("too little to go by" in told for told in result.decisions)


def test_phase_has_no_rotation_in_volumes():
    with pytest.raises(OptionError, match="phase finds no rigid in 3-D"):
        solved("phase:model=rigid", 3, known(3))


@pytest.mark.parametrize("dim", [2, 3])
def test_blocks_are_found_where_they_went(dim):
    rng = np.random.default_rng(1)
    shape, step = (30,) * dim, np.array([2, -1, 1][:dim])
    fixed = rng.normal(size=shape).astype(np.float32)
    moving = 40 - 3 * np.roll(fixed, step, axis=tuple(range(dim)))  # contrast turned over
    corners = np.array([[8] * dim, [14, 9, 12][:dim]])
    shifts, scores = match_blocks(fixed, moving, corners, 5, 3)
    # the correlation of noise has no width: its parabola is a little off at most
    np.testing.assert_allclose(shifts, np.broadcast_to(step, shifts.shape), atol=0.2)
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    moving[...] = np.nan
    assert (match_blocks(fixed, moving, corners, 5, 3)[1] == -1).all()


def test_blocks_do_not_mind_inverted_contrast():
    assert solved("blocks:model=rigid", 3, known(3), contrast=inverted_contrast)[1] < 0.3


def test_blocks_do_not_follow_what_went_elsewhere():
    """A third of the head replaced by something that moved otherwise pulls blocks less than least squares."""
    truth = known(2)

    def spoilt(pair):
        data, n = pair.moving.data.clone(), pair.moving.grid.shape[1]
        part = slice(n // 4, n // 2)
        data[:, :, part] = torch.roll(data[:, :, part], 7, dims=1)
        return replace(pair, moving=pair.moving.with_data(data))

    blocks = solved("blocks:model=rigid", 2, truth, change=spoilt)[1]
    squares = solved("least_squares:model=rigid", 2, truth, change=spoilt)[1]
    assert blocks < 0.5
    assert blocks < 0.5 * squares


def test_trimming_leaves_out_what_does_not_agree():
    rng = np.random.default_rng(0)
    source = rng.uniform(-50, 50, (200, 3))
    truth = known(3)
    target = truth(source)
    target[:70] += rng.normal(0, 20, (70, 3)) + 15
    matrix, kept = fit_trimmed(source, target, "rigid", 0.6)
    np.testing.assert_allclose(matrix, truth.matrix, atol=1e-6)
    assert not kept[:70].any()
    assert kept.sum() == 120


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    "spec",
    [
        "demons",
        "demons:update=additive",
        "demons:forces=fixed,intensities=same",
        "demons:forces=moving",
        "bspline",
        "bspline:similarity=mse,bending=0.1",
        "bspline:similarity=nmi",
    ],
)
def test_a_known_warp_is_found_without_folds(spec, dim):
    pair, truth = warped_pair(dim), swell(dim)
    solution = parse(spec).solve(pair)
    before = errors(identity(dim), truth, pair.fixed.grid).mean()
    # additive steps have no diffeomorphism to keep to, and Thirion's force sees one image's slope alone
    assert errors(solution.transform, truth, pair.fixed.grid).mean() < 0.4 * before
    assert float(determinants(field_of(solution.transform).voxel_vectors()).least.min()) >= 0.1 - 1e-4
    assert goes_back(solution, pair.fixed.grid)


def test_demons_do_not_mind_brightness_and_contrast():
    pair = warped_pair(2)
    changed = replace(pair, moving=pair.moving.with_data(900 - 0 * pair.moving.data + 0.4 * pair.moving.data))
    one, other = (
        errors(parse("demons").solve(p).transform, swell(2), pair.fixed.grid) for p in (pair, changed)
    )
    assert other.mean() == pytest.approx(one.mean(), abs=0.1)


def test_more_bending_weight_bends_less():
    pair, rough = warped_pair(2), []
    along = np.stack(np.meshgrid(np.arange(-40, 41, 4.0), np.arange(-50, 51, 4.0), indexing="ij"), -1)
    for weight in (0.1, 1000, 1e6):
        mapped = parse(f"bspline:bending={weight},trials=1").solve(pair).transform(along)
        rough.append(sum(float((np.diff(mapped, n=2, axis=axis) ** 2).mean()) for axis in (0, 1)))
    assert rough[0] > 1.2 * rough[1] > 1.2 * rough[2]


@pytest.mark.parametrize("spec", ["phase", "blocks", "least_squares"])
def test_a_deformable_start_is_refused_by_what_is_linear(spec):
    pair = replace(warped_pair(2), initial=swell(2))
    with pytest.raises(OptionError, match="cannot start from a deformable initial transform"):
        parse(spec).solve(pair)


@pytest.mark.parametrize(
    "spec", ["phase:model=rigid", "blocks:model=rigid", "least_squares:model=rigid", "bspline"]
)
def test_a_linear_start_is_honoured(spec):
    truth = known(2)
    far = truth @ translation((1.5, -1.0))
    error = solved(spec, 2, truth, change=lambda pair: replace(pair, initial=far))[1]
    assert error < 0.4


def test_masks_are_held_to():
    """What a mask leaves out may be anything."""
    pair = warped_pair(2)
    mask = torch.ones(pair.fixed.grid.shape, dtype=torch.bool)
    mask[:25] = False
    noise = torch.from_numpy(np.random.default_rng(0).normal(200, 100, pair.fixed.data.shape)).float()
    found = []
    for data in (pair.fixed.data, torch.where(mask, pair.fixed.data, noise)):
        fixed = Image(data, pair.fixed.grid, mask=mask)
        pairs = Pair(fixed, pair.moving)
        found.append(
            [parse(s).solve(pairs).transform(np.zeros((1, 2))) for s in ("blocks", "demons", "bspline")]
        )
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_minimisation_ends_where_it_must():
    def banana(p):
        x, y = p
        value = (1 - x) ** 2 + 100 * (y - x**2) ** 2
        return value, np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])

    found = minimise(banana, np.array([-1.2, 1.0]), 0.5, 200, 0.0)
    np.testing.assert_allclose(found.at, [1, 1], atol=1e-4)
    assert found.iterations < 80


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("phase:model=affine", "affine"),
        ("phase:taper=0.7", "0.7"),
        ("phase:spacing=-1", "-1"),
        ("blocks:model=thin", "thin"),
        ("blocks:kept=0", "0.0"),
        ("blocks:rounds=0", "1 or more, found 0"),
        ("least_squares:intensities=any", "any"),
        ("demons:forces=none", "none"),
        ("demons:step=0", "0.0"),
        ("demons:iterations=0", "0"),
        ("bspline:spacing=-2", "-2"),
        ("bspline:voxels=1", "1.0"),
    ],
)
def test_impossible_options_are_refused(spec, found):
    with pytest.raises(OptionError, match=found):
        parse(spec)


@pytest.mark.parametrize(
    "spec", ["phase", "blocks", "demons", "bspline:trials=1", "map:trials=1,rounds=2", "least_squares"]
)
def test_the_number_of_threads_changes_no_bit(spec):
    assert len({fingerprint(spec, 2, threads) for threads in (1, 2)}) == 1
