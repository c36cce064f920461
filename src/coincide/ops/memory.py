"""How much memory this process may still take, by the container's limit rather than the host's size."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from coincide.errors import ResourceError

DEFORMED = 190
"""Peak bytes beyond the images for each voxel that is deformed, measured on brains of 5 to 8 M voxels."""
_UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2**63."""


def available(root: Path = Path("/")) -> int | None:
    """Bytes this process may still take before the system kills it, or None where that cannot be known.

    The least of: the memory the kernel calls available, what every enclosing cgroup (v1 or v2) leaves, and
    what `ulimit -v` leaves.

    Args:
        root: where `/proc` and `/sys` are looked up.
    """
    rooms = [*_cgroup_rooms(root), *_meminfo_room(root), *_ulimit_room(root)]
    return max(min(rooms), 0) if rooms else None


def require(needed: int, what: str, way_out: str, root: Path = Path("/")) -> None:
    """Refuse work that would not fit, before it starts.

    Args:
        needed: estimated peak, bytes beyond what the process holds now.
        what: what the memory is for, as the message's beginning: `"registering 500,000,000 voxels"`.
        way_out: what the user can do, a sentence.
        root: where `/proc` and `/sys` are looked up.

    Raises:
        ResourceError: `needed` is more than `available()`.
    """
    room = available(root)
    if room is not None and needed > room:
        raise ResourceError(
            f"{what} needs about {as_text(needed)} of memory, {as_text(room)} can be had. {way_out}"
        )


def peak() -> int:
    """The most memory this process has held so far, bytes; 0 where the system does not tell."""
    high = _status("VmHWM", Path("/"))
    if high is not None:
        return high
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def as_text(size: float) -> str:
    """Bytes for people: `"1.5 GB"`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _cgroup_rooms(root: Path) -> list[int]:
    rooms = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            base = root / "sys/fs/cgroup/memory"
        else:
            continue
        # Inside a container the path may be the host's, and only the mount's root is there: walk up to it.
        folder = base / path.strip("/")
        while True:
            rooms += _cgroup_room(folder, *names)
            if folder == base:
                break
            folder = folder.parent
    return rooms


def _cgroup_room(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> list[int]:
    limit = _text(folder / limit_name).strip()
    if not limit.isdigit() or int(limit) > _UNLIMITED:
        return []
    usage = _text(folder / usage_name).strip()
    stat = dict(line.split(None, 1) for line in _text(folder / "memory.stat").splitlines())
    # The kernel drops cached files before it kills anybody.
    return [int(limit) - int(usage or 0) + int(stat.get(cache_name, 0))]


def _meminfo_room(root: Path) -> list[int]:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return [int(line.split()[1]) * 1024]
    try:
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):
        return []


def _ulimit_room(root: Path) -> list[int]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _status("VmSize", root)
    return [] if soft == resource.RLIM_INFINITY or used is None else [soft - used]


def _status(key: str, root: Path) -> int | None:
    for line in _text(root / "proc/self/status").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
