"""From labels to intensities: a brightness for every tissue, random, or like that of a known modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.structures import LAST, LATER, TISSUES, tissue_numbers
from coincide.errors import OptionError
from coincide.ops._parallel import kernel


@dataclass(frozen=True)
class Contrast:
    """How bright tissues are; black is 0 and white is 1.

    Args:
        mean: range of a tissue's brightness.
        known: share of the pictures whose tissues are about as bright as in T1, T2, FLAIR, proton density or CT.
        vary: standard deviation by which they differ from it.
        spread: texture within a tissue, as a standard deviation: the largest.
        detail: how much of the texture that both pictures share shows, likewise; its sign is random for each tissue.
        structures: by how much structures of one tissue differ, likewise.
        background: the largest brightness of what holds nothing; half of the pictures have none.
    """

    mean: tuple[float, float] = (0.1, 1.0)
    known: float = 0.3
    vary: float = 0.06
    spread: float = 0.06
    detail: float = 0.06
    structures: float = 0.04
    background: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.mean[0] <= self.mean[1]:
            raise OptionError(
                f"the brightness of tissues is {self.mean}, expected two numbers from 0 up, in order."
            )
        if not 0 <= self.known <= 1:
            raise OptionError(f"the share of known contrasts is {self.known}, expected 0 to 1.")
        for name in ("vary", "spread", "detail", "structures", "background"):
            if not 0 <= getattr(self, name) < np.inf:
                raise OptionError(f"{name} of the contrast is {getattr(self, name)}, expected 0 or more.")


KNOWN = {  # T1, T2, FLAIR, proton density, CT in a soft-tissue window
    "air": (0.0, 0.0, 0.0, 0.0, 0.0),
    "blood": (0.2, 0.1, 0.1, 0.3, 0.55),
    "bone": (0.08, 0.05, 0.05, 0.1, 1.0),
    "bowel": (0.4, 0.5, 0.5, 0.6, 0.45),
    "cartilage": (0.4, 0.3, 0.4, 0.7, 0.55),
    "deep grey": (0.58, 0.55, 0.65, 0.72, 0.47),
    "fat": (1.0, 0.75, 0.7, 0.9, 0.25),
    "fluid": (0.12, 1.0, 0.1, 0.9, 0.38),
    "gland": (0.55, 0.45, 0.5, 0.65, 0.48),
    "grey": (0.5, 0.62, 0.72, 0.8, 0.46),
    "kidney": (0.5, 0.6, 0.6, 0.7, 0.57),
    "lesion": (0.3, 0.9, 0.95, 0.8, 0.35),
    "liver": (0.62, 0.3, 0.4, 0.6, 0.58),
    "lung": (0.06, 0.05, 0.05, 0.1, 0.08),
    "marrow": (0.85, 0.5, 0.5, 0.7, 0.7),
    "medulla": (0.38, 0.75, 0.65, 0.7, 0.5),
    "muscle": (0.45, 0.2, 0.35, 0.5, 0.5),
    "necrosis": (0.18, 0.95, 0.5, 0.85, 0.36),
    "oedema": (0.5, 0.85, 0.95, 0.8, 0.38),
    "pallidum": (0.66, 0.38, 0.5, 0.6, 0.47),
    "rim": (0.45, 0.65, 0.75, 0.75, 0.5),
    "skin": (0.55, 0.45, 0.45, 0.6, 0.45),
    "soft": (0.45, 0.45, 0.5, 0.6, 0.45),
    "spleen": (0.4, 0.6, 0.6, 0.65, 0.55),
    "white": (0.75, 0.42, 0.55, 0.65, 0.42),
}
"""About how bright each tissue is in pictures that radiologists read."""
_ENHANCED = 1.0
"""About how bright the rim of a tumour is in T1 after contrast agent."""


def colours(rng: np.random.Generator, contrast: Contrast, last: int) -> np.ndarray:
    """Mean, texture and share of the common detail for every label up to `last`, `(3, last + 1)` float32."""
    further = np.arange(len(TISSUES) + 1, len(TISSUES) + 1 + max(last + 1 - LAST, 0))
    tissue = np.concatenate([tissue_numbers(), further])
    usual = len(TISSUES) - len(LATER)
    # the tissues of tumours have numbers of their own, and draws of their own: `usual` first, then what has no name
    kinds = usual + 1 + len(further)
    mean, modality = rng.uniform(*contrast.mean, kinds), -1
    if rng.random() < contrast.known:
        modality = int(rng.integers(len(KNOWN["air"])))
        mean[1 : usual + 1] = np.abs(
            _as_known(TISSUES[:usual], modality) + rng.normal(0, contrast.vary, usual)
        )
    spread = rng.uniform(0, contrast.spread, kinds)
    detail = rng.uniform(-contrast.detail, contrast.detail, kinds)
    table = np.stack([mean, spread, detail])
    table[:, 0] = rng.uniform(0, contrast.background) * rng.integers(0, 2), 0, 0
    # mirror images of a structure look alike: their labels are neighbours, the left one even
    own = rng.normal(0, 1, len(tissue) // 2 + 1).repeat(2)[: len(tissue)]
    share = rng.uniform(0, contrast.structures)
    late = _of_tumours(rng.spawn(1)[0], contrast, modality)
    out = np.concatenate([table[:, : usual + 1], late, table[:, usual + 1 :]], 1)[:, tissue]
    out[0] += own * share * (tissue > 0)
    return out.astype(np.float32)


def _of_tumours(rng: np.random.Generator, contrast: Contrast, modality: int) -> np.ndarray:
    """Mean, texture and detail of what tumours consist of, `(3, tissue)`; `modality` is below 0 where none is known."""
    number = len(LATER)
    mean = rng.uniform(*contrast.mean, number)
    if modality >= 0:
        usual = _as_known(LATER, modality)
        if modality == 0 and rng.random() < 0.5:
            usual[LATER.index("rim")] = _ENHANCED
        mean = np.abs(usual + rng.normal(0, contrast.vary, number))
    spread, detail = rng.uniform(0, contrast.spread, number), rng.uniform(-1, 1, number) * contrast.detail
    return np.stack([mean, spread, detail])


def _as_known(tissues: Sequence[str], modality: int) -> np.ndarray:
    return np.array([KNOWN[name][modality] for name in tissues])


def coloured(
    rng: np.random.Generator, contrast: Contrast, labels: np.ndarray, detail: np.ndarray
) -> np.ndarray:
    """A picture of `labels`, sharp and without artefacts, float32; `detail` and it are `(*shape)`."""
    table = colours(rng, contrast, int(labels.max()))
    texture = smooth_noise(rng, labels.shape, rng.uniform(1, 3))[0]
    out = np.empty(labels.shape, np.float32)
    _colour(labels.reshape(-1), detail.reshape(-1), texture.reshape(-1), table, out.reshape(-1))
    return out


@kernel
def _colour(labels, detail, texture, table, out):
    for p in range(len(out)):
        n = labels[p]
        out[p] = table[0, n] + table[1, n] * texture[p] + table[2, n] * detail[p]
