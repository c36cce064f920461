"""What a network that follows a series learns from: how far places of a moving anatomy are off, and how they shake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.data.synthesis.series import Films, SyntheticSeries
from coincide.errors import OptionError
from coincide.networks.flattened import FlattenedNetwork
from coincide.networks.matching import likelihood
from coincide.networks.sequence import SequenceNetwork, laid

Follower = SequenceNetwork | FlattenedNetwork

_NEAR = 0.2
"""Pixels of error below which the loss is round."""
_MATCHED = 48
"""Places of the reference that are matched one by one in the loss."""


@dataclass(frozen=True)
class SequenceTask:
    """Series of made-up anatomies that move; how far places are off in every frame, in pixels.

    Args:
        data: the series.
        objective: `"places"`, how far these are off and shake, or `"parameters"`, the mean square of what the matrices
            are off, which is the textbook's.
        match: how much the cross-entropy of the match counts, place by place.
        jitter: how much the second difference of the error from frame to frame counts.
        longest: how many frames the series kept back have.

    Raises:
        OptionError: a weight below 0, or series too short.
    """

    data: Films = field(default_factory=Films)
    objective: Literal["places", "parameters"] = "places"
    match: float = 0.5
    jitter: float = 0.5
    longest: int = 24

    def __post_init__(self) -> None:
        if min(self.match, self.jitter) < 0 or self.longest < 3:
            raise OptionError(
                f"match is {self.match}, jitter {self.jitter} and longest {self.longest}; expected 0 or more, and 3 "
                "frames or more."
            )

    def pairs(self, network: Follower, first: int) -> SyntheticSeries:
        """The series from the seed `first` on, as `network` takes them.

        Raises:
            OptionError: frames that do not fit the network.
        """
        if network.dim != 2 or self.data.shape % network.multiple:
            raise OptionError(
                f"films are 2-D, of {self.data.shape} pixels; expected a 2-D network, and a multiple of "
                f"{network.multiple} pixels."
            )
        return SyntheticSeries(self.data, first)

    def loss(self, network: nn.Module, bare: Follower, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict]:
        """The loss of a batch, and its parts as numbers for the log; arguments as in `KeypointTask.loss`."""
        course = network(batch["frames"], batch["seen"], batch["reference"])
        half = batch["frames"].shape[-1] / 2
        if self.objective == "parameters":
            loss = F.mse_loss(course.causal, batch["matrices"])
            return loss, {"parameters": float(loss.detach()), "off_px": self._mean_off(course.causal, batch)}
        seen, off = batch["seen"], {}
        for name in ("causal", "both", "observed", "first"):
            error = self._errors(getattr(course, name), batch) * half
            length = error.square().sum(-1).add(_NEAR**2).sqrt().mean(-1)
            counted = seen.float() if name in ("observed", "first") else 0.5 + 0.5 * seen
            off[name] = (length * counted).sum() / counted.sum()
            if name in ("causal", "both") and error.shape[1] > 2:
                shake = error.diff(n=2, dim=1).square().sum(-1).add(_NEAR**2).sqrt().mean()
                off[f"{name}_jitter"] = shake * self.jitter
        loss = torch.stack(list(off.values())).sum() / 4
        if self.match and isinstance(bare, SequenceNetwork):
            matched = self._matched(bare, batch)
            loss = loss + self.match * matched
            off["match"] = matched
        return loss, {name: float(value.detach()) for name, value in off.items()}

    @torch.no_grad()
    def score(self, network: Follower, first: int, number: int) -> dict[str, float]:
        """How far off `network` is on series it never saw, longer than those it learns from, in pixels.

        `score` is what to judge it by, lower is better: the mean over causal and both directions. `alone_px` is what
        single frames say; `jitter` are second differences of the error.
        """
        films = replace(self, data=replace(self.data, frames=self.longest))
        series, rows = films.pairs(network, first), []
        for n in range(number):
            batch = {key: value[None] for key, value in series[n].items()}
            course = network(batch["frames"], batch["seen"], batch["reference"])
            half, row = batch["frames"].shape[-1] / 2, []
            for matrices in (course.causal, course.both, course.observed):
                error = self._errors(matrices, batch) * half
                row += [
                    float(error.norm(dim=-1).mean()),
                    float(error.diff(n=2, dim=1).norm(dim=-1).mean()),
                ]
            still = torch.eye(3).expand_as(course.causal)
            rows.append([*row, self._mean_off(still, batch)])
        names = (
            *("causal_px", "causal_jitter", "both_px", "both_jitter"),
            *("alone_px", "alone_jitter", "start_px"),
        )
        found = dict(zip(names, np.mean(rows, 0).tolist()))
        found["median_px"] = float(np.median([row[0] for row in rows]))
        return {"score": (found["causal_px"] + found["both_px"]) / 2, **found}

    @torch.no_grad()
    def warped(self, network: Follower, item: Mapping[str, Tensor]) -> Tensor:
        """The last frame of one series as `network` lays it on the reference, `(1, *shape)`."""
        batch = {key: value[None] for key, value in item.items()}
        course = network(batch["frames"], batch["seen"], batch["reference"])
        last = int(item["seen"].nonzero()[-1])
        return laid(batch["frames"][:, last], course.causal[:, last].float())[0]

    def _errors(self, matrices: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Where places go less where they should, `(batch, frame, place, 2)`, in halves of the field of view."""
        off = matrices.float() - batch["matrices"]
        points = F.pad(batch["points"], (0, 1), value=1.0)
        return torch.einsum("bfij,bpj->bfpi", off[:, :, :-1], points)

    def _mean_off(self, matrices: Tensor, batch: Mapping[str, Tensor]) -> float:
        error = self._errors(matrices.detach(), batch) * (batch["frames"].shape[-1] / 2)
        return float(error.norm(dim=-1).mean())

    def _matched(self, network: SequenceNetwork, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of where places of the reference are found in one frame of each series, by features alone."""
        rows = torch.arange(len(batch["frames"]), device=batch["frames"].device)
        chosen = torch.multinomial(batch["seen"].float(), 1)[:, 0]
        here, there = network.described(batch["reference"]), network.described(batch["frames"][rows, chosen])
        points, matrices = batch["points"][:, :_MATCHED], batch["matrices"][rows, chosen]
        target = points @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]
        unit = points.flip(-1)[:, :, None]
        own = F.grid_sample(here, unit, align_corners=False)[..., 0]
        inside = (target.abs() < 1).all(-1)
        lost = likelihood(network.scores(own, there), target.clamp(-1, 1))
        return (lost * inside).sum() / inside.sum().clamp(min=1)
