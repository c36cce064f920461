"""What a translator learns from: pictures of one contrast, and others of any that do not quite lie on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.data.synthesis import Artefacts, Bend, Contrast, Motion, Synthesis, SyntheticPairs
from coincide.data.synthesis.contrast import KNOWN
from coincide.data.synthesis.structures import TISSUES, tissue_numbers
from coincide.errors import OptionError
from coincide.networks import TranslateNetwork
from coincide.networks.flow import refined, strain, warped
from coincide.networks.judge import held
from coincide.ops.field import exponentiate
from coincide.training.stability import Stability, doubts, unreal

_PAIRS = Synthesis(
    shape=(96, 96),
    spacing=(2.0, 2.0),
    anatomies=("brain", "brain", "head"),
    motion=Motion(3, 2, 0.03, 0.02),
    bend=Bend(5.0, (32.0, 16.0)),
    contrast=Contrast(known=0.6),
    artefacts=Artefacts(rate=0.1),
    alike=0.0,
    points=0,
)
_NOISE = 0.02
"""Standard deviation of the noise on pictures of the contrast that is learned."""


@dataclass(frozen=True)
class TranslateTask:
    """A generator paints the moving picture in the fixed one's contrast, a registration lays it there, a judge looks.

    Translated and then registered, or registered and then translated: both are to be the fixed picture, so the
    generator may not move anatomy, which the registration alone can do. Source: Arar et al. 2020, arXiv:2003.08073.

    Args:
        data: the pairs; the fixed picture is painted anew as in T1.
        stability: of the judge.
        adversarial: weight of deceiving the judge.
        like: weight of the mean difference from the fixed picture.
        smooth: weight of the registration's roughness.
        registered: whether there is a registration at all; without, the picture is compared as it lies, which is the
            textbook's way for pictures that lie on each other.

    Raises:
        OptionError: a weight below 0, or anatomies whose tissues are not known.
    """

    data: Synthesis = field(default_factory=lambda: _PAIRS)
    stability: Stability = field(default_factory=Stability)
    adversarial: float = 0.3
    like: float = 10.0
    smooth: float = 1.0
    registered: bool = True

    def __post_init__(self) -> None:
        if min(self.adversarial, self.like, self.smooth) < 0:
            raise OptionError(
                f"adversarial is {self.adversarial}, like {self.like} and smooth {self.smooth}; expected 0 or more."
            )
        if set(self.data.anatomies) - {"brain", "head", "body"}:
            raise OptionError(
                f"the anatomies are {', '.join(self.data.anatomies)}; expected brain, head or body, whose tissues are "
                "known."
            )

    def pairs(self, network: TranslateNetwork, first: int) -> SyntheticPairs:
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
        bare: TranslateNetwork,
        batch: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict]:
        """The loss of a batch, and its parts as numbers for the log; arguments as in `KeypointTask.loss`."""
        real, moving = painted(batch["fixed_labels"]), batch["moving"].float()
        turn = self.stability.turn(bare.taken)
        with torch.set_grad_enabled(turn):
            answers, rough = self.answers(bare, real, moving)
        shown = real.clone().requires_grad_(True)
        logits = bare.judge(shown)
        false = [bare.judge(answer.detach()) for answer in answers]
        loss = self.stability.real(logits) + sum(unreal(each) for each in false) / len(false)
        loss = loss + self.stability.steepness(logits, shown)
        off = torch.stack([(answer - real).abs().mean() for answer in answers]).mean()
        if turn:
            with held(bare.judge):
                fooled = torch.stack([F.softplus(-bare.judge(answer)).mean() for answer in answers]).mean()
            loss = loss + self.adversarial * fooled + self.like * off + self.smooth * rough
        told = (float((logits > 0).float().mean()) + float((torch.cat(false) < 0).float().mean())) / 2
        return loss, {"off": float(off.detach()), "strain": float(rough.detach()), "told": told}

    def answers(
        self, network: TranslateNetwork, fixed: Tensor, moving: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """What is to look like the fixed pictures, and how rough the registration is."""
        if not self.registered:
            return [network(moving)], torch.zeros(())
        there, rough = laid(network, fixed, moving)
        return [carried(network(moving), there), network(carried(moving, there))], rough

    @torch.no_grad()
    def warped(self, network: TranslateNetwork, item: Mapping[str, Tensor]) -> Tensor:
        """The moving image of one pair in the learned contrast, `(1, *shape)`."""
        return network(item["moving"][None])[0]

    @torch.no_grad()
    def score(self, network: TranslateNetwork, first: int, number: int) -> dict[str, float]:
        """How far pictures it never saw are from how they would look in the learned contrast, where they lie.

        `score` is the mean difference inside the anatomy; lower is better. `untold` is that of a flat picture.
        """
        pairs, found, right, told = self.pairs(network, first), [], [], []
        off, flat = [], []
        for n in range(number):
            item = pairs[n]
            truth, answer = painted(item["moving_labels"][None], 0.0), network(item["moving"][None])
            inside = item["moving_labels"][None] > 0
            found.append(answer)
            right.append(truth)
            off.append(float((answer - truth).abs()[inside].mean()))
            flat.append(float((truth - truth[inside].mean()).abs()[inside].mean()))
            real = painted(item["fixed_labels"][None])
            told += [float((network.judge(real) > 0).float().mean())]
            told += [float((network.judge(answer) < 0).float().mean())]
        return {
            "score": float(np.mean(off)),
            "flat": float(np.mean(flat)),
            "variety": variety(torch.cat(found)) / max(variety(torch.cat(right)), 1e-6)
            if number > 1
            else 1.0,
            "told": float(np.mean(told)),
        }

    def doubts(self, record: Mapping[str, float]) -> list[str]:
        """What is to be said of the balance of generator and judge."""
        return doubts(record)


def variety(pictures: Tensor) -> float:
    """How much pictures `(number, channel, *shape)` differ among each other: the mean standard deviation of a pixel."""
    return float(pictures.std(0).mean())


def laid(network: TranslateNetwork, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """The registration's field in voxels, `(batch, dim, *shape)`, and its mean square derivative."""
    velocity = network.register(fixed, moving, torch.ones(len(fixed)))[-1].float()
    there = torch.stack([exponentiate(v.contiguous()) for v in velocity])
    return refined(there), strain(velocity).mean()


def carried(images: Tensor, fields: Tensor) -> Tensor:
    """`warped` with a gradient for images and fields both."""
    return warped(images if images.requires_grad else images.clone().requires_grad_(True), fields)


def painted(labels: Tensor, noise: float = _NOISE) -> Tensor:
    """Pictures of `labels` `(batch, 1, *shape)` as bright as in T1, 0 to 1, with some noise."""
    sharp = torch.from_numpy(_brightness())[labels.clamp(max=len(_brightness()) - 1)]
    pool = F.avg_pool2d if labels.ndim == 4 else F.avg_pool3d
    soft = 0.5 * sharp + 0.5 * pool(sharp, 3, 1, 1)
    return soft + noise * torch.randn_like(soft) if noise else soft


@lru_cache(maxsize=1)
def _brightness() -> np.ndarray:
    """How bright each label is in T1."""
    usual = np.array([0.0, *(KNOWN[name][0] for name in TISSUES)], np.float32)
    return usual[tissue_numbers()]
