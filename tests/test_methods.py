"""Every method with every similarity finds a known motion, however the images are laid out."""

import itertools
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from coincide.errors import OptionError
from coincide.methods import METHODS, Status, available, parse
from coincide.similarity import SIMILARITIES
from coincide.transforms import Affine, rotation_matrix
from phantom import (
    axis_codes,
    code_name,
    direction_of,
    error_mm,
    grid_around,
    inverted_contrast,
    known,
    known_affine,
    known_pair,
    other_contrast,
)

SPACING = {2: 2.0, 3: 4.5}
RIGID_LIMIT, SCALE_LIMIT, FIELD_LIMIT = 0.1, 0.11, 0.13
"""Mean error in voxels. The freer a transform, the more it follows noise and interpolation."""
NGF_LIMITS = 0.2, 0.5
"""As it states: of a linear transform, and of a field."""
# the contrast each similarity claims not to mind; auto chooses one of the two by itself
ACROSS = {
    "nmi": other_contrast,
    "mattes": other_contrast,
    "cr": other_contrast,
    "mind": inverted_contrast,
    "ngf": inverted_contrast,
    "auto": inverted_contrast,
}
USUAL = ("mse", "ncc", "lncc", "nmi", "mind")
"""Similarities that every run of the tests tries with every method; the others with two, and the slow run with all."""
# methods that need more than this soft head shows, or more than images, and the file that tries them
ELSEWHERE = {
    "test_boundary.py": ("boundary",),
    "test_cpd.py": ("cpd",),
    "test_icp.py": ("icp",),
    "test_intensity_methods.py": ("blocks", "bspline", "demons", "least_squares", "phase"),
    "test_learned.py": ("keypoints",),
    "test_landmarks.py": ("landmarks",),
    "test_map.py": ("map",),
    "test_pyramid.py": ("hybrid", "pyramid"),
    "test_recurrent.py": ("recurrent",),
    "test_regressor.py": ("regressor",),
    "test_adversarial.py": ("translate",),
    "test_regions.py": ("regions",),
    "test_features_methods.py": ("akaze", "harris", "keypoints3d", "orb", "sift", "surf"),
}


def variants() -> list[str]:
    """SPECs of every method with every similarity, and every kind of transform it can be asked for."""
    found = []
    elsewhere = {name for names in ELSEWHERE.values() for name in names}
    for name, method in available().items():
        if name in elsewhere:
            continue
        options = {f.name for f in fields(method)}
        kinds = [
            f"{o}={v}"
            for o in ("transform", "model")
            for v in ("rigid", "similarity", "affine")
            if o in options
        ]
        kinds += ["transform=deformable"] if "transform" in options else []
        for kind, similarity in itertools.product(kinds or [""], ["", *SIMILARITIES]):
            parts = [kind, f"similarity={similarity}" if similarity else ""]
            spec = f"{name}:{','.join(p for p in parts if p)}".rstrip(":")
            if claimed(spec):
                found.append(spec)
    return found


def claimed(spec: str) -> bool:
    """Whether the method takes the similarity at all."""
    try:
        parse(spec)
    except OptionError:
        return False
    return True


SPECS = variants()


def is_quick(spec: str) -> bool:
    """Whether every run of the tests tries it."""
    named = spec.partition("similarity=")[2]
    return named in ("", *USUAL) or spec.startswith(("linear:model=rigid", "deformable:"))


QUICK = [spec for spec in SPECS if is_quick(spec)]


def contrast_of(spec: str):
    """The change of contrast that the SPEC claims not to mind, or None."""
    named = spec.partition("similarity=")[2]
    return ACROSS.get(named or spec.partition(":")[0])


def layouts(dim: int) -> dict:
    """Fixed and moving grid by a name: all axis codes on either side, oblique, anisotropic."""
    spacing, codes = SPACING[dim], axis_codes(dim)
    found = {}
    for number, code in enumerate(codes):
        other = codes[(number * 7 + 5) % len(codes)]
        fixed = grid_around(dim, spacing, direction_of(code))
        found[f"{code_name(code)}-{code_name(other)}"] = (
            fixed,
            grid_around(dim, 1.05 * spacing, direction_of(other)),
        )
    turn = rotation_matrix((12, -25, 33)) if dim == 3 else rotation_matrix(33)
    long = np.array((0.75, 1.0, 1.4))[:dim] * spacing
    found["oblique"] = grid_around(dim, spacing, turn), grid_around(dim, spacing, turn.T)
    found["anisotropic"] = grid_around(dim, long), grid_around(dim, long[::-1])
    found["oblique-anisotropic"] = grid_around(dim, long, turn), grid_around(dim, 1.05 * spacing)
    return found


