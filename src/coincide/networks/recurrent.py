"""A network that infers a velocity field step by step, the same small unit at every step, with a memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.errors import OptionError
from coincide.networks.blocks import Hourglass, convolution, mean, normalisation, packed, standardised
from coincide.networks.flow import refined, to_the_middle, warped
from coincide.networks.pyramid import described
from coincide.ops.neighbours import correlations, offsets


class RecurrentNetwork(nn.Module):
    """Stationary velocities between two images on one grid, by recurrent inference; swapped images give the negative.

    On lattices from coarse to half the input's resolution one convolutional GRU, whose weights are the same at every
    step and on every lattice, is told both images carried to the middle between them, how alike their features are at
    all neighbours of a voxel, and the similarity's gradient; its hidden state remembers what was tried before. It
    proposes how the velocity is to change. It is asked for both orders of the images, and half the difference counts.
    What it says are coefficients of quadratic B-splines, as in `PyramidNetwork`.

    Args:
        dim: 2 or 3.
        hidden: channels of the state.
        channels: of the encoder, the same on every lattice.
        matched: channels of the encoder that are compared.
        steps: on each lattice, coarse to fine; the last is half as fine as the input, each half as fine as the next.
        spacing: mm of the input's voxels.
        norm: one of `blocks.NORMS`.

    Raises:
        OptionError: no lattice, or one without a step.

    Source: Putzky and Welling 2017, arXiv:1706.04008 (recurrent inference); Ballas et al. 2016, arXiv:1511.06432.
    """

    def __init__(
        self,
        dim: int = 3,
        hidden: int = 20,
        channels: int = 16,
        matched: int = 12,
        steps: tuple[int, ...] = (2, 2, 3),
        spacing: float = 2.0,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if not steps or min(steps) < 1:
            raise OptionError(f"steps is {steps}; expected one or more on each lattice, and a lattice.")
        self.options = {
            "dim": dim,
            "hidden": hidden,
            "channels": channels,
            "matched": matched,
            "steps": list(steps),
            "spacing": spacing,
            "norm": norm,
        }
        self.dim, self.spacing, self.steps, self.hidden = dim, spacing, steps, hidden
        self.multiple = 2 ** len(steps)
        self.body = Hourglass(dim, (channels,) * len(steps), 0, inward=2**dim, norm=norm)
        self.narrow = convolution(dim, channels, matched, size=1)
        self.trust = nn.Parameter(torch.tensor(-1.0))
        self.steepness = nn.Parameter(torch.tensor(3.4))
        told = 3**dim + 2 * (matched + _described(dim)) + 2 * dim + 2
        self.unit = _Unit(dim, told, hidden, norm)
        self.where: Tensor
        self.register_buffer("where", torch.from_numpy(offsets(dim)).float(), persistent=False)

    def forward(self, fixed: Tensor, moving: Tensor, weight: Tensor) -> list[Tensor]:
        """The velocities from fixed to moving.

        Args:
            fixed: `(batch, 1, *shape)` of any scale of intensity; every length a multiple of `multiple`.
            moving: likewise, on the same grid.
            weight: `(batch,)` how much smoothness counts beside likeness, above 0.

        Returns:
            Coefficients in voxels of their lattice, after every step; the last `(batch, dim, *shape / 2)`.
        """
        number, found = len(fixed), []
        images = standardised(torch.cat([fixed, moving]))
        levels = self.body.levels(packed(images))
        own = described(images, len(self.steps))
        velocity = torch.zeros(number, self.dim, *levels[0].shape[2:], device=fixed.device)
        state = torch.zeros(2 * number, self.hidden, *levels[0].shape[2:], device=fixed.device)
        share = torch.sigmoid(self.trust)
        for level, (x, descriptions, steps) in enumerate(zip(levels, own, self.steps)):
            if level:
                velocity = refined(velocity)
                state = F.interpolate(state, scale_factor=2, mode="nearest")
            learned = F.normalize(self.narrow(x).float(), dim=1)
            seen = _shrunk(images, x.shape[2:])
            features = torch.cat([learned * share.sqrt(), descriptions * (1 - share).sqrt(), seen], 1)
            asked = torch.stack([torch.log(weight).float(), torch.full_like(weight, level)], 1)
            for _ in range(steps):
                back, on = to_the_middle(velocity)
                one, other = warped(features[:number], back), warped(features[number:], on)
                change, state = self._proposed(one, other, state, asked)
                velocity = velocity + change
                found.append(velocity)
        return found

    def _proposed(self, one: Tensor, other: Tensor, state: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """How the velocity is to change, and the state after it.

        Args:
            one: features of the first image, carried to the middle; the last channel is the image.
            other: likewise of the second.
            state: `(2 * batch, hidden, *shape)`, for the images in this order and in the other.
            asked: `(batch, 2)` logarithm of the weight, and the lattice.
        """
        likeness = torch.cat([correlations(a[:, :-1], b[:, :-1]) for a, b in ((one, other), (other, one))])
        shares = torch.softmax(torch.exp(self.steepness) * mean(likeness), 1)
        where = mean(torch.einsum("bo...,od->bd...", shares, self.where).float())
        number = _described(self.dim)
        downhill = pull(one[:, -number - 1 : -1], other[:, -number - 1 : -1])
        both = torch.cat([torch.cat([one, other], 1), torch.cat([other, one], 1)])
        told = torch.cat([likeness, both, torch.cat([downhill, -downhill]), where], 1)
        proposed, state = self.unit(told, state, torch.cat([asked, asked]))
        there, back = (where + proposed).chunk(2)
        return (there - back) / 2, state


class _Unit(nn.Module):
    """A convolutional GRU, and what it proposes.

    Args:
        dim: 2 or 3.
        told: channels that come in.
        hidden: channels of the state.
        norm: one of `blocks.NORMS`.
    """

    def __init__(self, dim: int, told: int, hidden: int, norm: str) -> None:
        super().__init__()
        self.inward = convolution(dim, told, hidden, size=1)
        self.norm = normalisation(norm, dim, hidden)
        self.gates = convolution(dim, 2 * hidden, 2 * hidden)
        self.new = convolution(dim, 2 * hidden, hidden)
        self.tuned = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.1), nn.Linear(16, 2 * hidden))
        self.last = convolution(dim, hidden, dim)
        for layer in (self.last, self.tuned[-1]):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type] - these layers have both
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, told: Tensor, state: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, told, *shape)`, `(batch, hidden, *shape)` and `(batch, 2)` to what is proposed and the new state."""
        scale, shift = self.tuned(asked).float().chunk(2, 1)
        wide = (...,) + (None,) * (told.ndim - 2)
        x = self.norm(self.inward(told).contiguous()).float()
        x = F.leaky_relu(x * (1 + scale[wide]) + shift[wide], 0.1)
        keep, reset = torch.sigmoid(self.gates(torch.cat([x, state], 1)).float()).chunk(2, 1)
        new = torch.tanh(self.new(torch.cat([x, reset * state], 1)).float())
        state = keep * state + (1 - keep) * new
        return self.last(state).float(), state


