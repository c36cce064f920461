"""What is written appears whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from coincide.errors import CoincideError, OutputError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import whole_file, whole_folder, write_image, write_points, write_transform
from coincide.points import Points
from coincide.transforms import Displacement

GRID = Grid.from_spacing((40, 30, 20), 1.0)
NOISE = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 40, 30, 20)))

WRITERS = {
    "a.nii": lambda path: write_image(Image(NOISE[:1], GRID), path),
    "a.nii.gz": lambda path: write_image(Image(NOISE[:1], GRID), path),
    "a.mha": lambda path: write_image(Image(NOISE[:1], GRID), path),
    "a.tif": lambda path: write_image(Image(NOISE[0, :, :, 0], Grid.from_spacing((40, 30), 1.0)), path),
    "t.h5": lambda path: write_transform(Displacement(NOISE, GRID), path),
    "t.tfm": lambda path: write_transform(Displacement(NOISE, GRID), path),
    "t.nii.gz": lambda path: write_transform(Displacement(NOISE, GRID), path),
    "p.csv": lambda path: write_points(Points(NOISE.reshape(-1, 3).numpy()), path),
}


def fill(folder: Path, **contents: str) -> None:
    for name, text in contents.items():
        (folder / name).write_text(text)


def listed(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def interrupted(folder: Path, error, **contents: str) -> None:
    fill(folder, **contents)
    raise error


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_stood_there_is_replaced(tmp_path, name):
    (tmp_path / name).write_text("old")
    WRITERS[name](tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_size > 1000


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_io_atomic import WRITERS
from coincide.errors import OutputError
folder = Path({folder!r})
for name, write in WRITERS.items():
    write(folder / "warm" / name)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for name, write in WRITERS.items():
    try:
        write(folder / "out" / name)
    except OutputError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_old_files_and_nothing_else(tmp_path):
    """The system refuses to let any file grow past 3000 bytes."""
    for folder in ("warm", "out"):
        (tmp_path / folder).mkdir()
    for name in WRITERS:
        (tmp_path / "out" / name).write_text("old")
    code = FULL_DISK.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for name in WRITERS:
        assert f"{name}: cannot be written (" in done.stdout
    assert listed(tmp_path / "out") == dict.fromkeys(WRITERS, "old")


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_folder_is_named(tmp_path, name):
    with pytest.raises(OutputError, match="there is no folder"):
        WRITERS[name](tmp_path / "none" / name)
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        WRITERS[name](tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="ermission"):
        WRITERS["p.csv"](tmp_path / "p.csv")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, CoincideError])
def test_an_interrupted_write_leaves_nothing(tmp_path, error):
    with pytest.raises(error), whole_file(tmp_path / "a.txt") as scratch:
        interrupted(scratch.parent, error, **{scratch.name: "half"})
    assert list(tmp_path.iterdir()) == []


def test_the_scratch_file_keeps_the_suffix(tmp_path):
    with whole_file(tmp_path / "a.nii.gz") as scratch:
        assert scratch.name.endswith(".nii.gz")
        assert scratch.parent == tmp_path
        scratch.write_text("x")


# folders


def test_a_new_folder_appears_whole(tmp_path):
    with whole_folder(tmp_path / "x" / "y") as scratch:
        fill(scratch, a="1", b="2")
        assert not (tmp_path / "x" / "y").exists()
    assert listed(tmp_path / "x" / "y") == {"a": "1", "b": "2"}
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["y"]


def test_an_old_folder_keeps_what_is_not_replaced(tmp_path):
    fill(tmp_path, a="old", c="kept")
    with whole_folder(tmp_path) as scratch:
        fill(scratch, a="new", b="2")
        assert (tmp_path / "a").read_text() == "old"
    assert listed(tmp_path) == {"a": "new", "b": "2", "c": "kept"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, CoincideError])
def test_an_interrupted_folder_is_gone(tmp_path, error):
    with pytest.raises(error), whole_folder(tmp_path / "x" / "y") as scratch:
        interrupted(scratch, error, a="1")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_folder_that_stood_there_is_as_before(tmp_path):
    fill(tmp_path, a="old")
    with pytest.raises(OutputError), whole_folder(tmp_path) as scratch:
        interrupted(scratch, OSError(28, "No space left on device"), a="new")
    assert listed(tmp_path) == {"a": "old"}


def test_a_move_that_fails_is_undone(tmp_path, monkeypatch):
    fill(tmp_path, a="old a", b="old b")
    rename = os.rename

    def failing(source, target):
        if Path(target) == tmp_path / "b":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OutputError, match="Input/output"), whole_folder(tmp_path) as scratch:
        fill(scratch, a="new a", b="new b", c="new c")
    assert listed(tmp_path) == {"a": "old a", "b": "old b"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("file")
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "x") as scratch:
        fill(scratch, a="1")
    assert (tmp_path / "x").read_text() == "file"
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "x" / "y"):
        pass