LAYOUTS = {dim: layouts(dim) for dim in (2, 3)}
SAMPLE = {2: ["RA-AL", "AR-PL", "oblique-anisotropic"], 3: ["oblique", "anisotropic", "oblique-anisotropic"]}
SAMPLE[2] = [n for n in LAYOUTS[2] if n in SAMPLE[2]] + list(LAYOUTS[2])[3:6]
SAMPLE[3] += list(LAYOUTS[3])[5:48:11]


def check_known(spec: str, dim: int, layout: str, contrast=None) -> None:
    """The SPEC recovers the known motion, mean over the anatomy."""
    fixed, moving = LAYOUTS[dim][layout]
    truth = known(dim)
    solution = parse(spec).solve(known_pair(fixed, moving, truth, contrast))
    assert solution.status is Status.SUCCEEDED
    linear = isinstance(solution.transform, Affine)
    limit = RIGID_LIMIT if "=rigid" in spec else SCALE_LIMIT if linear else FIELD_LIMIT
    if "ngf" in spec:
        limit = NGF_LIMITS[not linear]
    assert error_mm(solution.transform, truth, fixed) < limit * voxel_of(fixed)
    # the inverse that came along goes back
    back = solution.inverse if solution.inverse is not None else solution.transform.inverse()
    assert error_mm(back @ solution.transform, truth.inverse() @ truth, fixed) < 0.1 * voxel_of(fixed)


def voxel_of(grid) -> float:
    """Mean size of a voxel, mm."""
    return float(np.prod(grid.spacing) ** (1 / grid.dim))


def spread(dim: int) -> list:
    """Every quick SPEC once, each on another layout of the sample."""
    return [
        pytest.param(spec, SAMPLE[dim][n % len(SAMPLE[dim])], id=f"{spec}-{n}")
        for n, spec in enumerate(QUICK)
    ]


@pytest.mark.parametrize(("spec", "layout"), spread(3))
def test_a_known_motion_is_recovered(spec, layout):
    check_known(spec, 3, layout)


@pytest.mark.parametrize(("spec", "layout"), spread(2))
def test_a_known_motion_is_recovered_in_a_picture(spec, layout):
    check_known(spec, 2, layout)


@pytest.mark.parametrize(("spec", "layout"), [p for p in spread(3) if contrast_of(p.values[0])])
def test_a_known_motion_is_recovered_across_contrasts(spec, layout):
    check_known(spec, 3, layout, contrast_of(spec))


@pytest.mark.parametrize(("spec", "layout"), [p for p in spread(2) if contrast_of(p.values[0])])
def test_a_known_motion_is_recovered_across_contrasts_in_a_picture(spec, layout):
    check_known(spec, 2, layout, contrast_of(spec))


@pytest.mark.parametrize("layout", SAMPLE[3])
def test_default_rigid_does_not_mind_the_layout(layout):
    check_known("auto:transform=rigid", 3, layout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS[3])
@pytest.mark.parametrize("spec", SPECS)
def test_a_known_motion_is_recovered_in_every_layout(spec, layout):
    check_known(spec, 3, layout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS[2])
@pytest.mark.parametrize("spec", SPECS)
def test_a_known_motion_is_recovered_in_every_layout_of_a_picture(spec, layout):
    check_known(spec, 2, layout)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("similarity", [s for s in SIMILARITIES if claimed(f"linear:similarity={s}")])
def test_a_known_stretch_and_shear_is_recovered(similarity, dim):
    fixed, moving = LAYOUTS[dim]["oblique-anisotropic"]
    solution = parse(f"linear:model=affine,similarity={similarity}").solve(
        known_pair(fixed, moving, known_affine(dim))
    )
    limit = NGF_LIMITS[0] if similarity == "ngf" else 0.15
    assert error_mm(solution.transform, known_affine(dim), fixed) / voxel_of(fixed) < limit


@pytest.mark.parametrize("dim", [2, 3])
def test_a_known_scale_is_recovered(dim):
    fixed, moving = LAYOUTS[dim]["anisotropic"]
    truth = known(dim, scale=1.15)
    solution = parse("linear:model=similarity").solve(known_pair(fixed, moving, truth))
    assert error_mm(solution.transform, truth, fixed) / voxel_of(fixed) < 0.1
    part = solution.transform.matrix[:-1, :-1]
    np.testing.assert_allclose(part @ part.T, np.eye(dim) * np.linalg.det(part) ** (2 / dim), atol=1e-6)


def test_every_exported_method_is_tried():
    tried = {spec.partition(":")[0] for spec in SPECS}
    for file, names in ELSEWHERE.items():
        text = Path(__file__).with_name(file).read_text(encoding="utf-8")
        tried |= {name for name in names if f'"{name}' in text}
    assert tried == set(METHODS)
    assert len(LAYOUTS[3]) == 48 + 3
    assert len(LAYOUTS[2]) == 8 + 3
