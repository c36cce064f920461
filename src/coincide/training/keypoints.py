"""What a keypoint network learns from: where parts of a made-up brain are, and how far the fitted transform is off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.data.synthesis import Artefacts, Bend, Motion, Synthesis, SyntheticPairs
from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.networks import KeypointNetwork
from coincide.networks.fit import fit_weighted, moved
from coincide.ops.sample import sample_affine
from coincide.training.cells import cells

_TURNED = Synthesis(
    anatomies=("brain", "brain", "head"),
    pose=Motion(0, 0, 0.1, 0.03),
    motion=Motion(180, 25, 0.1, 0.03),
    bend=Bend(4.0),
    artefacts=Artefacts(rate=0.1),
)


@dataclass(frozen=True)
class KeypointTask:
    """Pairs of made-up heads, one upright and one turned any way; keypoints are the middles of parts of the brain.

    Args:
        data: the pairs; its shape and spacing give way to the network's.
        parts: weight of the cross-entropy of the parts, voxel by voxel.
        distance: weight of the distance between landmarks mapped by the fitted and by the true transform, for each
            10 mm.
        ridge: how strongly the fit in the loss is held to a rigid one.

    Raises:
        OptionError: a weight below 0, or pairs that are not of upright heads.
    """

    data: Synthesis = field(default_factory=lambda: _TURNED)
    parts: float = 1.0
    distance: float = 0.2
    ridge: float = 0.05

    def __post_init__(self) -> None:
        if min(self.parts, self.distance, self.ridge) < 0:
            raise OptionError(
                f"parts, distance and ridge are {self.parts}, {self.distance} and {self.ridge}; expected 0 or more."
            )
        if self.data.pose.rotation or self.data.pose.shift or set(self.data.anatomies) - {"brain", "head"}:
            raise OptionError(
                "keypoints are learned from brains and heads that lie upright in the middle of the fixed image; "
                "expected the anatomies brain and head, and a pose without rotation and shift. Turn by data.motion."
            )

    def pairs(self, network: KeypointNetwork, first: int) -> SyntheticPairs:
        """The pairs from the seed `first` on, as `network` takes them."""
        shape, spacing = network.shape, network.spacing
        return SyntheticPairs(replace(self.data, shape=(shape,) * 3, spacing=(spacing,) * 3), first=first)

    def loss(
        self, network: nn.Module, bare: KeypointNetwork, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict]:
        """The loss of a batch, and its parts as numbers for the log.

        Args:
            network: to call.
            bare: the same without what wraps it.
            batch: as `SyntheticPairs` gives it.
        """
        number = len(batch["fixed"])
        found = network(torch.cat([batch["fixed"], batch["moving"]]))
        truth = self._parts(bare, batch, found.centres.shape[1])
        parts = F.cross_entropy(found.scores, truth)
        fixed, moving = found.centres[:number], found.centres[number:]
        weights = (found.masses[:number] * found.masses[number:]).sqrt()
        matrix = fit_weighted(
            self._world(bare, fixed), self._world(bare, moving), weights, "affine", self.ridge
        )
        apart = moved(matrix, batch["fixed_points"]) - batch["moving_points"]
        distance = apart.square().sum(-1).add(1e-6).sqrt().mean(1)
        loss = self.parts * parts + self.distance * distance.mean() / 10
        return loss, {"parts": float(parts.detach()), "distance_mm": float(distance.detach().mean())}

    @torch.no_grad()
    def score(self, network: KeypointNetwork, first: int, number: int) -> dict[str, float]:
        """How far off `network` alone is on pairs it never saw; `score` is what to judge it by, lower is better."""
        pairs, off = self.pairs(network, first), []
        for n in range(number):
            item = {key: value[None] for key, value in pairs[n].items()}
            off.append(self.loss(network, network, item)[1])
        distance = np.array([each["distance_mm"] for each in off])
        return {
            "score": float(np.mean(np.minimum(distance, 50.0))),
            "median_mm": float(np.median(distance)),
            "within_15_mm": float(np.mean(distance < 15)),
            "parts": float(np.mean([each["parts"] for each in off])),
        }

    @torch.no_grad()
    def warped(self, network: KeypointNetwork, item: Mapping[str, Tensor]) -> Tensor:
        """The moving image of one pair through what `network` answers, `(1, *shape)`."""
        found = network(torch.stack([item["fixed"], item["moving"]]))
        weights = found.masses.prod(0, keepdim=True).sqrt()
        world = self._world(network, found.centres)
        matrix = fit_weighted(world[:1], world[1:], weights, "affine", self.ridge)[0]
        grid = Grid.from_spacing(
            (network.shape,) * 3, network.spacing, np.full(3, -(network.shape - 1) / 2 * network.spacing)
        )
        index = grid.inverse_affine @ matrix.numpy() @ grid.affine
        return sample_affine(item["moving"].contiguous(), index, grid.shape, "edge")

    def _parts(self, network: KeypointNetwork, batch: Mapping[str, Tensor], number: int) -> Tensor:
        """The part that each output voxel of the fixed and then of the moving images shows."""
        step = (..., *(slice(None, None, network.stride),) * 3)
        labels = torch.cat([batch["fixed_labels"], batch["moving_labels"]])[:, 0][step]
        place = torch.stack(
            torch.meshgrid(*(torch.arange(n, device=labels.device) for n in labels.shape[1:]), indexing="ij"),
            -1,
        )
        world = self._world(network, place.float() * network.stride)
        back = torch.linalg.inv(batch["matrix"])
        turned = moved(back, world.reshape(1, -1, 3)).reshape(len(back), *world.shape)
        own = torch.cat([world.expand_as(turned), turned])
        return cells(labels, own, number)

    @staticmethod
    def _world(network: KeypointNetwork, index: Tensor) -> Tensor:
        """World mm of positions in voxels of the network's input, which lies around the origin."""
        return (index - (network.shape - 1) / 2) * network.spacing
