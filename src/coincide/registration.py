"""The one verb, below the floor of files: images in, a `Registration` out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from coincide.image import Image
from coincide.methods.base import Step
from coincide.pair import Pair
from coincide.points import Points
from coincide.transforms.base import Transform


@dataclass(frozen=True)
class Verdict:
    """Whether to trust a result.

    Args:
        level: `"converged"`, `"suspicious"` or `"failed"`.
        sentence: what a person should know and do, one or two sentences.
        reasons: each sign that spoke against the result, a sentence each; empty when converged.
        evidence: the numbers that were looked at.
        thresholds: what they were held against.
    """

    level: Literal["converged", "suspicious", "failed"]
    sentence: str
    reasons: tuple[str, ...]
    evidence: dict[str, float]
    thresholds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Registration:
    """What `register()` returns.

    Args:
        pair: what was registered.
        transform: fixed-world mm → moving-world mm. Resamples the moving image; carries points fixed → moving.
        inverse: moving-world mm → fixed-world mm. Carries points moving → fixed.
        warped: the moving image on the fixed grid, resampled once through the whole transform.
        labels: the moving labels on the fixed grid, with the smooth label interpolation, or None.
        points: the fixed landmarks carried into the moving world, or None.
        measures: nested dictionary of numbers: `before` and `after` (`mse`, `mae`, `ncc`, `nmi`, `ssim`),
            `field` (`folding_forward_percent`, `folding_central_percent`, `folding_any_percent`, `min_jacobian`,
            `sd_log_jacobian`, `max_displacement_mm`), `inverse` (`mean_mm`, `p999_mm`, `max_mm`, and the same in
            voxels), `labels` (`dice_mean`, `hd95_mean_mm`, `assd_mean_mm`, `per_label`), `points` (`before`,
            `after`, each with `tre_mean_mm`, `tre_median_mm`, `tre_p90_mm`). Sections without data are absent.
        verdict: whether to trust it.
        trace: the recorded iterations.
        decisions: what `auto` and the method decided, and why.
        provenance: versions, resolved settings, geometry of the inputs, seed, threads, timings, peak memory.
    """

    pair: Pair
    transform: Transform
    inverse: Transform
    warped: Image
    labels: Image | None
    points: Points | None
    measures: dict[str, Any]
    verdict: Verdict
    trace: tuple[Step, ...]
    decisions: tuple[str, ...]
    provenance: dict[str, Any]
