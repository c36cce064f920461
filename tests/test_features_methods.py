"""Every feature method finds known motions of real pictures, and says when there is nothing to find."""

import numpy as np
import pytest
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.transforms.linear import about, rotation_matrix, similarity

CLAIMED = {"akaze": 0.3, "harris": 0.5, "orb": 0.6, "sift": 0.2, "surf": 0.8}
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
    solution = parse(f"{method}:model={model}").solve(pair)
    assert solution.status is Status.SUCCEEDED
    assert error_px(solution.transform, truth, fixed) < CLAIMED[method]
    part = solution.transform.matrix[:2, :2]
    if model != "affine":
        np.testing.assert_allclose(part @ part.T, np.eye(2) * np.linalg.det(part), atol=1e-9)
    if model == "rigid":
        assert np.linalg.det(part) == pytest.approx(1)
    np.testing.assert_allclose(solution.inverse(solution.transform([[3.0, 4.0]])), [[3.0, 4.0]])