@torch.no_grad()
def pull(one: Tensor, other: Tensor) -> Tensor:
    """Which way, and about how far (voxels, below 1), the flow from `one` to `other` is to change to make them alike.

    The gradient of their squared difference with respect to it, over its curvature: a Gauss–Newton step at each voxel,
    damped as in Thirion's demons.

    Args:
        one: `(batch, channel, *shape)` at the middle between the images.
        other: likewise.

    Returns:
        `(batch, dim, *shape)`; swapped ones give the negative.
    """
    apart, middle, dim = (one - other).float(), ((one + other) / 2).float(), one.ndim - 2
    slopes = [(torch.roll(middle, -1, axis) - torch.roll(middle, 1, axis)) / 2 for axis in range(2, one.ndim)]
    for axis, slope in enumerate(slopes, start=2):
        slope.narrow(axis, 0, 1).zero_()
        slope.narrow(axis, slope.shape[axis] - 1, 1).zero_()
    force = torch.stack([(apart * slope).sum(1) for slope in slopes], 1)
    curvature = sum(slope.square() for slope in slopes).sum(1, keepdim=True)  # type: ignore[union-attr] - no int
    return mean(force) / (mean(curvature + apart.square().sum(1, keepdim=True) / dim) + 1e-6)


def _described(dim: int) -> int:
    """Channels of MIND's descriptions."""
    return 12 if dim == 3 else 4


def _shrunk(images: Tensor, shape: torch.Size) -> Tensor:
    pool = F.avg_pool2d if images.ndim == 4 else F.avg_pool3d
    return pool(images, images.shape[2] // shape[0])
