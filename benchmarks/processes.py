"""Modules of ours in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from benchmarks.cases import ROOT
from benchmarks.peers.base import THREADS

TIMEOUT = 3600
THREAD_VARIABLES = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_module(module: str, *arguments) -> str:
    """Run a module with `THREADS` threads and return what it printed; it ends when we do.

    Raises:
        RuntimeError: it ended with an error, or ran for more than `TIMEOUT` seconds.
    """
    threads = dict.fromkeys(THREAD_VARIABLES, str(THREADS))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | threads | {"BENCH_BORN": repr(time.time()), "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except BaseException as end:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(end, subprocess.TimeoutExpired):
            raise RuntimeError(f"{module} ran for more than {TIMEOUT} s and was ended.") from None
        raise
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}: {(err or out).strip()[-1400:]}")
    return out
