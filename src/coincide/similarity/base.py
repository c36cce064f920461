"""What a similarity is: how unlike two images on one grid are. It knows nothing of transforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from coincide.errors import DimensionError
from coincide.options import Checked


class Evaluation(NamedTuple):
    """A similarity's value and its derivatives with respect to every warped value.

    Args:
        value: lower is better; a mean over the weights, so it does not depend on resolution. `inf` where no
            voxel counts at all (then gradient and curvature are zero).
        gradient: `(C, *S)`, the exact derivative of `value` with respect to the warped features.
        curvature: `(*S)`, not negative: the diagonal weights h of the Gauss–Newton approximation of the
            second derivative. For a change `δW_c = ∇W_c · δ` of the warped channels,
            `value + Σ gradient·δW + ½ Σ_v h_v Σ_c δW_c²` is the model a step is taken from.
            Weights are already in it: it is zero where nothing counts.
    """

    value: float
    gradient: Tensor
    curvature: Tensor


class Prepared(ABC):
    """A similarity that knows its fixed image. Final classes hold what depends on the fixed image alone.

    Everywhere, `warped` is `(C, *S)`: the *features* of the moving image, warped onto the fixed grid; and
    `mask` is `(*S)`, bool or weights ≥ 0, of the moving side (inside the moving image and its mask). It is
    multiplied with the fixed mask that `prepare` was given.
    """

    @abstractmethod
    def reference(self, warped: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The value, differentiable, and the curvature `(*S)`, detached: plain torch, any device."""

    @abstractmethod
    def fused(self, warped: Tensor) -> bool:
        """Whether the compiled kernels take this: everything float32, on the CPU."""

    @abstractmethod
    def fused_value(self, warped: Tensor, mask: Tensor | None) -> float:
        """The value, from the compiled kernels."""

    @abstractmethod
    def fused_evaluation(self, warped: Tensor, mask: Tensor | None) -> Evaluation:
        """Value, gradient and curvature, from the compiled kernels."""

    def needed(self) -> np.ndarray | None:
        """The stretch of each row of a warped volume, as in `ops.rows`, beyond which nothing tells; None for all."""
        return None

    def value(self, warped: Tensor, mask: Tensor | None = None) -> float:
        """How unlike the two are; lower is better."""
        if self.fused(warped):
            with torch.no_grad():
                return self.fused_value(warped, mask)
        # a curvature may need derivatives of its own
        with torch.enable_grad():
            return float(self.reference(warped.detach(), mask)[0])

    def value_and_gradient(self, warped: Tensor, mask: Tensor | None = None) -> Evaluation:
        """The value and its derivatives with respect to `warped`."""
        if self.fused(warped):
            with torch.no_grad():
                return self.fused_evaluation(warped, mask)
        leaf = warped.detach().requires_grad_(True)
        with torch.enable_grad():
            value, curvature = self.reference(leaf, mask)
            (gradient,) = torch.autograd.grad(value, leaf)
        return Evaluation(float(value.detach()), gradient, curvature)

    def loss(self, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        """The value as a 0-dim tensor that can be differentiated (once) with respect to `warped`."""
        if self.fused(warped):
            return _FusedLoss.apply(warped, self, mask)
        return self.reference(warped, mask)[0]


@dataclass(frozen=True, eq=False)
class Weighed(Prepared):
    """A similarity to `fixed`, what is kept of the fixed image, under weights `(*S)`."""

    fixed: Tensor
    weights: Tensor

    def fused(self, warped: Tensor) -> bool:
        return all_float32_on_cpu(self.fixed, warped)


class Similarity(Checked, ABC):
    """How unlike two images on one grid are. A frozen dataclass of its options; final, and without state.

    Raises:
        OptionError: an option of another type, not finite, or out of the range its type states.
    """

    name: ClassVar[str]
    one_scale: ClassVar[bool] = False
    """Whether intensities are compared as they are, so that both images must be on one scale."""
    turns: ClassVar[bool] = True
    """Whether the features of a turned image are the turned features: what a linear registration needs."""

    @property
    @abstractmethod
    def worst(self) -> float:
        """What two unrelated images score: what voxels outside the moving image count as."""

    @abstractmethod
    def features(self, image: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """What of the moving image is to be warped: `(1, *S)` → `(C, *S)`.

        Args:
            image: `(C, *S)` values.
            mask: `(*S)` bool or weights: the voxels that may decide about a range of intensities.
        """

    @abstractmethod
    def prepare(self, fixed: Tensor, mask: Tensor | None = None) -> Prepared:
        """Work out whatever depends on the fixed image alone, once per pyramid level.

        Args:
            fixed: `(C, *S)` values of the fixed image (the image itself, not its features).
            mask: `(*S)` bool or weights ≥ 0 of the voxels that count, or None for all.
        """


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, warped: Tensor, prepared: Prepared, mask: Tensor | None) -> Tensor:
        evaluation = prepared.fused_evaluation(warped, mask)
        ctx.save_for_backward(evaluation.gradient)
        return warped.new_tensor(evaluation.value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor):
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def all_float32_on_cpu(*tensors: Tensor) -> bool:
    """Whether the compiled kernels take these tensors."""
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)


def weights_of(image: Tensor, mask: Tensor | None) -> Tensor:
    """The mask of an image `(C, *S)` as weights `(*S)` of the image's type; ones where there is no mask."""
    if mask is None:
        return torch.ones(image.shape[1:], dtype=image.dtype, device=image.device)
    if mask.shape != image.shape[1:]:
        raise DimensionError(f"the mask has shape {tuple(mask.shape)}, its image {tuple(image.shape[1:])}.")
    return mask.to(device=image.device, dtype=image.dtype).contiguous()


def combined(weights: Tensor, mask: Tensor | None) -> Tensor:
    """The fixed side's weights multiplied with the moving side's mask."""
    return weights if mask is None else weights * mask


def single_channel(image: Tensor, name: str) -> Tensor:
    """`image` if it has one channel.

    Raises:
        DimensionError: it has several.
    """
    if image.shape[0] != 1:
        raise DimensionError(
            f"{name} compares images of one channel, found {image.shape[0]}. Pick a channel first."
        )
    return image
