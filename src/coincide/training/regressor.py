"""What a network that answers with a transform learns from: its numbers, corners in mm, or how alike images become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.data.synthesis import Artefacts, Bend, Motion, Synthesis, SyntheticPairs
from coincide.errors import OptionError
from coincide.networks.fit import moved
from coincide.networks.parametrisation import Pose
from coincide.networks.regressor import RegressorNetwork
from coincide.networks.sequence import laid
from coincide.options import build
from coincide.similarity import SIMILARITIES

_REACH = 0.5
"""Where the corners lie, in halves of the field of view: about at the surface of a head."""
_CUT = 50.0
"""Millimetres that a pair counts at most in the score."""
_TURNED = Synthesis(
    anatomies=("brain", "brain", "head"),
    pose=Motion(10, 5, 0.1, 0.03),
    motion=Motion(60, 15, 0.1, 0.03),
    bend=Bend(4.0),
    artefacts=Artefacts(rate=0.1),
)


@dataclass(frozen=True)
class RegressorTask:
    """Pairs of made-up anatomies, one of them turned, and how far the network's transform is off.

    Args:
        data: the pairs; its shape and spacing give way to the network's.
        objective: `"corners"`, the mean distance of eight corners (four in 2-D) around the anatomy, for each 10 mm;
            `"parameters"`, the mean square of what the numbers are off, which is the textbook's; or `"similarity"`,
            how alike the images become, which needs no truth.
        similarity: SPEC of the last one's.
        views: how often each pair is seen in a step; each further time its moving image is turned anew, as far as
            `data.motion` says. To make a pair takes longer than to learn from it.

    Raises:
        OptionError: no view, or an unknown similarity.
    """

    data: Synthesis = field(default_factory=lambda: _TURNED)
    objective: Literal["corners", "parameters", "similarity"] = "corners"
    similarity: str = "nmi"
    views: int = 1

    def __post_init__(self) -> None:
        if self.views < 1:
            raise OptionError(f"views is {self.views}, expected 1 or more.")
        self._similarity()

    def pairs(self, network: RegressorNetwork, first: int) -> SyntheticPairs:
        """The pairs from the seed `first` on, as `network` takes them."""
        dim, shape, spacing = network.dim, network.shape, network.spacing
        return SyntheticPairs(replace(self.data, shape=(shape,) * dim, spacing=(spacing,) * dim), first=first)

    def loss(
        self, network: nn.Module, bare: RegressorNetwork, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict]:
        """The loss of a batch, and its parts as numbers for the log; arguments as in `KeypointTask.loss`."""
        fixed, moving, truth = self._seen(bare, batch)
        answer = network(fixed, moving)
        off = _off(answer.matrices, truth) * bare.half
        found = {"corners_mm": float(off.detach().mean())}
        if self.objective == "corners":
            return off.mean() / 10, found
        if self.objective == "parameters":
            loss = F.mse_loss(answer.numbers, bare.parametrisation.numbers(truth))
        else:
            shown, similarity = laid(moving, answer.matrices), self._similarity()
            each = [similarity.prepare(a).loss(similarity.features(b)) for a, b in zip(fixed, shown)]
            loss = torch.stack(each).mean()
        return loss, {self.objective: float(loss.detach()), **found}

    @torch.no_grad()
    def score(self, network: RegressorNetwork, first: int, number: int) -> dict[str, float]:
        """How far off `network` is on pairs it never saw, one look; `score` is what to judge it by, lower is better."""
        pairs, rows = self.pairs(network, first), []
        for n in range(number):
            batch = {key: value[None] for key, value in pairs[n].items()}
            truth = _unit(network, batch["matrix"])
            still = torch.eye(network.dim + 1)[None]
            found = network(batch["fixed"], batch["moving"]).matrices
            rows.append([float(_off(each, truth).mean() * network.half) for each in (found, still)])
        off, start = np.array(rows).T
        return {
            "score": float(np.mean(np.minimum(off, _CUT))),
            "median_mm": float(np.median(off)),
            "start_mm": float(np.mean(np.minimum(start, _CUT))),
        }

    @torch.no_grad()
    def warped(self, network: RegressorNetwork, item: Mapping[str, Tensor]) -> Tensor:
        """The moving image of one pair through what `network` answers, `(1, *shape)`."""
        fixed, moving = item["fixed"][None], item["moving"][None]
        return laid(moving, network(fixed, moving).matrices)[0]

    def _similarity(self):
        return build("similarity", self.similarity, dict(SIMILARITIES))

    def _seen(self, network: RegressorNetwork, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Fixed and moving images and true matrices, in the network's units, of all views of a batch."""
        fixed, moving, truth = batch["fixed"], batch["moving"], _unit(network, batch["matrix"])
        turned = [(moving, truth)]
        for _ in range(self.views - 1):
            turn = self._turn(network.dim, truth)
            turned.append((laid(moving, torch.linalg.inv(turn)), turn @ truth))
        return (
            torch.cat([fixed] * self.views),
            torch.cat([each for each, _ in turned]),
            torch.cat([each for _, each in turned]),
        )

    def _turn(self, dim: int, truth: Tensor) -> Tensor:
        """Turns after which the rotation of `truth` is drawn anew, about the middle."""
        rigid = Pose(dim, "rigid")
        own = rigid.numbers(truth)
        own[:, -dim:] = 0
        limit = np.deg2rad(self.data.motion.rotation)
        angle = (torch.rand(len(truth), 1, 1) * 2 - 1) * limit
        if dim == 2:
            generator = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(len(truth), -1, -1)
        else:
            axis = F.normalize(torch.randn(len(truth), 3), dim=-1)
            generator = torch.linalg.cross(torch.eye(3).expand(len(truth), -1, -1), axis[:, None])
        back = rigid.matrix(own).mT.clone()
        back[:, :-1, :-1] = torch.linalg.matrix_exp(angle * generator) @ back[:, :-1, :-1]
        return back


def _unit(network: RegressorNetwork, matrices: Tensor) -> Tensor:
    """Matrices in mm, about the middle of the field of view, in halves of its width."""
    found = matrices.clone()
    found[:, :-1, -1] /= network.half
    return found


def _off(matrices: Tensor, truth: Tensor) -> Tensor:
    """How far corners are off, `(batch, corner)`, in the matrices' unit."""
    dim = truth.shape[-1] - 1
    corners = torch.cartesian_prod(*[torch.tensor([-_REACH, _REACH])] * dim).to(truth)
    everywhere = corners.expand(len(truth), -1, -1)
    return (moved(matrices, everywhere) - moved(truth, everywhere)).square().sum(-1).add(1e-8).sqrt()
