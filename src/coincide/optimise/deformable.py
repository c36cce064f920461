"""The coarse-to-fine loop of diffeomorphic registration by composed, smoothed steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coincide.grid import Grid
from coincide.ops.field import compose, nudge, warp
from coincide.ops.force import longest
from coincide.ops.sample import sample_affine
from coincide.ops.smooth import gaussian
from coincide.optimise.pull import pull_of
from coincide.similarity.base import Similarity


@dataclass(frozen=True)
class Rule:
    """How a step is made from the similarity's gradient.

    Args:
        force_sigma: Gaussian on each step, in voxels of the level.
        field_sigma: Gaussian on the whole field after each step, in voxels of the level.
        step: length of the longest vector of a step, in voxels of the level.
        tolerance: a level ends when the similarity gained less than this share of its total gain on the level over
            the last ten iterations; one of few voxels takes all of its steps.
        momentum: share of the last direction that the next step keeps.
    """

    force_sigma: float = 1.7
    field_sigma: float = 0.7
    step: float = 1.0
    tolerance: float = 0.002
    momentum: float = 0.0


@dataclass(frozen=True, eq=False)
class Level:
    """One level's images, all on `grid`; the moving one is there through the initial transform already.

    Args:
        grid: orthogonal.
        fixed: `(1, *shape)`.
        moving: `(1, *shape)`.
        fixed_mask: `(*shape)` bool or None.
        moving_mask: `(*shape)` bool, where the moving image is known, or None for everywhere.
        landmarks: index positions `(n, dim)` of the fixed landmarks and of where they should go, or None.
    """

    grid: Grid
    fixed: Tensor
    moving: Tensor
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None
    landmarks: tuple[np.ndarray, np.ndarray] | None = None


_MASK_EVERY = 10
_NEAR = 0.16
"""Newton length, in voxels, below which steps become shorter; measured to leave brains, livers and hands alone."""
_FEW = 80_000
"""Voxels of a level up to which its steps cost so little that none is saved; brains far apart gain by them."""
_SPREAD, _SLACK = 3.0, 0.1
"""How far a landmark's pull reaches (sigma of a Gaussian, voxels), and how much of its way it may miss where its
neighbours pull elsewhere, so that two that contradict each other tear nothing."""
_LOST = 0.1
"""Share of all that was gained that a step may lose; one that loses more would go to and fro for ever. Small losses are
the way out of small hollows: without them brains and livers end worse."""


def descend(
    level: Level,
    field: Tensor,
    similarity: Similarity,
    rule: Rule,
    iterations: int,
    notify: Callable[[int, float], None] = lambda i, v: None,
) -> Tensor:
    """Follow the similarity down from `field` `(dim, *shape)` (voxels of the level), and return where it ended."""
    pull = pull_of(
        similarity.prepare(level.fixed, level.fixed_mask),
        similarity.features(level.moving, mask=level.moving_mask),
    )
    values, seen, reach, ease = [], None, rule.step, 1.0
    # everything large is made once: fresh memory costs more than what is done with it
    field, spare, update = field.clone(), torch.empty_like(field), torch.empty_like(field)
    push = torch.zeros_like(field) if rule.momentum else update
    steer = None if level.landmarks is None else Steering(*level.landmarks, level.grid.shape)
    for iteration in range(iterations):
        if iteration % _MASK_EVERY == 0:
            seen = known(level, field)
        values.append(pull(field, seen, spare))
        notify(iteration + 1, values[-1])
        # landmarks may have far to go yet where the images have nothing more to say
        if steer is None and level.grid.size > _FEW and has_settled(values, rule.tolerance):
            break
        gaussian(spare, rule.force_sigma, out=update)
        if iteration % _MASK_EVERY == 0:
            newton = newton_length(update, pull.stiffness(), rule.force_sigma)
            reach = min(rule.step, (newton / _NEAR) ** 2)
        elif steer is None and values[-1] - values[-2] > _LOST * (values[0] - min(values)):
            ease *= 0.5
        if rule.momentum:
            torch.add(update, push, alpha=rule.momentum, out=push)
        length = longest(push)
        if length < 1e-20 and steer is None:
            break
        step, scale = push, -reach * ease / max(length, 1e-20)
        if steer is not None:
            step, scale = steer(field, push * scale, rule.step), 1.0
        (nudge if reach <= 1 and steer is None else compose)(field, step, scale, out=spare)
        gaussian(spare, rule.field_sigma, out=field)
    return field


def newton_length(downhill: Tensor, stiff: Tensor, sigma: float) -> float:
    """How far the similarity's own second-order model would move the voxels that it would move furthest, in voxels.

    A step of fixed length walks to and fro over an optimum; this tells when the optimum is nearer than the step.

    Args:
        downhill: the smoothed force `(dim, *shape)`.
        stiff: `ops.force.stiffness`, `(1, *shape)`.
        sigma: of the Gaussian on the force, voxels.
    """
    stiff = gaussian(stiff, sigma)[0]
    # one voxel in eight (in four) tells as much: both are smooth
    every = (slice(None, None, 2),) * stiff.ndim
    stiff, downhill = stiff[every], downhill[(slice(None), *every)]
    strong = stiff > 0.05 * stiff.max()
    if not bool(strong.any()):
        return 0.0
    lengths = downhill.square().sum(0).sqrt()[strong] / stiff[strong]
    return float(lengths.kthvalue(max(1, round(0.99 * lengths.numel()))).values)


def known(level: Level, field: Tensor) -> Tensor | None:
    """Where the warped moving image is known, `(*shape)` bool, or None for everywhere."""
    return (
        None if level.moving_mask is None else warp(level.moving_mask.to(field.dtype)[None], field)[0] > 0.99
    )


def compare(levels: list[Level], fields: list[Tensor], similarity: Similarity) -> list[float]:
    """The similarity of several candidates, `levels` with the same fixed image, where all of them are known."""
    warped = [
        warp(similarity.features(x.moving, mask=x.moving_mask), field) for x, field in zip(levels, fields)
    ]
    seen = [k for k in map(known, levels, fields) if k is not None]
    common = torch.stack(seen).all(0) if seen else None
    prepared = similarity.prepare(levels[0].fixed, levels[0].fixed_mask)
    return [prepared.value(w, common) for w in warped]


def has_settled(values: list[float], tolerance: float) -> bool:
    """Whether the last ten of `values` gained less than `tolerance` of what all of them did."""
    if len(values) < 20:
        return False
    recent, before = np.mean(values[-5:]), np.mean(values[-15:-10])
    return bool(before - recent < tolerance * max(values[0] - recent, 1e-12))


class Steering:
    """Changes steps so that they carry landmarks to their targets, as far as the length of a step allows.

    What a step would leave of a landmark's way is made up by a sum of Gaussians about the landmarks, solved for
    together: neighbours with different ways to go would blur one another's.

    Args:
        at: index positions of the landmarks, `(n, dim)`.
        target: where they should go, likewise.
        shape: of the field.
    """

    def __init__(self, at: np.ndarray, target: np.ndarray, shape: tuple[int, ...]):
        places = np.clip(np.rint(at), 0, np.asarray(shape) - 1).astype(int)
        self._here, self._flat = (
            tuple(places.T),
            torch.from_numpy(np.ravel_multi_index(tuple(places.T), shape)),
        )
        self._way = torch.as_tensor((target - at).T, dtype=torch.float32)
        apart = np.square(places[:, None] - places[None]).sum(-1)
        # the height of a Gaussian of unit weight
        height = (2 * np.pi * _SPREAD**2) ** (-len(shape) / 2)
        kernel = np.exp(-apart / (2 * _SPREAD**2)) + _SLACK * np.eye(len(places))
        self._solved = np.linalg.inv(kernel) / height

    def __call__(self, field: Tensor, update: Tensor, step: float) -> Tensor:
        """`update` `(dim, *shape)` (voxels), changed by `step` voxels at most."""
        here = (slice(None), *self._here)
        left = self._way - field[here] - update[here]
        change = torch.zeros_like(field)
        # a product of matrices may differ in its last bits from one number of threads to another
        weights = torch.from_numpy(np.einsum("an,nm->am", left.numpy(), self._solved)).to(field.dtype)
        change.view(len(change), -1).index_add_(1, self._flat, weights)
        change = gaussian(change, _SPREAD, edge=False)
        return update + change * min(1.0, step / max(longest(change), 1e-12))


def to_level(field: Tensor, source: Grid, target: Grid) -> Tensor:
    """`field` (voxels of `source`) on `target`, in its voxels; both grids have the same directions."""
    index = source.inverse_affine @ target.affine
    ratio = torch.as_tensor(source.spacing / target.spacing, dtype=field.dtype).reshape(-1, *[1] * source.dim)
    return sample_affine(field.contiguous(), index, target.shape, "edge").mul_(ratio)


def tapered(field: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """`field` (voxels) on a larger grid at whose border it has come down to zero smoothly.

    Beyond each face of its own border the field goes on with the border's value times a weight that falls over a
    distance of 2.5 times the longest displacement across that face, or half the longest along it, gently enough that
    nothing folds: what runs along a face only shears space as it falls.
    """
    faces = [(axis, end) for axis in range(field.ndim - 1) for end in (0, -1)]
    pads = np.reshape([_fall(field.select(axis + 1, end), axis) for axis, end in faces], (-1, 2))
    target = grid.cropped(-pads[:, 0], np.asarray(grid.shape) + pads[:, 1])
    wide = torch.nn.functional.pad(field[None], pads[::-1].flatten().tolist(), mode="replicate")[0]
    for (axis, end), pad in zip(faces, pads.flatten().tolist()):
        ramp = torch.arange(pad, dtype=field.dtype) / pad
        ramp = ramp * ramp * (3 - 2 * ramp)
        across = [-1 if a == axis + 1 else 1 for a in range(field.ndim)]
        if end == 0:
            wide.narrow(axis + 1, 0, pad).mul_(ramp.reshape(across))
        else:
            wide.narrow(axis + 1, wide.shape[axis + 1] - pad, pad).mul_(ramp.flip(0).reshape(across))
    return wide, target


def _fall(face: Tensor, axis: int) -> int:
    """Voxels over which the field falls to nothing beyond a face of its border, `(dim, *shape)`, across `axis`."""
    length = float(face.square().sum(0).max()) ** 0.5
    return int(np.ceil(2.5 * max(float(face[axis].abs().max()), length / 2))) + 2
