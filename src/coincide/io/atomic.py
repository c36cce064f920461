"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coincide.errors import CoincideError, OutputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A scratch file beside `path`, of the same suffix, that takes its place when the block ends well.

    If the block raises, or the scratch file was never written, `path` stays as it was and nothing is left
    behind.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}. Make it first.")
    scratch = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        with _told(path):
            yield scratch
            os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A scratch folder whose files appear in `folder` all together when the block ends well.

    `folder` is made, with its parents, where it is missing; files it already holds are kept, or replaced by
    those of the same name. If anything fails on the way, `folder` is as it was before, or gone if it was not
    there.

    Raises:
        OutputError: `folder` is a file, not writable, or the disk is full.
    """
    folder = Path(folder).resolve()
    token = f".{secrets.token_hex(4)}.partial"
    with _told(folder):
        made = _make_parents(folder)
        scratch = folder / token if folder.is_dir() else folder.with_name(token)
        try:
            scratch.mkdir()
            yield scratch
            if scratch.parent == folder:
                _move_into(folder, scratch)
            else:
                os.rename(scratch, folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            for parent in reversed(made):
                parent.rmdir()
            raise
        shutil.rmtree(scratch, ignore_errors=True)


def check_writable(folder: str | Path) -> None:
    """Make sure that `folder` can be made, and a file in it; both are taken away again.

    Raises:
        OutputError: it cannot.
    """
    folder = Path(folder).absolute()
    with _told(folder):
        made = _make_parents(folder / "file")
        probe = folder / f".{secrets.token_hex(4)}.probe"
        try:
            probe.touch()
            probe.unlink()
        finally:
            for parent in reversed(made):
                parent.rmdir()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the system's complaints into one that says where and what to do."""
    try:
        yield
    except CoincideError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: cannot be written ({reason}); nothing was left behind. "
            "Check the folder, its permissions and the space on the disk."
        ) from error


def _make_parents(folder: Path) -> list[Path]:
    """Make the missing folders above `folder`; which ones, outermost first."""
    missing = [p for p in folder.parents if not p.exists()][::-1]
    made: list[Path] = []
    try:
        for parent in missing:
            parent.mkdir()
            made.append(parent)
    except OSError:
        for parent in reversed(made):
            parent.rmdir()
        raise
    return made


def _move_into(folder: Path, scratch: Path) -> None:
    """Move what `scratch` holds into `folder`; if one move fails, undo those before it."""
    new = sorted(scratch.iterdir())
    kept = scratch / "kept"
    kept.mkdir()
    moved: list[Path] = []
    try:
        for source in new:
            target = folder / source.name
            if target.exists():
                os.rename(target, kept / source.name)
            moved.append(target)
            os.rename(source, target)
    except OSError:
        for target in moved:
            old = kept / target.name
            if old.exists():
                os.replace(old, target)
            else:
                target.unlink(missing_ok=True)
        raise
