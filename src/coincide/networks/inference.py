"""How networks are asked once they have learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def inference(device: str = "cpu") -> Iterator[None]:
    """Without gradients, and in 16 bits where the device has instructions for them: half the time.

    Args:
        device: torch's name of the device that the network is on.
    """
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=_has_bfloat16(device)):
        yield


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    # without the instructions, 16 bits are slower than 32
    told = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device == "cpu" and told is not None and bool(told())
