"""The wrappers of other tools point the right way: a known motion with three different shifts comes back."""

import numpy as np
import pytest
from benchmarks.as_method import ToolMethod
from benchmarks.methods import TOOLS

from coincide.grid import Grid
from coincide.image import Image
from coincide.pair import Pair
from coincide.transforms.linear import rigid

PACKAGES = {"ants": "ants", "greedy": "picsl_greedy", "elastix": "itk", "convexadam": "convexAdam"}
MOTIONS = {2: rigid(7, (6, -4), (3, 2)), 3: rigid((7, -11, 5), (6, -4, 3), (3, 2, -1))}
PEERS = [name for name in TOOLS if not name.startswith(("coincide", "identity"))]


def mottled(world: np.ndarray) -> np.ndarray:
    """Brightness at `world` positions (mm): sixty spots of all sizes, most of them near the middle."""
    draw = np.random.default_rng(5)
    total = np.zeros(world.shape[:-1])
    for _ in range(60):
        centre, width = draw.normal(0, 14, 3)[: world.shape[-1]], draw.uniform(3, 8)
        total += draw.uniform(30, 100) * np.exp(-(((world - centre) / width) ** 2).sum(-1))
    return total.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("dim", [2, 3])
def test_a_peer_finds_a_known_motion(name, dim):
    pytest.importorskip(PACKAGES[name.split("_", maxsplit=1)[0]])
    if dim not in TOOLS[name].dims:
        pytest.skip(f"{name} does not do {dim}-D")
    truth = MOTIONS[dim]
    fixed = Grid.from_spacing((48, 52, 44)[:dim], 2.0, (47, -50, -43)[:dim], np.diag((-1, 1, 1)[:dim]))
    moving = Grid.from_spacing((56, 60, 50)[:dim], 2.1, (-50, -68, -45)[:dim])
    pair = Pair(
        Image(mottled(fixed.points()), fixed), Image(mottled(truth.inverse()(moving.points())), moving)
    )
    found = ToolMethod(TOOLS[name]).solve(pair).transform
    inner = fixed.points().reshape(-1, dim)
    inner = inner[np.abs(inner).max(1) < 18]
    moved, expected = ((t(inner) - inner).mean(0) for t in (found, truth))
    assert moved == pytest.approx(expected, abs=2.0), (
        "a flipped sign or a swapped direction is off by 4 mm and more"
    )
