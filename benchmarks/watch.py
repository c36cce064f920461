"""How busy others kept the machine during a run."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

STAT = Path("/proc/stat")


class Watch:
    """Counts the CPU seconds of the whole machine and of this process' children from its making on."""

    def __init__(self) -> None:
        self._start = time.monotonic(), _machine(), _children()

    def others(self) -> float | None:
        """Mean number of cores kept busy by others since the start; None where the system does not tell."""
        begun, machine, children = self._start
        now = _machine()
        if machine is None or now is None:
            return None
        return max(0.0, (now - machine - (_children() - children)) / (time.monotonic() - begun))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _machine() -> float | None:
    """CPU seconds all cores have spent on work, waiting for disks not counted."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, soft, steal = (
        int(v) for v in STAT.read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
