"""One level of demons: each voxel is pushed along an image's slope by what the images differ there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from coincide.ops.field import compose, exponentiate, warp
from coincide.ops.force import slope
from coincide.ops.moments import moments, total
from coincide.ops.smooth import gaussian
from coincide.optimise.deformable import Level, has_settled, known
from coincide.similarity.base import combined, weights_of

Forces = Literal["symmetric", "fixed", "moving"]


@dataclass(frozen=True)
class Push:
    """How a step of demons is made.

    Args:
        forces: whose slope pushes: the fixed image's, the moving one's, or the mean of both.
        diffeomorphic: whether steps are exponentiated and composed, or else added.
        linear: whether the moving image's brightness and contrast are fitted to the fixed one's before each step.
        step: the most a voxel moves in one step, in voxels.
        update_sigma: Gaussian on each step, in voxels.
        field_sigma: Gaussian on the field after each step, in voxels.
        tolerance: a level ends when ten steps gain less than this share of its gain.
    """

    forces: Forces
    diffeomorphic: bool
    linear: bool
    step: float
    update_sigma: float
    field_sigma: float
    tolerance: float


def follow_demons(
    level: Level,
    field: Tensor,
    push: Push,
    iterations: int,
    notify: Callable[[int, float], None] = lambda i, v: None,
) -> Tensor:
    """The field `(dim, *shape)` (voxels) that demons lead to from `field` on."""
    steady = slope(level.fixed)[0]
    # added steps need the slope of the moving image where it is looked at, composed ones that of the warped image
    given = None if push.diffeomorphic else slope(level.moving)[0].contiguous()
    values: list[float] = []
    for iteration in range(iterations):
        warped = warp(level.moving, field)
        weights = combined(weights_of(level.fixed, level.fixed_mask), known(level, field))
        gain, offset = gain_and_offset(level.fixed, warped, weights) if push.linear else (1.0, 0.0)
        warped = gain * warped + offset
        apart = level.fixed - warped
        values.append(total((weights * apart[0] ** 2).numpy().ravel()) / max(total(weights.numpy()), 1e-12))
        notify(iteration + 1, values[-1])
        if has_settled(values, push.tolerance):
            break
        own = slope(warped)[0] if given is None else gain * warp(given, field)
        direction = {"fixed": steady, "moving": own, "symmetric": 0.5 * (steady + own)}[push.forces]
        # the second summand keeps every step below `step`, and steps where the slope says nothing near zero
        length = direction.square().sum(0) + apart[0] ** 2 / (4 * push.step**2)
        update = gaussian((weights * apart[0] / length.clamp_min(1e-9)) * direction, push.update_sigma)
        field = compose(field, exponentiate(update)) if push.diffeomorphic else field + update
        field = gaussian(field.contiguous(), push.field_sigma)
    return field


def gain_and_offset(fixed: Tensor, warped: Tensor, weights: Tensor) -> tuple[float, float]:
    """The gain above 0 and the offset that bring `warped` nearest to `fixed`; 1 and 0 where nothing tells."""
    n, w, f, ww, _, wf = moments(
        warped.reshape(-1).numpy(), fixed.reshape(-1).numpy(), weights.reshape(-1).numpy()
    )
    spread, shared = n * ww - w * w, n * wf - w * f
    # nothing but noise is alike where the fit would all but flatten or turn over the contrast
    if spread <= 0 or shared <= 0.1 * spread:
        return 1.0, 0.0
    gain = shared / spread
    return gain, (f - gain * w) / n
