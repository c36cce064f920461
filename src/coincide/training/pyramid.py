"""What pyramid and recurrent networks learn from: where every place of a made-up anatomy goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.data.synthesis import Artefacts, Bend, Motion, Synthesis, SyntheticPairs
from coincide.errors import OptionError
from coincide.networks import PyramidNetwork, RecurrentNetwork
from coincide.networks.flow import refined, strain, to_the_middle, warped
from coincide.ops.field import exponentiate
from coincide.training.objective import Fields

Matching = PyramidNetwork | RecurrentNetwork
"""Networks that learn from the error of their flow on every lattice, or after every step."""
_PAIRS = Synthesis(
    shape=(64, 80, 64),
    spacing=(2.0, 2.0, 2.0),
    pose=Motion(5, 4, 0.1, 0.03),
    motion=Motion(4, 4, 0.05, 0.02),
    bend=Bend(6.0, (32.0, 16.0, 8.0)),
    artefacts=Artefacts(rate=0.1),
)
_NEAR = 0.5
"""Millimetres of error below which the loss is round, as the truth itself is no better known on the lattice."""
_ELSEWHERE = 0.05
"""How much a place outside the anatomy counts beside one inside."""


@dataclass(frozen=True)
class PyramidTask:
    """Pairs of made-up anatomies that lie nearly on each other; the error of the flow, in mm, on every lattice.

    Args:
        data: the pairs; their spacing gives way to the network's.
        weights: range of the weights of smoothness beside likeness that the network is asked for; drawn evenly in
            their logarithms.
        lattices: how much a lattice (of `recurrent`, a step) counts beside the next one.

    Raises:
        OptionError: a range that is none, or a share that is none.
    """

    data: Synthesis = field(default_factory=lambda: _PAIRS)
    weights: tuple[float, float] = (0.3, 10.0)
    lattices: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.weights[0] <= self.weights[1] < math.inf or not 0 <= self.lattices <= 1:
            raise OptionError(
                f"weights is {self.weights} and lattices {self.lattices}; expected two numbers above 0, in order, and "
                "one from 0 to 1."
            )

    def pairs(self, network: Matching, first: int) -> SyntheticPairs:
        """The pairs from the seed `first` on, as `network` takes them.

        Raises:
            OptionError: a shape that does not fit the network's lattices.
        """
        if any(n % network.multiple for n in self.data.shape) or self.data.dim != network.dim:
            raise OptionError(
                f"the pairs have the shape {self.data.shape}, expected {network.dim} multiples of {network.multiple}."
            )
        if set(self.data.spacing) != {network.spacing}:
            raise OptionError(
                f"the pairs' voxels are {self.data.spacing} mm, expected the network's {network.spacing} mm."
            )
        return SyntheticPairs(self.data, first=first)

    def loss(
        self,
        network: nn.Module,
        bare: Matching,
        batch: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict]:
        """The loss of a batch, and its parts as numbers for the log; arguments as in `KeypointTask.loss`."""
        weight = self._asked(len(batch["fixed"])).to(batch["fixed"].device)
        velocities = network(batch["fixed"], batch["moving"], weight)
        loss, error = torch.zeros(()), torch.zeros(())
        for number, velocity in enumerate(reversed(velocities)):
            off = self._off(bare, velocity, batch)
            error = off if number == 0 else error
            loss = loss + self.lattices**number * off.mean()
        rough = strain(velocities[-1].float())
        loss = loss + (weight * rough).mean()
        return loss, {"off_mm": float(error.detach().mean()), "strain": float(rough.detach().mean())}

    def fields(self, network: nn.Module, batch: Mapping[str, Tensor], weight: float | None = None) -> Fields:
        """What `network` answers for a batch, on the lattice of the images, with gradients.

        Args:
            network: to call.
            batch: with `fixed` and `moving`.
            weight: how much smoothness is asked for; drawn where left out.
        """
        number = len(batch["fixed"])
        asked = self._asked(number) if weight is None else torch.full((number,), weight)
        asked = asked.to(batch["fixed"].device)
        velocity = network(batch["fixed"], batch["moving"], asked)[-1].float()
        ways = (torch.stack([exponentiate(v.contiguous()) for v in way]) for way in (velocity, -velocity))
        there, back = (refined(way) for way in ways)
        return Fields(there, back, asked)

    def _asked(self, number: int) -> Tensor:
        """Weights of smoothness, drawn evenly in their logarithms."""
        low, high = (math.log(w) for w in self.weights)
        return torch.exp(low + (high - low) * torch.rand(number))

    @torch.no_grad()
    def warped(self, network: Matching, item: Mapping[str, Tensor]) -> Tensor:
        """The moving image of one pair through what `network` answers, `(1, *shape)`."""
        batch = {key: item[key][None] for key in ("fixed", "moving")}
        return warped(batch["moving"], self.fields(network, batch, 1.0).there)[0]

    @torch.no_grad()
    def score(self, network: Matching, first: int, number: int) -> dict[str, float]:
        """How far off `network` alone is on pairs it never saw; `score` is what to judge it by, lower is better."""
        pairs, off, start = self.pairs(network, first), [], []
        for n in range(number):
            item = {key: value[None] for key, value in pairs[n].items()}
            velocity = network(item["fixed"], item["moving"], torch.ones(1))[-1]
            off.append(float(self._off(network, velocity, item)))
            start.append(float(self._off(network, torch.zeros_like(velocity), item)))
        return {
            "score": float(np.mean(off)),
            "median_mm": float(np.median(off)),
            "start_mm": float(np.mean(start)),
        }

    def _off(self, network: Matching, velocity: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean error in mm inside the anatomy, `(batch,)`, seen from the middle between the images."""
        coarser = batch["fixed"].shape[2] // velocity.shape[2]
        pool = F.avg_pool2d if network.dim == 2 else F.avg_pool3d
        voxel = network.spacing * coarser
        truth = pool(batch["displacement"], coarser) / voxel
        inside = pool((batch["fixed_labels"] > 0).float(), coarser)
        back, on = to_the_middle(velocity)
        # a velocity moves what passes the middle on its way by as much as it is itself: so goes its gradient
        flow = on - back + (velocity - velocity.detach()).float()
        off = (voxel * (flow - warped(truth, back))).square().sum(1).add(_NEAR**2).sqrt() - _NEAR
        counts = warped(inside, back)[:, 0] * (1 - _ELSEWHERE) + _ELSEWHERE
        return (off * counts).flatten(1).sum(1) / counts.flatten(1).sum(1)
