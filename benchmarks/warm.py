"""A warm run of coincide: `python -m benchmarks.warm JOB.json METHOD OUT`.

The process imports coincide and registers a small made-up pair first; then the files of the job are read,
registered and written by the same command. `OUT/run.json` says how long until transform and inverse were on disk.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.methods import TOOLS
from benchmarks.peers.base import Job
from benchmarks.peers.own import RAN
from benchmarks.worker import read_job


def main() -> None:
    job, tool, out = read_job(Path(sys.argv[1])), TOOLS[sys.argv[2]], Path(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        small = made_up(job.dim, Path(folder))
        _command(tool.arguments(small, Path(folder) / "out"))
    begun = time.time()
    code = _command(tool.arguments(job, out))
    if code not in RAN:
        raise SystemExit(f"coincide ended with exit code {code} in a warm process.")
    seconds = (out / "inverse.h5").stat().st_mtime - begun
    (out / "run.json").write_text(json.dumps({"warm_seconds": seconds}))


def made_up(dim: int, folder: Path) -> Job:
    """Two small images of a lopsided figure, one shifted, written to `folder`."""
    import nibabel as nib
    from scipy.ndimage import gaussian_filter, shift

    noise = gaussian_filter(np.random.default_rng(0).normal(size=(40, 44, 48)[:dim]), 3)
    fixed = np.where(noise > 0, 100 + 1000 * noise, 0).astype(np.float32)
    files = [folder / "fixed.nii.gz", folder / "moving.nii.gz"]
    for file, data in zip(files, (fixed, shift(fixed, (2, -1, 1)[:dim], order=1))):
        nib.save(nib.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0])), file)
    return Job(*files, dim, False)


def _command(arguments: list[str]) -> int:
    """Run `coincide` with `arguments` in this process, quietly; returns its exit code."""
    from coincide.cli import main as coincide

    with contextlib.redirect_stdout(io.StringIO()):
        return coincide(arguments)


if __name__ == "__main__":
    main()
