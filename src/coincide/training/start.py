"""What a run begins with: fresh weights, or others', some of them held or changed more slowly."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from torch import nn

from coincide.errors import OptionError
from coincide.networks.weights import chosen


@dataclass(frozen=True)
class Start:
    """Weights to begin with.

    Args:
        weights: `shipped`, or a file that a run wrote; fresh ones where empty.
        freeze: patterns (`"body.*"`) of the names of weights that stay as they are.
        unfreeze: step from which these change too; 0 for never.
        rates: by pattern, share of the learning rate for the weights of these names; the first that fits counts.

    Raises:
        OptionError: a share below 0, or a step below 0.
    """

    weights: str = ""
    freeze: tuple[str, ...] = ()
    unfreeze: int = 0
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for pattern, share in self.rates.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or share < 0:
                raise OptionError(f"start.rates: the share of {pattern!r} is {share!r}, expected 0 or more.")
        if self.unfreeze < 0:
            raise OptionError(f"start.unfreeze is {self.unfreeze}, expected 0 or more.")

    def fill(self, name: str, network: Any) -> None:
        """Give `network`, of the kind `name`, the weights to begin with.

        Raises:
            OptionError: weights of another kind, or of other options.
            InputError: no such file, or none of weights.
        """
        if not self.weights:
            return
        other = chosen(name, "" if self.weights == "shipped" else self.weights)
        if other.options != network.options:
            apart = [key for key, value in network.options.items() if other.options.get(key) != value]
            raise OptionError(
                f"start.weights, {self.weights}: is of a network with other {', '.join(apart)}; expected "
                f"{ {key: network.options[key] for key in apart} }, found "
                f"{ {key: other.options.get(key) for key in apart} }."
            )
        network.load_state_dict(other.state_dict())

    def groups(self, network: nn.Module) -> tuple[list[dict[str, Any]], list[tuple[float, bool]]]:
        """The weights of `network` by how they change, for an optimiser; and each group's share, and if it is frozen.

        Raises:
            OptionError: a pattern that fits no weight.
        """
        names = [name for name, _ in network.named_parameters()]
        for pattern in (*self.freeze, *self.rates):
            if not any(fnmatch(name, pattern) for name in names):
                known = ", ".join(sorted({name.split(".")[0] for name in names}))
                raise OptionError(
                    f"start: no weight is called {pattern!r}. Known: {known}, and what is below each ('body.*')."
                )
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, weight in network.named_parameters():
            share = next((s for pattern, s in self.rates.items() if fnmatch(name, pattern)), 1.0)
            frozen = any(fnmatch(name, pattern) for pattern in self.freeze)
            if frozen and not self.unfreeze:
                weight.requires_grad_(False)
                continue
            found.setdefault((float(share), frozen), []).append(weight)
        if not found:
            raise OptionError("start.freeze holds every weight: there is nothing left to learn.")
        return [{"params": weights} for weights in found.values()], list(found)

    def share(self, group: tuple[float, bool], step: int) -> float:
        """Share of the learning rate for a group at `step`."""
        share, frozen = group
        return 0.0 if frozen and step < self.unfreeze else share
