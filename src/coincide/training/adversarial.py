"""What a judge of alignment learns from: pairs that lie on each other, and pairs that were moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.data.synthesis import Synthesis, SyntheticPairs
from coincide.errors import OptionError
from coincide.networks import AdversarialNetwork
from coincide.networks.flow import refined, strain, warped
from coincide.networks.judge import held
from coincide.ops.field import exponentiate
from coincide.training.stability import Stability, doubts, unreal
from coincide.training.translate import _PAIRS, carried

_COARSE = 4
"""Knots along an axis of the random fields that move what was aligned."""


@dataclass(frozen=True)
class AdversarialTask:
    """A judge learns to tell aligned patches from others; a registration learns from it alone to align.

    Source: Fan et al. 2018, doi:10.1007/978-3-030-00928-1_83.

    Args:
        data: the pairs.
        stability: of the judge.
        smooth: weight of the registration's roughness.
        far: standard deviation, mm, of the random fields that move what was aligned.
        near: mm that a patch must be off to count as not aligned.

    Raises:
        OptionError: a number out of range.
    """

    data: Synthesis = field(default_factory=lambda: replace(_PAIRS, alike=0.2))
    stability: Stability = field(default_factory=Stability)
    smooth: float = 1.0
    far: float = 5.0
    near: float = 2.0

    def __post_init__(self) -> None:
        if self.smooth < 0 or not 0 < self.near < np.inf or not 0 < self.far < np.inf:
            raise OptionError(
                f"smooth is {self.smooth}, far {self.far} and near {self.near}; expected 0 or more, and two numbers "
                "above 0."
            )

    def pairs(self, network: AdversarialNetwork, first: int) -> SyntheticPairs:
        """The pairs from the seed `first` on, as `network` takes them.

        Raises:
            OptionError: a shape that does not fit the network's lattices.
        """
        if any(n % network.multiple for n in self.data.shape) or self.data.dim != network.dim:
            raise OptionError(
                f"the pairs have the shape {self.data.shape}, expected {network.dim} multiples of {network.multiple}."
            )
        return SyntheticPairs(self.data, first=first)

    def loss(
        self,
        network: nn.Module,  # noqa: ARG002 - it has parts that are called one by one
        bare: AdversarialNetwork,
        batch: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict]:
        """The loss of a batch, and its parts as numbers for the log; arguments as in `KeypointTask.loss`."""
        fixed, moving = batch["fixed"].float(), batch["moving"].float()
        truth = batch["displacement"] / bare.spacing
        turn = self.stability.turn(bare.taken)
        with torch.set_grad_enabled(turn):
            there, rough = self.answer(bare, fixed, moving)
        inside = self._pooled(bare, (batch["fixed_labels"] > 0).float())
        shown = warped(moving, truth).detach().requires_grad_(True)
        here = bare(fixed)
        logits = bare.aligned(here, bare(shown))
        chance = self.moved(truth)
        found = there.detach()
        wrong = [bare.aligned(here, bare(warped(moving, way))) for way in (chance, found)]
        counts = [self._off(bare, way, truth) * (inside > 0.5) for way in (chance, found)]
        loss = self.stability.real(logits) + sum(unreal(a, b) for a, b in zip(wrong, counts)) / 2
        loss = loss + self.stability.steepness(logits, shown)
        if turn:
            with held(bare.tower()):
                seen = bare.aligned(bare(fixed), bare(carried(moving, there)))
            loss = loss + F.softplus(-seen).mean() + self.smooth * rough
        told = [float((logits > 0)[inside > 0.5].float().mean()), _share(wrong[0] < 0, counts[0])]
        return loss, {"off_mm": self._error(bare, found, batch), "told": float(np.mean(told))}

    def answer(self, network: AdversarialNetwork, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The registration's field in voxels, `(batch, dim, *shape)`, and its mean square derivative."""
        velocity = network.register(fixed, moving, torch.ones(len(fixed)))[-1].float()
        return refined(torch.stack([exponentiate(v.contiguous()) for v in velocity])), strain(velocity).mean()

    def moved(self, truth: Tensor) -> Tensor:
        """The truth, in voxels, with a random smooth field added."""
        knots = torch.randn(len(truth), truth.shape[1], *[_COARSE] * (truth.ndim - 2))
        mode = "bilinear" if truth.ndim == 4 else "trilinear"
        wide = F.interpolate(knots, size=truth.shape[2:], mode=mode, align_corners=True)
        return truth + wide * self.far / self.data.spacing[0]

    @torch.no_grad()
    def warped(self, network: AdversarialNetwork, item: Mapping[str, Tensor]) -> Tensor:
        """The moving image of one pair through what the registration answers, `(1, *shape)`."""
        there, _ = self.answer(network, item["fixed"][None], item["moving"][None])
        return warped(item["moving"][None], there)[0]

    @torch.no_grad()
    def score(self, network: AdversarialNetwork, first: int, number: int) -> dict[str, float]:
        """How well the judge tells aligned patches from others that it never saw; lower is better.

        `score` is the share of patches inside the anatomy that it gets wrong, `off_mm` how far off the registration
        that learned from it is, `start_mm` how far off it was before.
        """
        pairs, told, off, start, features = self.pairs(network, first), [], [], [], []
        torch.manual_seed(0)  # what is moved at random is the same at every look
        for n in range(number):
            item = {key: value[None] for key, value in pairs[n].items()}
            truth = item["displacement"] / network.spacing
            inside = self._pooled(network, (item["fixed_labels"] > 0).float()) > 0.5
            here, chance = network(item["fixed"]), self.moved(truth)
            right, wrong = (
                network.aligned(here, network(warped(item["moving"], way))) for way in (truth, chance)
            )
            told.append(
                (_share(right > 0, inside) + _share(wrong < 0, self._off(network, chance, truth) * inside))
                / 2
            )
            off.append(self._error(network, self.answer(network, item["fixed"], item["moving"])[0], item))
            start.append(self._error(network, torch.zeros_like(truth), item))
            # within one image: features that are the same everywhere say nothing
            features.append(float(here.flatten(2).std(-1).square().sum().sqrt()))
        return {
            "score": 1 - float(np.mean(told)),
            "off_mm": float(np.mean(off)),
            "start_mm": float(np.mean(start)),
            "variety": float(np.mean(features)),
            "told": float(np.mean(told)),
        }

    def doubts(self, record: Mapping[str, float]) -> list[str]:
        """What is to be said of the balance of registration and judge."""
        return doubts(record)

    def _pooled(self, network: AdversarialNetwork, values: Tensor) -> Tensor:
        """Means over patches."""
        return (F.avg_pool2d if network.dim == 2 else F.avg_pool3d)(values, network.patch)

    def _off(self, network: AdversarialNetwork, way: Tensor, truth: Tensor) -> Tensor:
        """Which patches are too far off to be called aligned: 1 or 0."""
        apart = (way - truth).square().sum(1, keepdim=True).sqrt() * network.spacing
        return (self._pooled(network, apart) > self.near).float()

    def _error(self, network: AdversarialNetwork, way: Tensor, batch: Mapping[str, Tensor]) -> float:
        """Mean error in mm of a field in voxels inside the anatomy."""
        apart = (way * network.spacing - batch["displacement"]).square().sum(1, keepdim=True).sqrt()
        inside = batch["fixed_labels"] > 0
        return float(apart.detach()[inside].mean()) if bool(inside.any()) else 0.0


def _share(right: Tensor, counts: Tensor) -> float:
    """Share of what counts that is right."""
    counts = counts > 0
    return float(right[counts].float().mean()) if bool(counts.any()) else 1.0
