"""Every feature method finds known motions of real pictures, and says when there is nothing to find."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image as Canvas

from coincide.errors import DimensionError, MissingPackageError, OptionError, ResourceError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.methods.classical.features import look_at
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.registration import register
from coincide.report.pictures import figure
from coincide.transforms import Displacement
from coincide.transforms.linear import about, rotation_matrix, similarity

CLAIMED = {"akaze": 0.3, "harris": 0.5, "orb": 0.4, "sift": 0.2, "surf": 1.5}
"""Mean error in pixels that each method stays below."""
SHEAR = np.array([[1.05, 0.08], [-0.04, 0.94]])


def real(name: str, part=slice(None)) -> np.ndarray:
    """A picture that scikit-image ships, `(I, J)` from 0 to 1."""
    from skimage import color, data

    picture = getattr(data, name)()
    grey = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255.0
    return np.ascontiguousarray(grey[part, part].T, np.float32)


@pytest.fixture(scope="module")
def camera() -> np.ndarray:
    return real("camera", slice(40, 400))


def imaged(
    values: np.ndarray, spacing=(0.8, 0.8), origin=(-20.0, 35.0), direction=None, name="fixed"
) -> Image:
    grid = Grid.from_spacing(values.shape, spacing, origin, direction)
    return Image(torch.from_numpy(values)[None], grid, name=name)


def moved(fixed: Image, truth, spacing, direction=None, spoiled=False) -> Image:
    """The picture moved by `truth` (fixed-world mm → moving-world mm), on a grid of its own that holds it whole."""
    corners = truth(fixed.grid.corners)
    direction = np.eye(2) if direction is None else direction
    local = corners @ direction
    shape = np.ceil(np.ptp(local, axis=0) / spacing).astype(int)
    grid = Grid.from_spacing(tuple(shape), spacing, direction @ local.min(0), direction)
    index = np.moveaxis(fixed.grid.index(truth.inverse()(grid.points())), -1, 0)
    values = sample(fixed.data, torch.from_numpy(index.copy()), "cubic", "zero").numpy()
    if spoiled:
        values = np.clip(values, 0, 1) ** 0.6 + 0.03 * np.random.default_rng(3).standard_normal(values.shape)
    return Image(torch.from_numpy(values.astype(np.float32)), grid, name="moving")


def error_px(transform, truth, fixed: Image) -> float:
    """Mean distance over the fixed picture, in its pixels."""
    points = fixed.grid.points().reshape(-1, 2)
    back = truth.inverse()
    return float(np.linalg.norm(back(transform(points)) - points, axis=1).mean() / fixed.grid.spacing.mean())


def truth_of(model: str, grid: Grid):
    if model == "rigid":
        return similarity(160, (9, -14), 1.0, grid.centre)
    if model == "similarity":
        return similarity(-70, (12, 5), 0.75, grid.centre)
    return about(1.1 * rotation_matrix(25) @ SHEAR, (-8, 6), grid.centre)


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
@pytest.mark.parametrize("method", CLAIMED)
def test_a_known_motion_is_found(method, model, camera):
    fixed = imaged(camera)
    truth = truth_of(model, fixed.grid)
    # pixels that are no squares, and on the other side of the mirror
    flip = np.array([[0.0, 1.0], [1.0, 0.0]])
    pair = Pair(fixed, moved(fixed, truth, (0.9, 0.75), flip, spoiled=True))
    solution = parse(f"{method}:model={model},number=2000").solve(pair)
    assert solution.status is Status.SUCCEEDED
    assert error_px(solution.transform, truth, fixed) < CLAIMED[method]
    part = solution.transform.matrix[:2, :2]
    if model != "affine":
        np.testing.assert_allclose(part @ part.T, np.eye(2) * np.linalg.det(part), atol=1e-9)
    if model == "rigid":
        assert np.linalg.det(part) == pytest.approx(1)
    np.testing.assert_allclose(solution.inverse(solution.transform([[3.0, 4.0]])), [[3.0, 4.0]])


def test_a_bend_is_followed_by_a_thin_plate(camera):
    fixed = imaged(camera)
    centre, size = fixed.grid.centre, np.ptp(fixed.grid.corners, axis=0)

    def bent(points):
        """A turn, and on top of it waves of some 7 mm, far more than what agrees with any affine map."""
        waves = np.sin(2 * np.pi * (points - centre)[..., ::-1] / size) * (7.0, -6.0)
        return similarity(20, (5, -3), 1.0, centre)(points + waves)

    # the moving picture's value at y is the fixed one's at the x that is bent to y, found by fixed points
    grid = Grid.from_spacing((400, 420), (0.9, 0.85), centre - 0.5 * np.array((400, 420)) * (0.9, 0.85))
    world = grid.points()
    back = world.copy()
    for _ in range(30):
        back = back - (bent(back) - world) @ rotation_matrix(20)
    index = torch.from_numpy(np.moveaxis(fixed.grid.index(back), -1, 0).copy())
    moving = Image(sample(fixed.data, index, "cubic", "zero"), grid, name="moving")
    points = fixed.grid.points()[40:-40:8, 40:-40:8].reshape(-1, 2)
    errors = {}
    for model in ("affine", "thin_plate"):
        solution = parse(f"sift:model={model}").solve(Pair(fixed, moving))
        assert solution.status is Status.SUCCEEDED
        errors[model] = np.linalg.norm(solution.transform(points) - bent(points), axis=1).mean() / 0.8
        again = solution.inverse(solution.transform(points))
        np.testing.assert_allclose(again, points, atol=0.05)
    assert errors["thin_plate"] < 0.5 < 3 < errors["affine"]


def blob_volume(world: np.ndarray) -> np.ndarray:
    """Some hundred soft blobs of many sizes, nowhere symmetric, at positions `(..., 3)` mm."""
    rng = np.random.default_rng(4)
    centres, radii = rng.uniform(-45, 45, (160, 3)), rng.uniform(3, 8, 160)
    heights = rng.uniform(0.3, 1.0, 160) * rng.choice((-1, 1), 160)
    total = np.full(world.shape[:-1], 0.5)
    for centre, radius, height in zip(centres, radii, heights):
        total += 0.5 * height * np.exp(-0.5 * ((world - centre) ** 2).sum(-1) / radius**2)
    return total


def volume(grid: Grid, truth=None, contrast=None, noise: float = 0.01) -> Image:
    values = blob_volume(grid.points() if truth is None else truth.inverse()(grid.points()))
    values = values if contrast is None else contrast(values)
    values = values + noise * np.random.default_rng(9).standard_normal(grid.shape)
    return Image(torch.from_numpy(values.astype(np.float32)), grid, name="volume")


@pytest.fixture(scope="module")
def fixed_volume() -> Image:
    return volume(Grid.from_spacing((58, 50, 62), (2.0, 2.2, 1.8), (-57, -54, -55)))


@pytest.mark.parametrize(
    ("spec", "angles", "scale", "contrast"),
    [
        ("keypoints3d:model=rigid", (35, -130, 70), 1.0, None),
        ("keypoints3d:model=similarity", (-20, 10, 170), 1.12, lambda v: np.clip(v, 0, None) ** 0.6),
        ("keypoints3d:model=rigid,upright=true,describe=mind", (6, -4, 8), 1.0, lambda v: 1.2 - 0.8 * v),
    ],
)
def test_a_known_motion_is_found_in_a_volume(spec, angles, scale, contrast, fixed_volume):
    truth = similarity(angles, (14, -9, 11), scale, (3, -2, 5))
    shape = (64, 66, 60)
    turned = rotation_matrix((10, 20, -15)) @ np.diag([1.0, -1.0, 1.0])
    spacing = np.array((2.0, 2.1, 2.3)) * 1.05
    centre = truth(np.zeros(3)) - turned @ ((np.array(shape) - 1) / 2 * spacing)
    moving = volume(Grid.from_spacing(shape, spacing, centre, turned), truth, contrast)
    solution = parse(spec).solve(Pair(fixed_volume, moving))
    assert solution.status is Status.SUCCEEDED
    points = fixed_volume.grid.points()[::6, ::6, ::6].reshape(-1, 3)
    points = points[moving.grid.inside(truth(points))]
    error = np.linalg.norm(solution.transform(points) - truth(points), axis=1).mean()
    assert error < 0.25 * 2.0


@pytest.mark.parametrize("method", CLAIMED)
def test_different_things_are_not_registered(method, camera):
    fixed = imaged(camera)
    other = imaged(real("coins")[:280], name="coins")
    solution = parse(f"{method}:model=affine").solve(Pair(fixed, other))
    assert solution.status is Status.NO_CORRESPONDENCE
    assert "Too few places" in solution.status.value
    assert "no more than chance" in solution.decisions[-1]
    assert solution.evidence["keypoints_fixed"] > 100
    assert not solution.matches.inlier.all()


def test_next_to_nothing_to_see_is_no_correspondence(camera):
    i, j = np.meshgrid(np.arange(90.0), np.arange(80.0), indexing="ij")
    hill, wall = (np.exp(-((i - 30) ** 2 + (j - 50) ** 2) / 800), 1 / (1 + np.exp((30 - i) / 4)))
    hill, wall = imaged(hill.astype(np.float32)), imaged(wall.astype(np.float32))
    for method in CLAIMED:
        assert parse(method).solve(Pair(hill, wall)).status is Status.NO_CORRESPONDENCE
    flat = np.linspace(0, 1, 20**3, dtype=np.float32).reshape(20, 20, 20)
    volume = Image(torch.from_numpy(flat)[None], Grid.from_spacing((20, 20, 20), 2.0))
    assert parse("keypoints3d").solve(Pair(volume, volume)).status is Status.NO_CORRESPONDENCE


def test_what_was_matched_is_told(camera):
    fixed = imaged(camera)
    truth = similarity(30, (4, 9), 1.0, fixed.grid.centre)
    solution = parse("sift:model=rigid").solve(Pair(fixed, moved(fixed, truth, (0.8, 0.8))))
    evidence, matches = solution.evidence, solution.matches
    assert evidence["matches"] == len(matches) > evidence["inliers"] == matches.inlier.sum() > 50
    assert evidence["inlier_ratio"] == pytest.approx(matches.inlier.mean())
    apart = np.linalg.norm(solution.transform(matches.fixed) - matches.moving, axis=1)
    assert np.sqrt((apart[matches.inlier] ** 2).mean()) == pytest.approx(evidence["residual_mm"], rel=1e-6)
    assert apart[matches.inlier].max() < evidence["tolerance_mm"] < 1.0
    assert evidence["chance_log10"] < -100
    assert all(isinstance(float(v), float) for v in evidence.values())


def test_the_same_seed_gives_the_same_result(camera):
    fixed = imaged(camera)
    pair = Pair(fixed, moved(fixed, truth_of("similarity", fixed.grid), (0.8, 0.8)))
    once, again = (parse("orb").solve(pair).transform.matrix for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_an_initial_transform_turns_what_upright_features_look_at(camera):
    fixed = imaged(camera)
    truth = similarity(120, (9, -14), 1.0, fixed.grid.centre)
    moving = moved(fixed, truth, (0.8, 0.8))
    method = parse("sift:upright=true,model=rigid")
    assert method.solve(Pair(fixed, moving)).status is Status.NO_CORRESPONDENCE
    near = similarity(115, (2, -3), 1.0, fixed.grid.centre)
    solution = method.solve(Pair(fixed, moving, initial=near))
    assert solution.status is Status.SUCCEEDED
    assert error_px(solution.transform, truth, fixed) < 0.2
    apart = np.linalg.norm(solution.transform(solution.matches.fixed) - solution.matches.moving, axis=1)
    assert apart[solution.matches.inlier].max() < 1


def test_masks_keep_keypoints_out(camera):
    fixed = imaged(camera)
    mask = torch.zeros(fixed.grid.shape, dtype=torch.bool)
    mask[100:300, 80:320] = True
    truth = truth_of("rigid", fixed.grid)
    pair = Pair(fixed.with_mask(mask), moved(fixed, truth, (0.8, 0.8)))
    solution = parse("akaze:model=rigid").solve(pair)
    assert error_px(solution.transform, truth, fixed) < 0.3
    inside = fixed.grid.index(solution.matches.fixed)
    assert ((inside > (98, 78)) & (inside < (302, 322))).all()


@pytest.mark.parametrize("kind", ["magsac", "ransac"])
def test_opencv_finds_the_agreement_too(kind, camera):
    fixed = imaged(camera)
    truth = truth_of("affine", fixed.grid)
    pair = Pair(fixed, moved(fixed, truth, (0.8, 0.8)))
    solution = parse(
        f"sift:model=affine,consensus=consensus(kind={kind}),matching=matching(search=flann)"
    ).solve(pair)
    assert error_px(solution.transform, truth, fixed) < 0.2


def test_what_cannot_be_registered_is_refused(camera, fixed_volume):
    picture = imaged(camera)
    with pytest.raises(DimensionError, match="registers 2-D images, found 3-D"):
        parse("sift").solve(Pair(fixed_volume, fixed_volume))
    with pytest.raises(DimensionError, match="registers 3-D images, found 2-D"):
        parse("keypoints3d").solve(Pair(picture, picture))
    field = Displacement(torch.zeros((2, *picture.grid.shape)), picture.grid)
    with pytest.raises(OptionError, match="cannot start from a deformable"):
        parse("orb").solve(Pair(picture, picture, initial=field))
    with pytest.raises(OptionError, match="for 2-D images"):
        parse("keypoints3d:consensus=consensus(kind=magsac)").solve(Pair(fixed_volume, fixed_volume))
    with pytest.raises(ResourceError, match=r"keypoints on .* voxels of 1e-05 mm.*larger spacing"):
        parse("keypoints3d:spacing=0.00001").solve(Pair(fixed_volume, fixed_volume))
    for wrong in (
        "sift:model=projective",
        "sift:number=0",
        "orb:threshold=0",
        "akaze:threshold=-1",
        "harris:corner=foerstner",
        "harris:equalise=-1",
        "surf:spacing=-2",
        "keypoints3d:describe=brief",
        "sift:matching=matching(ratio=2)",
    ):
        with pytest.raises(OptionError):
            parse(wrong)


def test_without_the_extra_the_way_out_is_named(monkeypatch, camera):
    monkeypatch.setitem(sys.modules, "cv2", None)
    picture = imaged(camera)
    with pytest.raises(MissingPackageError, match=r"opencv-python-headless.*coincide\[features\]"):
        parse("sift").solve(Pair(picture, picture))


def test_pictures_are_looked_at_alike_unless_their_sizes_differ_too_much():
    def blank(number, spacing):
        return Image(torch.zeros((1, number, number)), Grid.from_spacing((number, number), spacing))

    assert look_at(blank(1400, 0.5), blank(800, 0.8), 0.0) == (0.8, 0.8)
    assert look_at(blank(4001, 0.1), blank(400, 0.8), 0.0) == (0.8, 0.8)
    assert look_at(blank(4000, 0.1), blank(4000, 0.1), 0.0) == pytest.approx((0.4, 0.4), rel=1e-3)
    small, large = look_at(blank(600, 0.1), blank(600, 1.0), 0.0)
    assert large == 1.0
    assert small == pytest.approx(0.12, rel=0.01)
    assert look_at(blank(60, 1), blank(60, 1), 0.25) == (0.25, 0.25)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_report_draws_the_matches(dim, camera, fixed_volume):
    fixed = imaged(camera) if dim == 2 else fixed_volume
    result = register(Pair(fixed, fixed), "sift" if dim == 2 else "keypoints3d:upright=true")
    assert result.verdict.level != "failed"
    picture = np.asarray(Canvas.open(io.BytesIO(figure(result, "matches")))).astype(int)
    if dim == 2:  # side by side
        assert picture.shape[1] > 1.8 * picture.shape[0]
    cyan = (picture[..., 2] - picture[..., 0] > 60) & (picture[..., 1] - picture[..., 0] > 60)
    assert cyan.sum() > 200
