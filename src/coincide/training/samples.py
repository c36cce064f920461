"""Pictures of what a network makes of a pair kept back, as training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pil
from torch import Tensor

from coincide.data.synthesis.sheet import slices
from coincide.io.atomic import whole_file


def write_sample(folder: Path, step: int, item: Mapping[str, Tensor], task: Any, network: Any) -> np.ndarray:
    """Write `folder/sample_N.png`: the fixed image, the moving one, and the moving one as the network lays it.

    Args:
        folder: of the run.
        step: that the network is of.
        item: a pair.
        task: what the network learns from; it knows how to lay a moving image.
        network: to ask.

    Returns:
        The picture, `(height, width)` uint8.

    Raises:
        OutputError: it cannot be written.
    """
    images = [item["fixed"], item["moving"], task.warped(network, item)]
    parts = [slices(_grey(image[0].cpu().numpy()), network.dim) for image in images]
    picture = np.ascontiguousarray(np.concatenate([np.pad(part, 2, constant_values=64) for part in parts]))
    with whole_file(folder / f"sample_{step:06d}.png") as scratch:
        pil.fromarray(picture).save(scratch)
    return picture


def _grey(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (0.5, 99.5))
    return (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
