"""What a network that deforms is to make small on images whose true transform nobody knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from coincide.errors import OptionError, unknown
from coincide.networks.flow import strain, warped
from coincide.options import build
from coincide.regularity.penalties import bending, folding, inverse_consistency
from coincide.similarity import SIMILARITIES, CrossEntropy, Dice, Similarity

PENALTIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "diffusion": lambda there, back: (strain(there) + strain(back)) / 2,
    "bending": lambda there, back: (bending(there) + bending(back)) / 2,
    "folding": lambda there, back: (folding(there) + folding(back)) / 2,
    "inverse": inverse_consistency,
}
"""What a deformation is charged for, by name."""
LABELS: dict[str, Similarity] = {"dice": Dice(), "cross_entropy": CrossEntropy()}
"""How labels are compared, by name."""
TRUTH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss}
"""How a field is compared with the true one, both in voxels, by name."""
_LABELS_A_STEP = 12
"""Labels that one pair is compared by in one step, drawn anew for each."""


class Fields(NamedTuple):
    """What a network answers for a batch, `(batch, dim, *shape)` displacements in voxels of the images.

    Args:
        there: from the fixed image's places to the moving one's.
        back: the other way.
        weight: `(batch,)` how much smoothness was asked for.
    """

    there: Tensor
    back: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Objective:
    """How much each loss counts. Pairs without labels, or whose truth is unknown, are charged for the rest alone.

    Args:
        images: by the SPEC of a similarity (`"lncc:radius=3"`), any of them.
        labels: `dice` and `cross_entropy` of the labels that both images have.
        truth: `mse` and `mae` of the field, in voxels, where the data set knows the true transform.
        penalties: `diffusion`, `bending`, `folding` and `inverse`, of the field there and the one back; `diffusion`
            and `bending` times the smoothness that the network was asked for.

    Raises:
        OptionError: an unknown loss, a weight below 0, or nothing that would tell one answer from another.
    """

    images: dict[str, float] = field(default_factory=lambda: {"lncc": 1.0})
    labels: dict[str, float] = field(default_factory=lambda: {"dice": 1.0})
    truth: dict[str, float] = field(default_factory=dict)
    penalties: dict[str, float] = field(default_factory=lambda: {"diffusion": 1.0})

    def __post_init__(self) -> None:
        for name, known in (("labels", LABELS), ("truth", TRUTH), ("penalties", PENALTIES)):
            for key in getattr(self, name):
                if key not in known:
                    raise unknown(f"loss of objective.{name}", key, known)
        for name in ("images", "labels", "truth", "penalties"):
            for key, weight in getattr(self, name).items():
                if (
                    isinstance(weight, bool)
                    or not isinstance(weight, int | float)
                    or not 0 <= weight < math.inf
                ):
                    raise OptionError(
                        f"objective.{name}: the weight of {key!r} is {weight!r}, expected 0 or more."
                    )
        if not any(map(any, (self.images.values(), self.labels.values(), self.truth.values()))):
            raise OptionError(
                "the objective compares nothing. Give objective.images, labels or truth a weight."
            )
        self.similarities()

    def similarities(self) -> list[tuple[Similarity, float]]:
        """The similarities of images, and how much each counts."""
        return [
            (build("similarity", spec, dict(SIMILARITIES)), weight) for spec, weight in self.images.items()
        ]

    def loss(self, fields: Fields, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and its parts as numbers for the log.

        Args:
            fields: what the network answers.
            batch: as `OwnPairs` gives it.
        """
        parts: dict[str, list[Tensor]] = {}
        for number in range(len(fields.there)):
            item = {key: value[number] for key, value in batch.items()}
            for name, value in self._of_item(fields.there[number], item).items():
                parts.setdefault(name, []).append(value)
        found = {name: torch.stack(values).sum() / len(fields.there) for name, values in parts.items()}
        for name, weight in self.penalties.items():
            each = PENALTIES[name](fields.there, fields.back)
            each = each * fields.weight if name in ("diffusion", "bending") else each
            found[name] = weight * each.mean()
        loss = torch.stack(list(found.values())).sum()
        return loss, {name: float(value.detach()) for name, value in found.items()}

    def _of_item(self, there: Tensor, item: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for similarity, weight in self.similarities():
            prepared = similarity.prepare(item["fixed"])
            moved = warped(similarity.features(item["moving"])[None], there[None])[0]
            found[similarity.name] = weight * prepared.loss(moved)
        shares = (
            shared_labels(item["fixed_labels"], item["moving_labels"]) if any(self.labels.values()) else None
        )
        if shares is not None:
            fixed, moving = shares
            moved = warped(moving[None], there[None])[0]
            for name, weight in self.labels.items():
                # an overlap of what has no label tells nothing; probabilities must add up to one
                some = slice(1, None) if name == "dice" else slice(None)
                found[f"labels_{name}"] = weight * LABELS[name].prepare(fixed[some]).loss(
                    moved[some].contiguous()
                )
        known = item.get("displacement")
        if known is not None and bool(torch.isfinite(known).all()):
            for name, weight in self.truth.items():
                found[f"truth_{name}"] = weight * TRUTH[name](there, known)
        return found


def shared_labels(fixed: Tensor, moving: Tensor, most: int = _LABELS_A_STEP) -> tuple[Tensor, Tensor] | None:
    """Shares of the labels that two maps have in common, `(1 + labels, *shape)` each, the first of all that is left.

    Args:
        fixed: `(1, *shape)`, 0 for none, −1 everywhere where nothing is known.
        moving: likewise.
        most: labels at most, drawn by torch's generator.

    Returns:
        None where there is no such label.
    """
    common = [n for n in torch.unique(fixed).tolist() if n > 0 and bool((moving == n).any())]
    if not common:
        return None
    drawn = torch.tensor(common)[torch.randperm(len(common))[:most]].to(fixed.device)
    each = drawn.reshape(-1, *[1] * (fixed.ndim - 1))
    ones = [(labels == each).float() for labels in (fixed, moving)]
    return tuple(torch.cat([1 - one.sum(0, keepdim=True), one]) for one in ones)  # type: ignore[return-value] - two


def overlap(there: Tensor, item: Mapping[str, Tensor]) -> float | None:
    """Mean Dice of the labels in common through a field `(dim, *shape)`; None where no labels are known."""
    shares = shared_labels(item["fixed_labels"], item["moving_labels"], most=1000)
    if shares is None:
        return None
    fixed, moving = shares
    return 1 - float(Dice().prepare(fixed[1:]).loss(warped(moving[None], there[None])[0][1:].contiguous()))
