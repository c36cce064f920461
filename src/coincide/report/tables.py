"""The numbers of a registration in words and rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincide.measures.distance import target_registration_error
from coincide.registration import Registration


@dataclass(frozen=True)
class Row:
    """One measure.

    Args:
        name: what it is called.
        hint: what it means, and which way is good.
        before: at the start, ready to print, or empty where it has no meaning there.
        after: in the end, ready to print.
        better: whether it got better; None where that cannot be said.
    """

    name: str
    hint: str
    before: str
    after: str
    better: bool | None = None


@dataclass(frozen=True)
class Card:
    """One of the few numbers to see first; fields as in `Row`."""

    name: str
    before: str
    after: str
    hint: str


def number(value: float | None, unit: str = "") -> str:
    """A number as people write it: three digits that matter, with its unit; a dash for None."""
    if value is None or not np.isfinite(value):
        return "–"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 and unit else 3
    if unit and 0 < size < 1e-3:
        return f"< 0.001 {unit}"
    if size != 0 and (size >= 1e6 or size < 5e-4):
        text = f"{value:.2e}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}f}"
        text = "0" if float(text) == 0 else text
    text = text.replace("-", "−")
    return f"{text} {unit}" if unit else text


def sections(registration: Registration) -> list[tuple[str, list[Row]]]:
    """All measures but those of single labels and landmarks, by theme."""
    measures = registration.measures
    where = (
        "inside the fixed mask" if registration.pair.fixed.mask is not None else "where the images overlap"
    )
    found = [
        ("Landmarks", _landmarks(measures.get("points"))),
        ("Labels", _labels(measures.get("labels"))),
        ("Stated uncertainty", _uncertainty(measures.get("uncertainty"))),
        (f"Likeness {where}", _likeness(measures.get("before"), measures.get("after"))),
        ("Regularity of the transform", _field(measures.get("field"))),
        ("Transform and inverse undo each other", _inverse(measures.get("inverse"))),
    ]
    return [(title, rows) for title, rows in found if rows]


def cards(registration: Registration) -> list[Card]:
    """The numbers to see first, the strongest evidence at the front."""
    measures, found = registration.measures, []
    if points := measures.get("points"):
        before, after = (number(points[w]["tre_mean_mm"], "mm") for w in ("before", "after"))
        hint = "mean distance of partners (TRE)"
        found.append(Card("Landmark error", before.removesuffix(" mm"), after, hint))
    if labels := measures.get("labels"):
        before = number(labels.get("dice_before_mean")) if "dice_before_mean" in labels else ""
        hint = f"mean Dice over {len(labels.get('per_label', ()))} labels"
        found.append(Card("Overlap of labels", before, number(labels["dice_mean"]), hint))
    before, after = measures.get("before", {}), measures.get("after", {})
    key, words = (
        ("ncc", "correlation (NCC)")
        if _of_one_kind(before, after)
        else ("nmi", "mutual information (NMI), 1 to 2")
    )
    if after.get(key) is not None:
        found.append(Card("Likeness", number(before.get(key)), number(after[key]), words))
    if field := measures.get("field"):
        hint = f"smallest Jacobian {number(field['min_jacobian'])}"
        found.append(Card("Folded voxels", "", number(field["folding_any_percent"], "%"), hint))
    if inverse := measures.get("inverse"):
        hint = f"99.9 % within {number(inverse.get('p999_mm'))} mm"
        found.append(Card("Inverse residual", "", number(inverse.get("mean_mm"), "mm"), hint))
    if took := _took(registration.provenance):
        found.append(took)
    return found


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _took(provenance: dict) -> Card | None:
    seconds = provenance.get("seconds", {})
    if "solve" not in seconds:
        return None
    memory = provenance.get("peak_memory_bytes")
    hint = f"and {memory / 1e9:.1f} GB of memory at most" if memory else "to find the transform"
    return Card("Time", "", duration(seconds["solve"]), hint)


def label_rows(registration: Registration) -> list[dict]:
    """Each label's scores, the worst first; `share` is its Dice in percent, for a bar."""
    per_label = registration.measures.get("labels", {}).get("per_label", {})
    worst_first = sorted(per_label.items(), key=lambda item: item[1]["dice"])
    return [
        {
            "label": label,
            "share": round(100 * row["dice"], 1),
            "before": number(row.get("dice_before")),
            "dice": number(row["dice"]),
            "hd95": number(row.get("hd95_mm")),
            "assd": number(row.get("assd_mm")),
        }
        for label, row in worst_first
    ]


def landmark_rows(registration: Registration) -> list[dict]:
    """Each landmark's residual in mm before and after, the worst first."""
    landmarks = registration.pair.landmarks
    if landmarks is None:
        return []
    before = target_registration_error(*landmarks)
    after = target_registration_error(*landmarks, registration.transform)
    names = landmarks[0].names
    return [
        {"name": names[i], "before": number(float(before[i])), "after": number(float(after[i]))}
        for i in np.argsort(-after)
    ]


