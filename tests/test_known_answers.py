"""Every method on every problem with a known answer that it claims, in one table; and every method on too little.

Errors are means over the anatomy, in fixed voxels. Each run of the tests tries each method on one problem, the slow run
on all. What the table leaves open (layouts, similarities, sources, far starts) stands in the methods' own files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from coincide.errors import InputError, PointsError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import METHODS, Context, Status, available, parse
from coincide.methods.plan import plan
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import register
from coincide.transforms import identity, similarity, translation
from phantom import error_mm, grid_around, known, known_affine, known_pair
from shapes import Bent, error_of, masked_pair
from test_boundary import truth_of as outline_truth
from test_deformable import errors, swell, warped_pair
from test_features_methods import error_px, imaged, moved, real, truth_of, volume
from test_landmarks import bend, pair_of
from test_methods import LAYOUTS, voxel_of

EXACT = 0.5
LAYOUT = {2: "oblique-anisotropic", 3: "oblique-anisotropic"}


def of_head(problem: str, dim: int):
    """A soft head, for methods that look at intensities."""
    if problem == "warp":
        pair, truth = warped_pair(dim), swell(dim)
        return pair, lambda found: float(errors(found, truth, pair.fixed.grid).mean())
    truth = {
        "shift": translation((16.3, -9.1, 4.4)[:dim]),
        "rigid": known(dim),
        "similarity": known(dim, scale=1.15),
        "affine": known_affine(dim),
        "far": similarity(130, (9, -6), 0.85, (3, 5)),
    }[problem]
    pair = known_pair(*LAYOUTS[dim][LAYOUT[dim]], truth)
    return pair, lambda found: error_mm(found, truth, pair.fixed.grid)


def of_picture(problem: str, dim: int, name: str = "camera"):
    """A picture full of detail, turned far and spoiled, for methods that look for places to recognise."""
    if dim == 3:
        return of_volume(problem)
    fixed = imaged(real(name)[:360, :360])
    truth = truth_of(problem, fixed.grid)
    pair = Pair(fixed, moved(fixed, truth, (0.9, 0.75), np.array([[0.0, 1.0], [1.0, 0.0]]), spoiled=True))
    return pair, lambda found: error_px(found, truth, fixed) * 0.8


def of_volume(problem: str):
    """Some hundred soft blobs."""
    fixed = volume(Grid.from_spacing((58, 50, 62), (2.0, 2.2, 1.8), (-57, -54, -55)))
    truth = similarity((35, -130, 70), (14, -9, 11), 1.0 if problem == "rigid" else 1.12, (3, -2, 5))
    corners = truth(fixed.grid.corners)
    shape = tuple(np.ceil(np.ptp(corners, axis=0) / 2.2).astype(int))
    moving = volume(Grid.from_spacing(shape, 2.2, corners.min(0)), truth)
    points = fixed.grid.points()[::6, ::6, ::6].reshape(-1, 3)
    return Pair(fixed, moving), lambda found: float(
        np.linalg.norm(found(points) - truth(points), axis=1).mean()
    )


def of_coins(problem: str, dim: int):
    """A picture with many things in it."""
    return of_picture(problem, dim, "page")


def of_outline(problem: str, dim: int):
    """Masks of a shape whose grey values say nothing."""
    if problem == "warp":
        bent = Bent(outline_truth("rigid", dim))
        return masked_pair(dim, bent, back=bent.back), lambda found: error_of(found, bent, dim)
    truth = outline_truth(problem, dim)
    return masked_pair(dim, truth), lambda found: error_of(found, truth, dim)


def of_landmarks(problem: str, dim: int):
    """Blank pictures with landmarks that correspond."""
    truths = {"rigid": known(dim), "similarity": known(dim, 1.2), "affine": known_affine(dim)}
    truth = bend if problem == "warp" else truths[problem]
    pair = pair_of(dim, truth)
    return pair, lambda found: error_mm(found, truth, pair.fixed.grid)


@dataclass(frozen=True)
class Claim:
    """What a method claims.

    Args:
        made: makes a problem and what measures an answer in mm.
        option: how the method is told the kind of motion; none where it needs no telling.
        bounds: error in voxels by problem, the one that every run tries first.
        dims: in which it claims them.
        more: further options.
    """

    made: Callable[[str, int], tuple[Pair, Callable[[object], float]]]
    option: str
    bounds: dict[str, float]
    dims: tuple[int, ...] = (2, 3)
    more: str = ""

    def spec(self, method: str, problem: str) -> str:
        told = {"shift": "translation", "far": "similarity", "warp": ""}.get(problem, problem)
        parts = [f"{self.option}={told}" if self.option and told else "", self.more]
        return f"{method}:{','.join(p for p in parts if p)}".rstrip(":")


LINEAR = dict.fromkeys(("affine", "rigid", "similarity"), EXACT)
PICTURE = Claim(of_picture, "model", LINEAR, (2,), "number=2000")
CLAIMS = {
    "akaze": PICTURE,
    "auto": Claim(of_head, "transform", {"rigid": EXACT, "affine": EXACT, "warp": EXACT}),
    "blocks": Claim(of_head, "model", {"affine": EXACT, "rigid": EXACT}),
    "boundary": Claim(of_outline, "transform", {**LINEAR, "warp": 1.0}),
    "bspline": Claim(of_head, "", {"warp": EXACT, "rigid": EXACT}),
    "cpd": Claim(of_outline, "transform", {**LINEAR, "warp": 1.0}, more="points=600,starts=80"),
    "deformable": Claim(of_head, "", {"warp": EXACT, "rigid": EXACT}),
    "demons": Claim(of_head, "", {"warp": EXACT, "rigid": EXACT}),
    "harris": PICTURE,
    "icp": Claim(of_outline, "model", LINEAR, more="starts=80"),
    "keypoints3d": Claim(of_picture, "model", {"rigid": EXACT, "similarity": EXACT}, (3,)),
    "landmarks": Claim(of_landmarks, "transform", {**dict.fromkeys(LINEAR, 1e-6), "warp": EXACT}),
    "least_squares": Claim(of_head, "model", LINEAR),
    "linear": Claim(of_head, "model", LINEAR),
    "map": Claim(of_head, "", {"warp": EXACT}),
    "orb": PICTURE,
    "phase": Claim(of_head, "model", {"shift": EXACT}),
    "regions": Claim(of_coins, "transform", LINEAR, (2,)),
    "sift": PICTURE,
    # it says so: good to about a pixel
    "surf": replace(PICTURE, bounds=dict.fromkeys(LINEAR, 1.5)),
}
"""Each method by name; one may claim more under another heading in `FURTHER`."""
FURTHER = [("phase", Claim(of_head, "model", {"far": EXACT}, (2,)))]
SEEING = ("keypoints", "pyramid", "hybrid", "recurrent", "regressor", "translate")
"""Networks are tried on what they learned to see, in files of their own."""


def table(every: bool) -> list:
    """Method, claim, problem and dimension; the first of each method, or all the others."""
    found = []
    for method, claim in [*CLAIMS.items(), *FURTHER]:
        cells = [(problem, dim) for problem in claim.bounds for dim in claim.dims]
        for number, (problem, dim) in enumerate(cells):
            if every == (number > 0):
                found.append(pytest.param(method, claim, problem, dim, id=f"{method}-{problem}-{dim}d"))
    return found


def check(method: str, claim: Claim, problem: str, dim: int) -> None:
    pair, error = claim.made(problem, dim)
    stages = set()
    chosen = parse(claim.spec(method, problem))
    solution = chosen.solve(pair, Context(lambda event: stages.add(event.stage)))
    assert solution.status is Status.SUCCEEDED
    off = error(solution.transform) / voxel_of(pair.fixed.grid)
    print(f"{method}, {problem}, {dim}-D: {off:.3f} voxels, {claim.bounds[problem]:g} allowed")
    assert off < claim.bounds[problem]
    # who waits is told how far it is
    assert stages & {part.stage for part in plan(chosen, pair)}


@pytest.mark.parametrize(("method", "claim", "problem", "dim"), table(every=False))
def test_a_known_answer_is_found(method, claim, problem, dim):
    check(method, claim, problem, dim)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "claim", "problem", "dim"), table(every=True))
def test_every_known_answer_is_found(method, claim, problem, dim):
    check(method, claim, problem, dim)


def test_every_method_is_in_the_table():
    assert set(CLAIMS) | set(SEEING) >= set(METHODS) >= set(CLAIMS)
    for method, claim in CLAIMS.items():
        models = {f.name for f in available()[method].__dataclass_fields__.values()} & {"model", "transform"}
        assert not claim.option or claim.option in models


def faint(dim: int) -> Pair:
    """Two images of nothing but noise, each its own, with masks and landmarks that say nothing either."""
    grid = grid_around(dim, 5.0 if dim == 2 else 9.0)
    rng = np.random.default_rng(7)
    images = [
        Image((100 + rng.standard_normal(grid.shape)).astype(np.float32), grid, name=name)
        for name in ("fixed", "moving")
    ]
    points = [Points(rng.uniform(-40, 40, (12, dim))) for _ in images]
    return Pair(*images, None, None, *points)


@pytest.mark.parametrize("method", CLAIMS)
def test_what_shows_nothing_is_not_said_to_be_registered(method):
    pair = faint(3 if method == "keypoints3d" else 2)
    try:
        result = register(pair, method)
    except InputError:
        return
    assert result.verdict.level in ("suspicious", "failed")
    assert len(result.verdict.sentence) > 40
    assert all(np.isfinite(result.transform(pair.fixed.grid.corners)).ravel())


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ("landmarks:transform=rigid", 1),
        ("landmarks:transform=affine", 2),
        ("landmarks", 2),
        ("icp:source=points", 3),
        ("cpd:source=points", 3),
    ],
)
def test_too_few_points_are_refused_with_their_number(spec, number):
    points = np.arange(2.0 * number).reshape(number, 2) ** 1.5
    with pytest.raises(InputError, match=rf"\b{number}\b|too few"):
        parse(spec).solve(pair_of(2, identity(2), points))


def test_landmarks_on_one_line_settle_no_rotation():
    line = np.linspace(-30, 30, 8)[:, None] * np.array([1.0, 0.5, -0.2])
    with pytest.raises(PointsError, match=r"line|plane|settle"):
        parse("landmarks:transform=affine").solve(pair_of(3, identity(3), line))


@pytest.mark.parametrize("spec", ["icp", "cpd", "boundary"])
def test_a_speck_is_no_outline(spec):
    pair = masked_pair(2, identity(2))
    mask = torch.zeros(pair.fixed.grid.shape, dtype=torch.bool)
    mask[20, 20] = True
    with pytest.raises(InputError, match="fixed"):
        parse(spec).solve(replace(pair, fixed=pair.fixed.with_mask(mask)))


def test_too_few_regions_are_said_to_be_too_few():
    grid = Grid.from_spacing((80, 80), 1.0)
    x = grid.points()
    spots = [np.exp(-((x - place) ** 2).sum(-1) / 50).astype(np.float32) for place in ((30, 30), (50, 45))]
    solution = parse("regions").solve(Pair(*(Image(spots[0] + s, grid) for s in (0 * spots[1], spots[1]))))
    assert solution.status is Status.NO_INFORMATION
    assert "too few" in solution.decisions[-1]
