"""A run that is stopped from outside: by Ctrl-C, by the system, in the middle of work or of writing."""

import signal
import subprocess
import sys

import numpy as np
import pytest

import coincide

# A program like `coincide`, but with a method that takes its time, and with a slow disk if asked for.
PROGRAM = """
import sys, time
from dataclasses import dataclass
import coincide.io, coincide.methods
from coincide.cli import main
from coincide.methods import AbstractMethod, Context, Solution
from coincide.optimise.progress import Event
from coincide.transforms import translation

@dataclass(frozen=True)
class Slow(AbstractMethod):
    seconds: float = 60.0

    def solve(self, pair, context=Context()):
        end = time.monotonic() + self.seconds
        context.progress(Event("slow", "slow work begins"))
        while time.monotonic() < end:
            time.sleep(0.01)
            context.progress(Event("slow", level=1, levels=1, value=1.0))
        return Solution(translation((1.0, 2.0, 3.0)))

def slow_write(image, path):
    print("slow disk", flush=True)
    path.write_text("half an image")
    time.sleep(60)

coincide.methods.METHODS["slow"] = "__main__:Slow"
if sys.argv.pop(1) == "slow-disk":
    coincide.io.write_image = slow_write
sys.exit(main())
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def started(tmp_path, small_pair):
    """Starts the program and waits until it has said `sign`."""
    for name, image in zip(("fixed", "moving"), small_pair):
        coincide.write_image(image, tmp_path / f"{name}.nii.gz")
    running = []

    def call(sign, disk="disk", method="slow"):
        command = [sys.executable, "-u", "-c", PROGRAM, disk, "register", "fixed.nii.gz", "moving.nii.gz"]
        process = subprocess.Popen(
            [*command, "--out", "out", "--method", method],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            # a test run in the background may have been told to ignore Ctrl-C, and would hand that on
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        running.append(process)
        said = []
        for line in process.stdout:
            said.append(line)
            if sign in line:
                return process
        raise AssertionError("".join(said))

    yield call
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_at_work_nothing_is_written(started, tmp_path, number, code):
    process = started("slow work begins")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert ("interrupted" in said) == (number == signal.SIGINT)
    assert {p.name for p in tmp_path.iterdir()} == {"fixed.nii.gz", "moving.nii.gz"}


def test_stopped_while_writing_only_whole_files_are_left(started, tmp_path):
    process = started("slow disk", disk="slow-disk", method="slow:seconds=0")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"transform.h5", "inverse.h5"}


def test_killed_while_writing_the_transform_is_safe(started, tmp_path):
    process = started("slow disk", disk="slow-disk", method="slow:seconds=0")
    process.kill()
    process.communicate(timeout=60)
    # What could not be cleaned away hides behind a dot; no name of the contract holds half a file.
    assert {p.name for p in (tmp_path / "out").glob("[!.]*")} == {"transform.h5", "inverse.h5"}
    transform = coincide.read_transform(tmp_path / "out" / "transform.h5")
    assert np.allclose(transform([[0, 0, 0]]), [[1, 2, 3]])
