"""Images that would not fit are refused before the work, with the estimate."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

PROGRAM = """
import resource, sys
import coincide.api
from coincide.cli import main
from coincide.ops.memory import _status
from pathlib import Path
room = _status("VmSize", Path("/")) + 1_500_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))
sys.exit(main())
"""


def save(path, side: int):
    """An image of `side`³ voxels, nearly empty: small on the disk."""
    values = np.zeros((side,) * 3, np.uint8)
    values[20:60, 30:50, 40:90] = np.arange(1, 51, dtype=np.uint8)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="needs ulimit -v that counts")
def test_a_run_that_would_not_fit_is_refused_with_the_estimate(tmp_path):
    large, small = save(tmp_path / "large.nii.gz", 250), save(tmp_path / "small.nii.gz", 100)
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "register",
        str(large),
        str(small),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 5, said
    assert "15,625,000 voxels needs about" in said
    assert "GB" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_500_million_voxels(tmp_path):
    large = save(tmp_path / "large.nii.gz", 800)
    command = [
        sys.executable,
        "-m",
        "coincide",
        "register",
        str(large),
        str(large),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 5, said
    assert "voxels needs about" in said
    assert not (tmp_path / "out").exists()
