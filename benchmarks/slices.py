"""Thin slices from thick ones: volumes and pictures thickened by averaging, and what brings the thin slices back.

python -m benchmarks.slices [--data ../shared/data] [--factors 3 4]

Each image is cut to a box round its middle, its last axis is thickened by averaging, and the thin slices are put back
by linear interpolation, by cubic B-splines, by `thin:strength=0` and by `thin`. One row for each image and factor: dB
of PSNR, and SSIM, for the range of the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.cases import DEFAULT_CASES
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_image
from coincide.measures.quality.reference import compared
from coincide.preprocess.pipeline import parse

SIDE = 96
"""Voxels of the box that is cut out of a volume, along each axis; of a picture four times as many."""
IMAGES = {
    "brain, T1": ("brain/1036_t1.nii.gz",),
    "head with a tumour, FLAIR": ("tumour/met00110_t2f.nii.gz",),
    "head with a tumour, T1 with contrast": ("tumour/met00110_t1c.nii.gz",),
    "head after a stroke, T1": ("multimodal/mm_stroke_t1_fixed.nii.gz",),
    "lungs, proton MR": ("lung_mr/0004_h1.nii.gz",),
    "head, PET template": ("multimodal/mm_spm_t1_pet_moving.nii.gz",),
    "head, CT, 3 pictures": tuple(f"dicom/ge_head/{n:02d}.dcm" for n in (8, 14, 20)),
    "liver, MR, 3 pictures": ("liver/26_exh.nii.gz:8", "liver/26_exh.nii.gz:15", "liver/26_exh.nii.gz:22"),
}


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_CASES.parent)
    parser.add_argument("--factors", nargs="+", type=int, default=[3, 4])
    parser.add_argument("--images", nargs="+", default=list(IMAGES))
    options = parser.parse_args()
    for name in options.images:
        truths = [opened(options.data, entry) for entry in IMAGES[name]]
        for factor in options.factors:
            rows = [scores(truth, factor) for truth in truths]
            shown = (f"{psnr:.2f}, {ssim:.3f}" for psnr, ssim in np.mean(rows, axis=0))
            print(f"| {name} | {factor} | {' | '.join(shown)} |", flush=True)


def opened(folder: Path, entry: str) -> Image:
    """A box round the middle of what an image shows; `PATH:K` is slice K of a volume, as a picture."""
    path, _, number = entry.partition(":")
    image = read_image(folder / path)
    values = image.numpy()[0].astype(np.float32)
    if number or min(values.shape) == 1:
        values = values[..., int(number or 0)]
    side = SIDE if values.ndim == 3 else 4 * SIDE
    middle = np.argwhere(values > np.percentile(values, 50)).mean(0)
    start = np.clip(np.round(middle - side / 2), 0, np.maximum(np.array(values.shape) - side, 0)).astype(int)
    box = values[tuple(slice(s, s + side) for s in start)]
    return Image(box.copy(), Grid.from_spacing(box.shape, 1.0), name=path)


def scores(truth: Image, factor: int) -> np.ndarray:
    """PSNR and SSIM of each way to put back what was averaged along the last axis, `(4, 2)`."""
    shape = truth.grid.shape
    even = truth.grid.cropped([0] * len(shape), [*shape[:-1], shape[-1] // factor * factor])
    truth = Image(truth.data[..., : even.shape[-1]].contiguous(), even, name=truth.name)
    given = thickened(truth, factor)
    steps = [
        "resample:spacing=1",
        "resample:spacing=1,interpolation=cubic",
        f"thin:factor={factor},strength=0",
        f"thin:factor={factor}",
    ]
    found = [compared(Image(parse(s)(given).image.data, even), truth) for s in steps]
    return np.array([(f["psnr_db"], f["ssim"]) for f in found])


def thickened(image: Image, factor: int) -> Image:
    """Slices along the last axis averaged, `factor` to each thick one; what is left over at the end is cut off."""
    data = image.data[..., : image.grid.shape[-1] // factor * factor]
    thick = data.to(torch.float32).reshape(*data.shape[:-1], -1, factor).mean(-1)
    affine = image.grid.affine.copy()
    affine[:-1, -2] *= factor
    affine[:-1, -1] += image.grid.affine[:-1, -2] * (factor - 1) / 2
    return Image(thick, Grid(tuple(thick.shape[1:]), affine), name=image.name)


if __name__ == "__main__":
    main()