def evidence(registration: Registration) -> list[tuple[str, str, str]]:
    """What the verdict looked at: name, value, and the threshold of that name where there is one."""
    verdict = registration.verdict
    return [
        (
            name.replace("_", " "),
            number(value),
            number(verdict.thresholds[name]) if name in verdict.thresholds else "",
        )
        for name, value in verdict.evidence.items()
    ]


_LIKENESS = (
    ("ncc", "NCC", "correlation, −1 to 1; says little where the images are of different kinds", 1),
    ("nmi", "NMI", "normalised mutual information, 1 to 2; larger is more alike", 1),
    ("ssim", "SSIM", "structural similarity, at most 1", 1),
    ("mae", "MAE", "mean absolute difference, in the images' own units", -1),
    ("mse", "MSE", "mean squared difference", -1),
    ("overlap_percent", "Covered", "share of the fixed voxels that count which the moving image covers", 0),
)


def _of_one_kind(before: dict, after: dict) -> bool:
    """Whether the images correlate well enough for their differences to tell better from worse."""
    return max(before.get("ncc") or 0, after.get("ncc") or 0) > 0.7


def _likeness(before: dict | None, after: dict | None) -> list[Row]:
    if not after:
        return []
    before, rows = before or {}, []
    comparable = _of_one_kind(before, after)
    for key, name, hint, sense in _LIKENESS:
        if key in after:
            unit = "%" if key.endswith("percent") else ""
            judged = sense if comparable or key == "nmi" else 0
            rows.append(_compared(name, hint, (before.get(key), after[key]), unit, judged))
    return rows


def _labels(labels: dict | None) -> list[Row]:
    if not labels:
        return []
    return [
        _compared(
            "Dice, mean", "overlap, 0 to 1", (labels.get("dice_before_mean"), labels["dice_mean"]), "", 1
        ),
        Row("HD95, mean", "95 % of the surfaces lie within", "", number(labels["hd95_mean_mm"], "mm")),
        Row("ASSD, mean", "mean distance of the surfaces", "", number(labels["assd_mean_mm"], "mm")),
    ]


def _landmarks(points: dict | None) -> list[Row]:
    if not points:
        return []
    before, after = points["before"], points["after"]
    names = (
        ("tre_mean_mm", "mean"),
        ("tre_median_mm", "median"),
        ("tre_p90_mm", "90 %"),
        ("tre_max_mm", "largest"),
    )
    return [
        _compared(f"TRE, {word}", "distance of partners", (before.get(key), after[key]), "mm", -1)
        for key, word in names
        if key in after
    ]


def _field(field: dict | None) -> list[Row]:
    if not field:
        return []
    folds = "share of voxels with det J ≤ 0, "
    names = (
        (
            "folding_any_percent",
            "Folding, any differences",
            folds + "by any one-sided or central differences",
            "%",
        ),
        ("folding_forward_percent", "Folding, forward", folds + "by forward differences", "%"),
        (
            "folding_central_percent",
            "Folding, central",
            folds + "by central differences (these can hide folds)",
            "%",
        ),
        ("min_jacobian", "Smallest Jacobian", "1 keeps volumes, 0 or less folds", ""),
        ("sd_log_jacobian", "SD of log Jacobian", "how unevenly volumes change; smaller is smoother", ""),
        ("max_displacement_mm", "Largest displacement", "linear part included", "mm"),
    )
    return [Row(name, hint, "", number(field[key], unit)) for key, name, hint, unit in names if key in field]


def _inverse(inverse: dict | None) -> list[Row]:
    if not inverse:
        return []
    names = (("mean", "Residual, mean"), ("p999", "Residual, 99.9 %"), ("max", "Residual, largest"))
    return [
        Row(
            name,
            "the worse of fixed → moving → fixed and back",
            "",
            f"{number(inverse[f'{key}_mm'], 'mm')} · {number(inverse[f'{key}_voxels'], 'voxel')}",
        )
        for key, name in names
        if f"{key}_mm" in inverse
    ]


def _uncertainty(stated: dict | None) -> list[Row]:
    if not stated:
        return []
    hint = "one standard deviation of where a point goes; large where the images show nothing"
    names = (("mean_mm", "mean"), ("median_mm", "median"), ("p95_mm", "95 %"), ("max_mm", "largest"))
    rows = [Row(f"Uncertainty, {word}", hint, "", number(stated[key], "mm")) for key, word in names]
    if (within := stated.get("landmarks_within_percent")) is not None:
        hint = "landmark errors inside the stated 95 % interval; far below 95, the result is surer than it should be"
        rows.append(Row("Landmarks within", hint, "", number(within, "%")))
    return rows


def _compared(name: str, hint: str, values: tuple[float | None, float | None], unit: str, sense: int) -> Row:
    """A row of a value before and after; `sense` is 1 where more is better, −1 where less is, else 0."""
    before, after = values
    better = None
    if before is not None and after is not None and sense and before != after:
        better = (after - before) * sense > 0
    return Row(name, hint, number(before, unit) if before is not None else "", number(after, unit), better)
