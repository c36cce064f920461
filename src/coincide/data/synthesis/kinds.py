"""The anatomies by name."""

from __future__ import annotations

from coincide.data.synthesis.anatomy import Maker
from coincide.data.synthesis.blobs import blobs
from coincide.data.synthesis.heads import brain, head

ANATOMIES: dict[str, Maker] = {"blobs": blobs, "brain": brain, "head": head}
"""Every anatomy that can be made."""
