"""From labels to intensities: a random brightness for every tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.structures import LAST, TISSUES, tissue_numbers
from coincide.errors import OptionError
from coincide.ops._parallel import kernel


@dataclass(frozen=True)
class Contrast:
    """How bright tissues are; black is 0 and white is 1.

    Args:
        mean: range of a tissue's brightness.
        spread: mm-scale texture within a tissue, as a standard deviation: the largest.
        detail: how much of the texture that both pictures share shows, likewise; its sign is random for each tissue.
        structures: by how much structures of one tissue differ, likewise.
        background: the largest brightness of what holds nothing; half of the pictures have none.
    """

    mean: tuple[float, float] = (0.1, 1.0)
    spread: float = 0.06
    detail: float = 0.06
    structures: float = 0.04
    background: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.mean[0] <= self.mean[1]:
            raise OptionError(
                f"the brightness of tissues is {self.mean}, expected a range of positive numbers."
            )


def colours(rng: np.random.Generator, contrast: Contrast, last: int) -> np.ndarray:
    """Mean, texture and share of the common detail for every label up to `last`, `(3, last + 1)` float32."""
    tissue = np.concatenate(
        [tissue_numbers(), np.arange(len(TISSUES) + 1, max(last + 1 - LAST, 0) + len(TISSUES) + 1)]
    )
    kinds = tissue.max() + 1
    table = np.stack(
        [
            rng.uniform(*contrast.mean, kinds),
            rng.uniform(0, contrast.spread, kinds),
            rng.uniform(-contrast.detail, contrast.detail, kinds),
        ]
    )
    table[:, 0] = 0
    table[0, 0] = rng.uniform(0, contrast.background) * rng.integers(0, 2)
    # mirror images of a structure look alike: their labels are neighbours, the left one even
    own = rng.normal(0, 1, len(tissue) // 2 + 1).repeat(2)[: len(tissue)]
    out = table[:, tissue]
    out[0] += own * rng.uniform(0, contrast.structures) * (tissue > 0)
    return out.astype(np.float32)


def coloured(
    rng: np.random.Generator, contrast: Contrast, labels: np.ndarray, detail: np.ndarray
) -> np.ndarray:
    """A picture `(*shape)` float32 of `labels`, sharp and without artefacts."""
    table = colours(rng, contrast, int(labels.max()))
    width = rng.uniform(1, 3)
    texture = smooth_noise(rng, labels.shape, width)[0]
    out = np.empty(labels.shape, np.float32)
    _colour(labels.reshape(-1), detail.reshape(-1), texture.reshape(-1), table, out.reshape(-1))
    return out


@kernel
def _colour(labels, detail, texture, table, out):
    for p in range(len(out)):
        n = labels[p]
        out[p] = table[0, n] + table[1, n] * texture[p] + table[2, n] * detail[p]
