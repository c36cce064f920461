"""One run of one tool in a process of its own: `python -m benchmarks.worker JOB.json METHOD OUT`.

Writes `OUT/run.json`: seconds from files to saved transform, the same from the process' start (which counts
the imports), CPU seconds and peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.methods import TOOLS, is_own
from benchmarks.peers.base import Job


def read_job(path: Path) -> Job:
    """The job that the runner wrote."""
    raw = json.loads(path.read_text())
    return Job(Path(raw["fixed"]), Path(raw["moving"]), raw["dim"], raw["multimodal"])


def write_job(job: Job, path: Path) -> None:
    """Write `job` for `read_job`."""
    path.write_text(json.dumps(asdict(job), default=str))


def main() -> None:
    job, name, out = read_job(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
    born = float(os.environ.get("BENCH_BORN", time.time()))
    tool = TOOLS[name]
    tool.load()
    begun = time.time()
    if is_own(name):
        # Our command is a process of its own; this one is no part of it.
        born = begun
    tool.run(job, out)
    ended = time.time()
    saved = _written(out / "inverse.h5", ended) if is_own(name) else ended
    record = {"seconds": saved - begun, "cold_seconds": saved - born, "process_seconds": ended - born}
    (out / "run.json").write_text(json.dumps(record | _resources()))


def _written(path: Path, otherwise: float) -> float:
    """When `path` was last written; our command measures and reports after transform and inverse are saved."""
    return path.stat().st_mtime if path.exists() else otherwise


def _resources() -> dict[str, float]:
    """CPU seconds of this process and its children, and the larger of their peak memories in MB."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(u.ru_utime + u.ru_stime for u in (own, children))
    return {"cpu_seconds": cpu, "peak_mb": max(own.ru_maxrss, children.ru_maxrss) / 1024}


if __name__ == "__main__":
    main()
