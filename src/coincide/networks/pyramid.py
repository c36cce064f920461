"""A network that matches what it sees in two images from coarse to fine, and answers with a velocity field."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.errors import OptionError
from coincide.networks.blocks import Block, Hourglass, convolution, mean, packed, standardised
from coincide.networks.flow import refined, to_the_middle, warped
from coincide.ops.mind import mind_ssc
from coincide.ops.neighbours import correlations, offsets


class PyramidNetwork(nn.Module):
    """Stationary velocities between two images on one grid, from coarse to fine; swapped images give the negative.

    One encoder looks at each image by itself; beside what it has learned to see stand MIND's descriptions, which need
    not be learned. On each lattice, coarse to fine, both images' features are carried to the middle between them along
    what was found before, compared at all neighbours of a voxel, and a small head says how much further they are apart.
    It is asked for both orders of the images, and half the difference counts: so `v(A, B) = −v(B, A)`, whatever it has
    learned. What it says are coefficients of quadratic B-splines, which are brought from lattice to lattice by
    subdivision: there is nothing rougher in the field than the lattice can hold.

    Args:
        dim: 2 or 3.
        channels: of the encoder's lattices and of the heads there; the first is half as fine as the input, and each
            half as fine as the one before.
        matched: channels of the encoder that are compared.
        rounds: how often each lattice is gone through, coarse to fine; the last is the first of the encoder's.
        spacing: mm of the input's voxels.
        norm: of the encoder, one of `blocks.NORMS`.
        symmetric: whether both orders of the images are asked; with one alone a step takes half the heads' time, and
            swapped images give another field.

    Raises:
        OptionError: more lattices to go through than there are.
    """

    def __init__(
        self,
        dim: int = 3,
        channels: tuple[int, ...] = (32, 32, 32),
        matched: int = 16,
        rounds: tuple[int, ...] = (1, 2, 2),
        spacing: float = 2.0,
        norm: str = "instance",
        symmetric: bool = True,
    ) -> None:
        super().__init__()
        if not 0 < len(rounds) <= len(channels):
            raise OptionError(
                f"{len(rounds)} lattices are to be gone through, and the encoder has {len(channels)}; expected at "
                "least one, and no more than there are."
            )
        self.options = {
            "dim": dim,
            "channels": list(channels),
            "matched": matched,
            "rounds": list(rounds),
            "spacing": spacing,
            "norm": norm,
            "symmetric": symmetric,
        }
        self.dim, self.spacing, self.rounds = dim, spacing, rounds
        self.multiple = 2 ** len(channels)
        wide = channels[: len(rounds)][::-1]
        self.body = Hourglass(dim, channels, 0, inward=2**dim, norm=norm)
        self.narrow = nn.ModuleList(convolution(dim, n, matched, size=1) for n in wide)
        self.trust = nn.ParameterList(nn.Parameter(torch.tensor(-1.0)) for _ in wide)
        self.heads = nn.ModuleList(_Head(dim, matched + (12 if dim == 3 else 4), n, symmetric) for n in wide)

    def forward(self, fixed: Tensor, moving: Tensor, weight: Tensor) -> list[Tensor]:
        """The velocities from fixed to moving.

        Args:
            fixed: `(batch, 1, *shape)` of any scale of intensity; every length a multiple of `multiple`.
            moving: likewise, on the same grid.
            weight: `(batch,)` how much smoothness counts beside likeness, above 0.

        Returns:
            Coefficients in voxels of their lattice, coarse to fine; the last `(batch, dim, *shape / 2)`.
        """
        number, found = len(fixed), []
        images = standardised(torch.cat([fixed, moving]))
        levels = self.body.levels(packed(images))[-len(self.rounds) :]
        velocity = torch.zeros(number, self.dim, *levels[0].shape[2:], device=fixed.device)
        asked = torch.log(weight)[:, None].float()
        told = described(images, len(self.rounds))
        for x, own, narrow, trust, head, rounds in zip(
            levels, told, self.narrow, self.trust, self.heads, self.rounds
        ):
            if found:
                velocity = refined(found[-1])
            share = torch.sigmoid(trust)
            learned = F.normalize(narrow(x).float(), dim=1)
            features = torch.cat([learned * share.sqrt(), own * (1 - share).sqrt()], 1)
            for _ in range(rounds):
                back, on = to_the_middle(velocity)
                one, other = warped(features[:number], back), warped(features[number:], on)
                velocity = velocity + head(one, other, asked)
            found.append(velocity)
        return found


@torch.no_grad()
def described(images: Tensor, number: int) -> list[Tensor]:
    """MIND of images `(batch, 1, *shape)` on `number` lattices, coarse to fine, each voxel's as a vector of length 1.

    On each lattice it is that of the image twice as fine.
    """
    pool, found = (F.avg_pool2d if images.ndim == 4 else F.avg_pool3d), []
    for _ in range(number):
        channels = torch.stack([mind_ssc(image, 1, 1) for image in images])
        found.append(F.normalize(pool(channels - channels.mean(1, keepdim=True), 2), dim=1))
        images = pool(images, 2)
    return found[::-1]


class _Head(nn.Module):
    """How much further two sets of features are apart, in voxels; swapped ones give the negative.

    The middle of the neighbours, each as likely as it looks in a window of 3 voxels, smoothed likewise, is about right
    already where both images have one contrast; what is learned on top of it begins with nothing.
    """

    def __init__(self, dim: int, matched: int, hidden: int, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        steps = torch.from_numpy(offsets(dim)).float()
        self.steps: Tensor
        self.register_buffer("steps", steps, persistent=False)
        self.steepness = nn.Parameter(torch.tensor(3.4))
        self.first = Block(dim, len(steps) + matched, hidden)
        self.second = Block(dim, hidden, hidden)
        self.last = convolution(dim, hidden, dim)
        self.tuned = nn.Sequential(nn.Linear(1, 16), nn.LeakyReLU(0.1), nn.Linear(16, 2 * hidden))
        for layer in (self.last, self.tuned[-1]):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type] - these layers have both
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, one: Tensor, other: Tensor, asked: Tensor) -> Tensor:
        """`(batch, matched, *shape)` twice, and `(batch, 1)` logarithms of weights, to `(batch, dim, *shape)`."""
        orders = [(one, other), (other, one)] if self.symmetric else [(one, other)]
        likeness = torch.cat([correlations(a, b) for a, b in orders])
        shares = torch.softmax(torch.exp(self.steepness) * mean(likeness), 1)
        where = mean(torch.einsum("bo...,od->bd...", shares, self.steps).float())
        x = self.first(torch.cat([likeness, torch.cat([a for a, _ in orders])], 1))
        scale, shift = self.tuned(torch.cat([asked] * len(orders))).float().chunk(2, 1)
        wide = (...,) + (None,) * (one.ndim - 2)
        x = self.second(x * (1 + scale[wide]) + shift[wide])
        further = where + self.last(x).float()
        if not self.symmetric:
            return further
        there, back = further.chunk(2)
        return (there - back) / 2
