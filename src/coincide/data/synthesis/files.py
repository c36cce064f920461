"""Synthetic pairs as a data set on disk."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from coincide.data.synthesis.draw import draw
from coincide.data.synthesis.recipe import Synthesis
from coincide.io import whole_file, whole_folder, write_image, write_points, write_transform

TABLE = "pairs.csv"
_COLUMNS = (
    *("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask"),
    *("fixed_points", "moving_points", "truth", "subject"),
)


def write_examples(recipe: Synthesis, seeds: Sequence[int], folder: str | Path) -> Path:
    """Draw the pairs of `seeds` into `folder`: images, labels, masks, points, truths, and a table of them.

    Returns:
        The table, which `read_data_set` reads. Each pair counts as a subject of its own.

    Raises:
        OutputError: the folder cannot be written to.
    """
    folder = Path(folder)
    with whole_folder(folder) as scratch:
        rows = [_written(recipe, seed, scratch) for seed in seeds]
        with whole_file(scratch / TABLE) as path, path.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    return folder / TABLE


def _written(recipe: Synthesis, seed: int, folder: Path) -> dict[str, str]:
    example = draw(recipe, seed)
    row = {"subject": f"{example.anatomy}-{seed}", "truth": f"{seed}_truth.h5"}
    write_transform(example.truth, folder / row["truth"])
    for side in ("fixed", "moving"):
        image = getattr(example.pair, side)
        labels, points = (getattr(example.pair, f"{side}_{what}") for what in ("labels", "points"))
        row[side], row[f"{side}_labels"] = f"{seed}_{side}.nii.gz", f"{seed}_{side}_labels.nii.gz"
        write_image(image, folder / row[side])
        write_image(labels, folder / row[f"{side}_labels"])
        if image.mask is not None:
            row[f"{side}_mask"] = f"{seed}_{side}_mask.nii.gz"
            mask = image.with_data(image.mask[None].float(), mask=None)
            write_image(mask, folder / row[f"{side}_mask"], like_dtype="uint8")
        if points is not None:
            row[f"{side}_points"] = f"{seed}_{side}_points.csv"
            write_points(points, folder / row[f"{side}_points"])
    return row
