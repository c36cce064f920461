"""Which tools there are, by name, and which of them each task is given."""

from __future__ import annotations

from benchmarks.peers.ants import Ants
from benchmarks.peers.base import AbstractTool
from benchmarks.peers.convexadam import ConvexAdam
from benchmarks.peers.elastix import Elastix
from benchmarks.peers.greedy import Greedy
from benchmarks.peers.identity import Identity
from benchmarks.peers.own import Coincide

TOOLS: dict[str, AbstractTool] = {
    "identity": Identity(),
    "ants_syn": Ants("SyN"),
    "ants_synquick": Ants("antsRegistrationSyNQuick[s]"),
    "ants_affine": Ants("Affine"),
    "ants_rigid": Ants("Rigid"),
    "greedy": Greedy(),
    "greedy_affine": Greedy(deformable=False),
    "greedy_rigid_search": Greedy(deformable=False, dof=6, search="200 any 20"),
    "elastix": Elastix(),
    "elastix_rigid": Elastix(("rigid",)),
    "convexadam": ConvexAdam(),
    "coincide": Coincide(),
    "coincide:fast": Coincide(preset="fast"),
    "coincide:accurate": Coincide(preset="accurate"),
    "coincide:affine": Coincide(transform="affine"),
    "coincide:rigid": Coincide(transform="rigid"),
}

RIGID_TASKS = ("brain_rescan",)
RIGID = ("identity", "coincide:rigid", "ants_rigid", "greedy_rigid_search", "elastix_rigid")
DEFORMABLE = ("identity", "coincide", "greedy", "ants_synquick", "convexadam", "elastix", "ants_syn")
AFFINE = ("coincide:affine", "greedy_affine", "ants_affine")


def is_own(name: str) -> bool:
    """Whether `name` is coincide's, not a peer's."""
    return name.startswith("coincide")


def is_linear(name: str) -> bool:
    """Whether `name` ends at a rigid or affine transform."""
    return any(word in name for word in ("affine", "rigid"))


def default_methods(task: str) -> tuple[str, ...]:
    """The methods a task is compared by: rigid ones for rescans, else deformable ones."""
    if task in RIGID_TASKS:
        return RIGID
    return (*DEFORMABLE, *AFFINE) if task == "brain" else DEFORMABLE
