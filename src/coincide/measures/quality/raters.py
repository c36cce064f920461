"""How far people agree who rate the same images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from coincide.errors import InputError

Weights = Literal["none", "linear", "quadratic"]


def cohen_kappa(
    one: np.ndarray, other: np.ndarray, levels: np.ndarray, weights: Weights = "quadratic"
) -> float:
    """Agreement of two raters beyond chance: 1 always, 0 as by chance. Cohen 1968, doi:10.1037/h0026256.

    Args:
        one: `(subjects,)` scores of one rater.
        other: of the other.
        levels: all scores there are, in their order.
        weights: how much worse a larger disagreement is.

    Returns:
        NaN where both always gave one and the same score: chance alone would do as much.
    """
    place = {level: k for k, level in enumerate(np.asarray(levels).tolist())}
    n = len(place)
    joint = np.zeros((n, n))
    for a, b in zip(one.tolist(), other.tolist()):
        joint[place[a], place[b]] += 1
    joint /= joint.sum()
    apart = np.abs(np.arange(n)[:, None] - np.arange(n))
    cost = {
        "none": (apart > 0).astype(float),
        "linear": apart.astype(float),
        "quadratic": apart.astype(float) ** 2,
    }
    by_chance = float((cost[weights] * np.outer(joint.sum(1), joint.sum(0))).sum())
    return 1 - float((cost[weights] * joint).sum()) / by_chance if by_chance > 0 else float("nan")


def intraclass_correlation(scores: np.ndarray) -> dict[str, float]:
    """ICC(2,1) and ICC(2,k): absolute agreement of raters taken at random, of one and of their mean.

    Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420.

    Args:
        scores: `(subjects, raters)`, each rater having rated each subject.

    Raises:
        InputError: fewer than two subjects or raters.
    """
    n, k = scores.shape
    if n < 2 or k < 2:
        raise InputError(f"agreement needs two subjects and two raters at least, found {n} and {k}.")
    scores = scores.astype(np.float64)
    mean = scores.mean()
    rows = k * ((scores.mean(1) - mean) ** 2).sum() / (n - 1)
    columns = n * ((scores.mean(0) - mean) ** 2).sum() / (k - 1)
    left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + mean
    error = (left**2).sum() / ((n - 1) * (k - 1))
    single, several = rows + (k - 1) * error + k * (columns - error) / n, rows + (columns - error) / n
    return {
        "icc_2_1": float((rows - error) / single) if single > 0 else float("nan"),
        "icc_2_k": float((rows - error) / several) if several > 0 else float("nan"),
    }


def agreement(scores: dict[str, dict[str, int]], levels: range) -> dict[str, object]:
    """Kappa of each pair of raters over what both rated, and the intraclass correlation over what all did.

    Args:
        scores: by rater, then by image.
        levels: the scores that can be given.

    Returns:
        `raters`, `pairs` (`raters`, `images`, `kappa_quadratic`), `kappa_mean`, `images_rated_by_all`, and the ICCs
        where there is enough to tell.
    """
    names = sorted(scores)
    pairs = []
    for a, one in enumerate(names):
        for other in names[a + 1 :]:
            both = sorted(set(scores[one]) & set(scores[other]))
            if both:
                first, second = (np.array([scores[r][image] for image in both]) for r in (one, other))
                kappa = cohen_kappa(first, second, np.array(levels))
                pairs.append({"raters": [one, other], "images": len(both), "kappa_quadratic": kappa})
    common = sorted(set.intersection(*(set(s) for s in scores.values()))) if scores else []
    known = [p["kappa_quadratic"] for p in pairs if np.isfinite(p["kappa_quadratic"])]
    found: dict[str, object] = {"raters": names, "pairs": pairs, "images_rated_by_all": len(common)}
    if known:
        found["kappa_mean"] = float(np.mean(known))
    if len(names) >= 2 and len(common) >= 2:
        found |= intraclass_correlation(np.array([[scores[r][image] for r in names] for image in common]))
    return found
