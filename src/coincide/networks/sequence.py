"""A network that follows a moving anatomy through a series: where each frame lies against a reference."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coincide.errors import OptionError
from coincide.networks.blocks import Hourglass, convolution, packed, standardised
from coincide.networks.fit import fit_weighted
from coincide.networks.matching import expected, middles, reweighted

_SCALE = 5.0
"""What entries of matrices are multiplied by, to be numbers of about 1 for the recurrent part."""


class Course(NamedTuple):
    """What the network says of a series: matrices `(batch, frame, dim+1, dim+1)` float32, reference → frame.

    Places are counted from the middle of the field of view, in halves of its width. A frame that is not there has the
    observation of the one before it, and a `trust` of 0.

    Args:
        causal: from each frame and those before it.
        both: from all frames.
        observed: from each frame alone.
        first: likewise, at the first look.
        trust: `(batch, frame)`, how well the observation was settled, about 0 to 1.
    """

    causal: Tensor
    both: Tensor
    observed: Tensor
    first: Tensor
    trust: Tensor


class Memory(NamedTuple):
    """What the causal part keeps from frame to frame.

    Args:
        kept: `(1, dim+1, dim+1)` the last observation, None before the first frame.
        state: of the recurrent unit.
    """

    kept: Tensor | None
    state: Tensor

    @classmethod
    def blank(cls, network: SequenceNetwork) -> Memory:
        """Before the first frame."""
        return cls(None, torch.zeros(1, 1, network.hidden))


class SequenceNetwork(nn.Module):
    """An encoder that sees frames, a match with the reference's features, and recurrent units that follow the motion.

    Places of the reference are matched with all places of a frame by learned features; an affine fit through the
    matches, each weighted by how clear it is, is what the frame by itself says (`looks` times, each time laid on the
    reference by what was found before). One GRU runs over these observations in time, one against it; what they say is
    added to the observations. Any number of frames, square or cubic fields of view of any size.

    Args:
        dim: 2 or 3.
        channels: of the encoder's lattices, finest first; the first is half as fine as the input.
        matched: features of a place.
        hidden: size of the recurrent state.
        looks: how often a frame is looked at.
        ridge: how strongly the fit is held to a rigid one.
        norm: of the encoder, one of `blocks.NORMS`.

    Raises:
        OptionError: fewer than two lattices, or no look.
    """

    def __init__(
        self,
        dim: int = 2,
        channels: tuple[int, ...] = (16, 32, 48),
        matched: int = 32,
        hidden: int = 64,
        looks: int = 2,
        ridge: float = 0.02,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if len(channels) < 2 or looks < 1:
            raise OptionError(
                f"the network has {len(channels)} lattices and {looks} looks; expected two or more, and one or more."
            )
        self.options = {
            "dim": dim,
            "channels": list(channels),
            "matched": matched,
            "hidden": hidden,
            "looks": looks,
            "ridge": ridge,
            "norm": norm,
        }
        self.dim, self.hidden, self.looks, self.ridge = dim, hidden, looks, ridge
        self.multiple = 2 ** len(channels)
        self.body = Hourglass(dim, channels, 1, inward=2**dim, norm=norm)
        self.head = convolution(dim, channels[1], matched, size=1)
        self.sharpness = nn.Parameter(torch.tensor(2.5))
        self.clear = nn.Sequential(nn.Linear(matched + 1, 16), nn.LeakyReLU(0.1), nn.Linear(16, 1))
        numbers = dim * (dim + 1)
        self.ahead = nn.GRU(2 * numbers + 2, hidden, batch_first=True)
        self.back = nn.GRU(2 * numbers + 2, hidden, batch_first=True)
        self.causal, self.both = _silent(hidden, numbers), _silent(2 * hidden, numbers)

    def forward(self, frames: Tensor, seen: Tensor, reference: Tensor) -> Course:
        """Where the frames lie.

        Args:
            frames: `(batch, frame, 1, *shape)` of any scale of intensity, every length a multiple of `multiple`.
            seen: `(batch, frame)` bool, whether a frame is there.
            reference: `(batch, 1, *shape)`.
        """
        number, count = frames.shape[:2]
        here = self.described(reference).repeat_interleave(count, 0)
        observed, first, trust = self.observed(frames.flatten(0, 1), here)
        observed, first, trust = (x.reshape(number, count, *x.shape[1:]) for x in (observed, first, trust))
        return self.followed(observed, first, trust * seen, seen)

    def described(self, images: Tensor) -> Tensor:
        """What images `(batch, 1, *shape)` show, `(batch, matched, *shape / 4)`, of length 1 at every place."""
        return F.normalize(self.head(self.body(packed(standardised(images)))).float(), dim=1)

    def observed(self, frames: Tensor, here: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each frame says by itself.

        Args:
            frames: `(batch, 1, *shape)`.
            here: `described` references, one for each frame.

        Returns:
            Matrices at the last look and at the first, and how well they are settled.
        """
        found = torch.eye(self.dim + 1, device=frames.device).expand(len(frames), -1, -1)
        first, trust, shown = found, frames.new_zeros(len(frames)), frames
        for look in range(self.looks):
            if look:
                shown = laid(frames, found.detach())
            step, trust = self._fitted(here, self.described(shown))
            found = found.detach() @ step
            first = found if look == 0 else first
        return found, first, trust

    def scores(self, here: Tensor, there: Tensor) -> Tensor:
        """Logarithms of how alike places are, less a constant.

        Args:
            here: `(batch, matched, place)` features of the reference.
            there: `(batch, matched, *lattice)` features of the frames.

        Returns:
            `(batch, place, *lattice)`.
        """
        alike = here.mT @ there.flatten(2)
        return (alike * self.sharpness.exp()).reshape(*alike.shape[:2], *there.shape[2:])

    def followed(
        self,
        observed: Tensor,
        first: Tensor,
        trust: Tensor,
        seen: Tensor,
    ) -> Course:
        """The course through time of observations `(batch, frame, dim+1, dim+1)`, of which some are not `seen`."""
        kept = _held(observed, seen)
        state = self._state(kept, trust, seen)
        ahead, _ = self.ahead(state)
        back, _ = self.back(state.flip(1))
        told = torch.cat([ahead, back.flip(1)], -1)
        causal, both = (self._moved(kept, head) for head in (self.causal(ahead), self.both(told)))
        return Course(causal, both, kept, _held(first, seen), trust)

    def next(self, frame: Tensor | None, here: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Where one more frame lies: what `causal` of `Course` says, a frame at a time.

        Args:
            frame: `(1, 1, *shape)`, or None where it is missing.
            here: the `described` reference.
            memory: of the frames before.

        Returns:
            `(1, dim+1, dim+1)`, and the memory for the next frame.
        """
        still = torch.eye(self.dim + 1)[None]
        kept, trust = still if memory.kept is None else memory.kept, torch.zeros(1)
        if frame is not None:
            kept, _, trust = self.observed(frame, here)
        before = kept if memory.kept is None else memory.kept
        seen = torch.tensor([[frame is not None]])
        told = self._state(torch.stack([before, kept], 1), trust[:, None].expand(1, 2), seen.expand(1, 2))
        ahead, state = self.ahead(told[:, 1:], memory.state)
        return self._moved(kept[:, None], self.causal(ahead))[:, 0], Memory(kept, state)

    def _state(self, kept: Tensor, trust: Tensor, seen: Tensor) -> Tensor:
        """What the recurrent units are told of each frame: where it lies, how far it has come, and how sure that is."""
        place = (kept - torch.eye(self.dim + 1, device=kept.device))[:, :, :-1].flatten(2) * _SCALE
        step = F.pad(place.diff(dim=1), (0, 0, 1, 0))
        return torch.cat([place, 4 * step, trust[..., None], seen[..., None].to(place)], -1)

    def _moved(self, kept: Tensor, told: Tensor) -> Tensor:
        """Observations with what a recurrent unit says added."""
        change = told.float().reshape(*told.shape[:2], self.dim, self.dim + 1) / (4 * _SCALE)
        return kept + F.pad(change, (0, 0, 0, 1))

    def _fitted(self, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix through the matches of every second place of the reference, and how well it is settled."""
        every = (..., *(slice(None, None, 2),) * self.dim)
        own, shape = here[every].flatten(2), there.shape[2:]
        source = middles(here.shape[2:], here)[every].flatten(1).T
        target, peak = expected(self.scores(own, there), middles(shape, there))
        told = torch.cat([own.mT, peak.clamp(min=1e-6).log()[..., None]], -1)
        weights = torch.sigmoid(self.clear(told))[..., 0] * peak + 1e-6
        sources = source.expand(len(here), -1, -1)
        cell = 2 / max(shape)
        weights = reweighted(sources, target, weights, cell)
        matrix = fit_weighted(sources, target, weights, "affine", self.ridge).float()
        return matrix, weights.mean(1).clamp(max=1) * 4


def laid(frames: Tensor, matrices: Tensor) -> Tensor:
    """Frames `(batch, 1, *shape)` on the reference through matrices reference → frame, the border's value outside."""
    turned = matrices[:, :-1].clone()
    # torch counts the axes from the last one
    turned[:, :, :-1] = turned[:, :, :-1].flip(1, 2)
    turned[:, :, -1] = turned[:, :, -1].flip(1)
    unit = F.affine_grid(turned, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, unit.to(frames), padding_mode="border", align_corners=False)


def _silent(inward: int, outward: int) -> nn.Linear:
    """A layer that says nothing before it has learned."""
    layer = nn.Linear(inward, outward)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _held(observed: Tensor, seen: Tensor) -> Tensor:
    """Observations `(batch, frame, …)`, where not `seen` the last one before that was; the identity at first."""
    index = torch.arange(seen.shape[1], device=seen.device).expand_as(seen)
    last = torch.where(seen, index, -1).cummax(1).values
    rows = torch.arange(len(seen), device=seen.device)[:, None]
    held = observed[rows, last.clamp(min=0)]
    still = torch.eye(observed.shape[-1], device=observed.device, dtype=observed.dtype)
    return torch.where((last < 0)[..., None, None], still, held)
