"""A folded ribbon of grey matter around white matter: the cerebrum, and with finer folds the cerebellum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.data.synthesis import _paint_kernels as kernels
from coincide.data.synthesis.canvas import Canvas, Capsule
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.structures import STRUCTURES


@dataclass(frozen=True, eq=False)
class Folded:
    """How something is folded.

    The furrows are where a random field is zero; the field hardly changes along rays from the centre, so they run
    inwards from the surface. Around the surface and the furrows lies the ribbon.

    Args:
        outside: what fills the furrows.
        ribbon: the paired structure that covers them.
        core: the paired structure inside.
        width: mm, of a fold along each axis.
        sulcus: mm, depth of a furrow.
        gap: mm, half its width.
        thickness: mm, of the ribbon.
        radial: how straight inwards the furrows run, 0 to 1.
        fissure: mm, half the width of the cleft between left and right; none where 0.
        floor: mm, z below which there is no such cleft.
    """

    outside: str
    ribbon: str
    core: str
    width: tuple[float, float, float]
    sulcus: float
    gap: float
    thickness: float
    radial: float = 0.85
    fissure: float = 0.0
    floor: float = 0.0

    @property
    def names(self) -> np.ndarray:
        """Labels: outside, ribbon left and right, core left and right."""
        pairs = [f"{side} {part}" for part in (self.ribbon, self.core) for side in ("left", "right")]
        return np.array([STRUCTURES[name].label for name in (self.outside, *pairs)], np.int16)


def fold(canvas: Canvas, depth: np.ndarray, folded: Folded, clefts: list[Capsule]) -> None:
    """Paint the folded ribbon and its core wherever `depth` (mm, `(*shape)`) is positive.

    Args:
        canvas: to paint on.
        depth: below the smooth hull of what is folded.
        folded: how.
        clefts: further furrows at known places.
    """
    inside = np.argwhere(depth > 0)
    if len(inside) == 0:
        return
    low, high = canvas.grid.world(inside.min(0)), canvas.grid.world(inside.max(0))
    centre, reach = (low + high) / 2, float(np.max(high - low)) / 2
    step = max(min(folded.width) / 3, float(canvas.grid.spacing.min()))
    # the rays end on a sphere around all of it, whatever part of it the canvas shows
    counts = tuple(int(2.4 * reach / step) + 2 for _ in range(3))
    pattern = smooth_noise(canvas.rng, counts, np.asarray(folded.width) / step)[0]
    size = np.array(
        [
            folded.radial,
            folded.sulcus,
            folded.gap,
            folded.thickness,
            folded.fissure,
            folded.floor,
            *centre,
            reach,
        ]
    )
    kernels.paint_folded(
        canvas.labels,
        depth,
        canvas.grid.origin,
        canvas.grid.spacing,
        canvas.noise,
        pattern,
        centre - 1.2 * reach,
        step,
        np.stack([c.row() for c in clefts]) if clefts else np.zeros((0, 8)),
        size,
        folded.names,
    )
