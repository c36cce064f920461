"""Leave one brain out, label it by the others, and compare with the best single atlas.

python -m benchmarks.atlas FOLDER --target 1000 --shelf /tmp/shelf

FOLDER holds `NAME_t1.nii.gz` and `NAME_labels.nii.gz` for each person. Transforms are kept on the shelf, so that
another fusion takes seconds. `--picture FILE` instead draws a made-up case with the pages' own brushes.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np

from coincide.cohort.labelling import label
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_image
from coincide.measures.overlap import dice, present


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--target")
    parser.add_argument("--fusion", nargs="+", default=["majority", "local", "joint"])
    parser.add_argument("--shelf", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.picture:
        draw(options.picture)
        return
    measure(options.folder, options.target, options.fusion, options.shelf)


def measure(folder: Path, target: str, fusions: list[str], shelf: Path | None) -> None:
    """Mean Dice over the labels that every person has, of each atlas alone and of each fusion."""
    names = sorted(p.name.removesuffix("_t1.nii.gz") for p in folder.glob("*_t1.nii.gz"))
    files = {n: (folder / f"{n}_t1.nii.gz", folder / f"{n}_labels.nii.gz") for n in names}
    truth = read_image(files[target][1], kind="label").numpy()[0]
    shared = [present(read_image(files[n][1], kind="label").numpy()[0]) for n in names]
    common = sorted(set.intersection(*(set(s.tolist()) for s in shared)))
    others = [files[n] for n in names if n != target]

    def score(found) -> float:
        return float(np.mean(list(dice(truth, found.labels.numpy()[0], common).values())))

    alone = [score(label(files[target][0], [atlas], "auto", "majority", shelf=shelf)) for atlas in others]
    print(f"{target}: {len(common)} labels; each atlas alone", *(f"{a:.3f}" for a in alone))
    for fusion in fusions:
        begun = time.process_time()
        found = label(files[target][0], others, "auto", fusion, shelf=shelf)
        seconds = time.process_time() - begun
        gain = score(found) - max(alone)
        print(
            f"{fusion}: Dice {score(found):.3f}, {gain:+.3f} above the best atlas, {seconds:.0f} processor seconds"
        )


def draw(path: Path) -> None:
    """Write labels and confidence of a made-up organ, as the page of a labelling shows them."""
    from PIL import Image as Canvas

    from coincide.report.labelling import sheet_of

    grid = Grid.from_spacing((260, 220), 0.5, (-65.0, -55.0))
    rng = np.random.default_rng(3)
    atlases = [drawn(grid, rng.normal(scale=0.16, size=6), rng) for _ in range(5)]
    target, _ = drawn(grid, np.zeros(6), rng)
    shown = Canvas.open(io.BytesIO(sheet_of(label(target, atlases, "auto"), ("labels", "confidence"))))
    shown.resize([round(n * 1200 / shown.width) for n in shown.size], Canvas.Resampling.LANCZOS).save(path)


PARTS = (  # middle and radii, mm, and grey value: the organ, and four parts in it
    (0, 0, 46, 36, 0.45),
    (-16, 7, 14, 10, 0.85),
    (15, 9, 12, 15, 0.62),
    (2, -19, 20, 8, 0.25),
    (26, -9, 7, 6, 0.95),
)


def drawn(grid: Grid, habit: np.ndarray, rng) -> tuple[Image, Image]:
    """A person: an organ with four parts, whose shapes follow their habit, and its labels."""
    x, y = np.moveaxis(grid.points(), -1, 0)
    x, y = (
        x + 12 * habit[0] * np.sin(y / 16 + 8 * habit[1]),
        y + 12 * habit[2] * np.sin(x / 14 + 8 * habit[3]),
    )
    values, labels = np.zeros(grid.shape), np.zeros(grid.shape, np.int16)
    for name, (cx, cy, rx, ry, grey) in enumerate(PARTS, start=1):
        wide, high = rx * (1 + 0.4 * habit[4]), ry * (1 + 0.4 * habit[5])
        inside = ((x - cx) / wide) ** 2 + ((y - cy) / high) ** 2 < 1
        values[inside] = grey
        # whoever drew the labels had a hand of their own
        hand = (
            1
            + 0.05 * rng.standard_normal()
            + 0.04 * np.sin(3 * np.arctan2(y - cy, x - cx) + rng.uniform(0, 6))
        )
        labels[((x - cx) / (wide * hand)) ** 2 + ((y - cy) / (high * hand)) ** 2 < 1] = name
    grain = np.sin(x / 2.3 + 2 * np.sin(y / 7)) * np.sin(y / 2.9 + np.sin(x / 5))
    values = values + 0.08 * grain * (values > 0) + 0.02 * rng.standard_normal(grid.shape)
    return Image(values.astype(np.float32), grid), Image(labels, grid, "label")


if __name__ == "__main__":
    main()
