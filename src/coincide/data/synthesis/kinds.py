"""The anatomies by name."""

from __future__ import annotations

from functools import partial

import numpy as np

from coincide.data.synthesis.anatomy import Maker
from coincide.data.synthesis.blobs import blobs
from coincide.data.synthesis.body import TRUNK, paint_body
from coincide.data.synthesis.head import BRAIN, EXTENT, paint_head
from coincide.data.synthesis.maps import mapped
from coincide.data.synthesis.plans import Plan
from coincide.data.synthesis.skeleton import hand, knee

_IN_BRAIN = np.array([(-52.0, 52.0), (-88.0, 62.0), (-42.0, 66.0)])

HEAD = Plan(EXTENT, partial(paint_head, whole=True), _IN_BRAIN)
STRIPPED = Plan(BRAIN, partial(paint_head, whole=False), _IN_BRAIN)
BODY = Plan(TRUNK, paint_body, np.array([(-110.0, 110.0), (-60.0, 80.0), (-240.0, 210.0)]), fits=True)

ANATOMIES: dict[str, Maker] = {
    "blobs": blobs,
    "body": BODY,
    "brain": STRIPPED,
    "hand": hand,
    "head": HEAD,
    "knee": knee,
    "trunk_film": BODY.film,
    "tumour": HEAD,
}
"""Every anatomy that can be made; in 2-D, `head`, `brain`, `body` and `tumour` are slices."""

TUMOUR = "tumour"
"""A head in which a tumour grows, once there are images to see it in."""

MAPS = "maps"
"""The anatomies that a folder of label maps holds."""

FLAT = ("hand", "knee", "trunk_film")
"""Those that are radiographs, and have two dimensions only."""


def maker(name: str, folder: str) -> Maker:
    """What makes the anatomy `name`; `folder` is where label maps are."""
    return partial(mapped, folder=folder) if name == MAPS else ANATOMIES[name]
