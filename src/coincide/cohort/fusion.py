"""Label fusion: several label maps of one image become one, with how sure each voxel is."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from coincide.cohort._fusion_kernels import JOINT, LOCAL, MAJORITY, fuse_voxels
from coincide.options import Checked, Positive, Range

_BLOCK = 3_000_000
"""Voxels, over all atlases, that are looked at together."""


@dataclass(frozen=True)
class AbstractFusion(Checked, ABC):
    """A rule by which atlases vote. A frozen dataclass of its options.

    Args:
        smooth: Gaussian over which an atlas votes for the labels round a place too, voxels: where an outline ends to
            the voxel is chance, in every atlas; 0 lets it vote for the one label alone.

    Raises:
        OptionError: a number out of its range.
    """

    smooth: Annotated[float, Range(0, 2)] = 0.75

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """The rule as the compiled loop takes it."""


@dataclass(frozen=True)
class Rule:
    """What the compiled loop is told.

    Args:
        kind: which weights.
        radius: of the patches, voxels.
        search: how far a better patch is looked for, voxels.
        sharpness: exponent of the weights.
        ridge: what keeps the weights from trusting any atlas wholly.
        smooth: Gaussian over which an atlas votes, voxels.
    """

    kind: int
    radius: int = 0
    search: int = 0
    sharpness: float = 1.0
    ridge: float = 0.0
    smooth: float = 0.0

    @property
    def halo(self) -> int:
        """How far from a voxel anything is looked at, voxels."""
        return max(self.radius, self.spread) + self.search

    @property
    def spread(self) -> int:
        """How far from a voxel labels are voted for, voxels."""
        return round(2 * self.smooth)


@dataclass(frozen=True)
class Majority(AbstractFusion):
    """Every atlas has one vote, whatever the images show; the lowest label wins a tie."""

    @property
    def rule(self) -> Rule:
        return Rule(MAJORITY, smooth=self.smooth)


@dataclass(frozen=True)
class PatchFusion(AbstractFusion):
    """What rules that compare patches of the images share.

    Args:
        radius: of the patches, voxels.
        search: how far round a voxel the most similar patch of an atlas is looked for, voxels; its label is taken.

    Raises:
        OptionError: a number out of its range.
    """

    radius: Annotated[int, Range(1, 8)] = 2
    search: Annotated[int, Range(0, 8)] = 1


@dataclass(frozen=True)
class Local(PatchFusion):
    """Atlases that look more like the target round a voxel have more weight there.

    The weight is the distance of the patches, brought to one mean and contrast, to the power of minus `power`
    (Artaechevarria et al. 2009, doi:10.1109/TMI.2009.2014372).

    Args:
        power: how much more the similar ones count.

    Raises:
        OptionError: a number out of its range.
    """

    power: Positive = 0.5

    @property
    def rule(self) -> Rule:
        return Rule(LOCAL, self.radius, self.search, self.power, 0.02, self.smooth)


@dataclass(frozen=True)
class Joint(PatchFusion):
    """As `local`, but atlases that err alike share one weight (joint label fusion).

    Wang et al. 2013, doi:10.1109/TPAMI.2012.143; weights below zero are set to zero.

    Args:
        sharpness: exponent of the errors: how much more the similar ones count.
        ridge: times the mean error that is added to each atlas's own: with few atlases their errors say little of how
            they err together, and a small one trusts them too far.

    Raises:
        OptionError: a number out of its range.
    """

    sharpness: Positive = 2.0
    ridge: Positive = 1.5

    @property
    def rule(self) -> Rule:
        return Rule(JOINT, self.radius, self.search, self.sharpness, self.ridge, self.smooth)


FUSIONS: dict[str, type[AbstractFusion]] = {"joint": Joint, "local": Local, "majority": Majority}
"""What users type after `--fusion`."""


def fuse(target: np.ndarray, images, labels, known, fusion: AbstractFusion) -> tuple[np.ndarray, np.ndarray]:
    """Several label maps as one.

    Voxels on which all agree are left as they are. Only a slab of the arrays is read at a time, so they may lie on
    the disk.

    Args:
        target: `(*shape)` float32, 2-D or 3-D.
        images: one `(*shape)` float32 array for each atlas, carried onto the target.
        labels: likewise, whole numbers.
        known: likewise, bool: where the atlas covers the target. Elsewhere it has no vote.
        fusion: the rule.

    Returns:
        The labels, `(*shape)`, 0 where no atlas is known, and the winner's share of the weights, float32.
    """
    shape = target.shape
    rule = fusion.rule
    flat = target.ndim == 2
    # maps of an unsigned and a signed type have no integer type in common but this
    dtype = np.result_type(*(layer.dtype for layer in labels))
    dtype = dtype if dtype.kind in "iu" else np.dtype(np.int64)
    radius = np.array([rule.radius] * target.ndim + [0] * flat)
    winner = np.zeros(shape, dtype)
    share = np.zeros(shape, np.float32)
    offsets, around = _offsets(rule.search, target.ndim), _offsets(rule.spread, target.ndim)
    around = around[(around**2).sum(1) <= rule.spread**2]
    near = np.exp(-(around**2).sum(1) / (2 * max(rule.smooth, 1e-3) ** 2))
    for low, high in _slabs(shape, len(images)):
        first, last = max(low - rule.halo, 0), min(high + rule.halo, shape[0])
        part = slice(first, last)
        voters = np.stack([layer[part].astype(np.int64) for layer in labels])  # one type for the loop
        there = np.stack([layer[part] for layer in known])
        inner = slice(low - first, high - first)
        settled, agreed = _agreed(voters[:, inner], there[:, inner])
        winner[low:high], share[low:high] = settled, agreed
        places = np.argwhere(~agreed & there[:, inner].any(0))
        places[:, 0] += low - first
        if not len(places):
            continue
        chosen, sure = np.empty(len(places), voters.dtype), np.empty(len(places), np.float64)
        deep = (slice(None),) * (target.ndim + 1) + (None,) * flat
        seen = (
            np.stack([layer[part] for layer in images]) if rule.radius else np.zeros(voters.shape, np.float32)
        )
        fuse_voxels(
            np.pad(places, ((0, 0), (0, int(flat)))),
            np.ascontiguousarray(target[part])[deep[1:]],
            seen[deep],
            voters[deep],
            there[deep],
            radius,
            offsets,
            around,
            near,
            rule.kind,
            rule.sharpness,
            rule.ridge,
            chosen,
            sure,
        )
        at = (places[:, 0] + first, *places[:, 1:].T)
        winner[at], share[at] = chosen, sure
    return winner, share


def _agreed(voters: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label on which all that are known agree, else 0; and where they do."""
    limits = np.iinfo(voters.dtype)
    least = np.where(there, voters, limits.max).min(0)
    most = np.where(there, voters, limits.min).max(0)
    agreed = (least == most) & there.any(0)
    return np.where(agreed, least, 0), agreed


def _offsets(reach: int, dim: int) -> np.ndarray:
    """Offsets within `reach` voxels along each axis, the nearest first, `(number, 3)`."""
    sides = [range(-reach, reach + 1)] * dim + [range(1)] * (3 - dim)
    return np.array(sorted(itertools.product(*sides), key=lambda o: (sum(x * x for x in o), o)))


def _slabs(shape: tuple[int, ...], atlases: int) -> Iterator[tuple[int, int]]:
    """First and last-plus-one plane of slabs that hold a few million voxels of all atlases together."""
    planes = max(4, _BLOCK // max(1, atlases * int(np.prod(shape[1:]))))
    for low in range(0, shape[0], planes):
        yield low, min(low + planes, shape[0])
