"""Data sets from a folder, a CSV table or a BIDS tree. Nothing is opened but the table."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from coincide.data.cases import PARTS, Case, CasePair, DataSet
from coincide.data.problems import DataSetError, Problem
from coincide.errors import MissingFileError, UnreadableFileError
from coincide.io.images import FORMATS

SUFFIXES = tuple(suffix for known in FORMATS.values() for suffix in known)
COMPANIONS = {"labels": SUFFIXES, "mask": SUFFIXES, "points": (".csv",)}
"""What may lie beside an image `NAME.nii.gz`: `NAME_labels.nii.gz`, or a file of its name in a folder `labels`."""
_SIDES = ("fixed", "moving")


def read_data_set(source: str | Path) -> DataSet:
    """The data set at `source`: a CSV table, a BIDS tree (it holds `dataset_description.json`), or a folder.

    Raises:
        MissingFileError: there is nothing there, or no image in it.
        UnreadableFileError: a table that is none.
        DataSetError: a table with rows that cannot be used.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return from_csv(path)
    if (path / "dataset_description.json").is_file():
        return from_bids(path)
    return from_folder(path)


def from_folder(folder: str | Path, subject: str = "") -> DataSet:
    """Every image in `folder` and below, with the labels, mask and points that go by its name.

    Args:
        folder: where to look.
        subject: a regular expression whose first group, found in the path below `folder`, names the subject. Where
            left out: `sub-NAME` if the path holds it, else the first folder below `folder`, else the file's own name.

    Raises:
        MissingFileError: no such folder, or no image in it.
    """
    root = _folder(folder)
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    images = [p for p in files if _is(p, SUFFIXES) and _role(p, root) == ""]
    if not images:
        raise MissingFileError(f"{root}: holds no image; expected {', '.join(SUFFIXES)}.")
    known = {(_role(p, root), _key(p, root)): p for p in files if _is(p, COMPANIONS.get(_role(p, root), ()))}
    return DataSet(
        tuple(
            Case(image, _subject(image.relative_to(root), subject), *_companions(known, _key(image, root)))
            for image in images
        ),
        source=root,
    )


def from_bids(folder: str | Path, suffix: str = "") -> DataSet:
    """The anatomical images of a BIDS tree, with the label maps (`_dseg`) and brain masks of its derivatives.

    Args:
        folder: the tree's root.
        suffix: which images to take, `T1w` say; all where left out.

    Raises:
        MissingFileError: no such folder, or no such image in it.
    """
    root = _folder(folder)
    found = sorted(p for p in root.glob("sub-*/**/anat/sub-*") if _is(p, SUFFIXES))
    images = [p for p in found if _stem(p).endswith(f"_{suffix}") or not suffix]
    if not images:
        raise MissingFileError(f"{root}: holds no {suffix or 'anatomical'} image under sub-*/anat.")
    derived = sorted(p for p in root.glob("derivatives/**/sub-*") if _is(p, SUFFIXES))
    cases = []
    for image in images:
        # what belongs to an image has all of its entities, and more
        entities = set(_stem(image).split("_")[:-1])
        own = [p for p in derived if entities <= set(_stem(p).split("_")) and "space-" not in p.name]
        labels, mask = (
            next((p for p in own if _stem(p).endswith(end)), None) for end in ("_dseg", "_desc-brain_mask")
        )
        cases.append(Case(image, image.name.split("_")[0].removeprefix("sub-"), labels, mask))
    return DataSet(tuple(cases), source=root)


def from_csv(path: str | Path) -> DataSet:
    """A table of images, or of pairs; files are named from the table's folder on.

    A table of images has the column `image`, and may have `subject`, `labels`, `mask`, `points`, `part` and `name`. A
    table of pairs has `fixed` and `moving`, may have `fixed_labels`, `moving_mask` … and `truth`; `subject` and `part`
    stand for both, `fixed_subject` for one.

    Raises:
        MissingFileError: there is no such table.
        UnreadableFileError: it is no table of either kind.
        DataSetError: a row names no image, or a part that is none of `PARTS`.
    """
    path = Path(path).expanduser()
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such table.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFileError(f"{path}: is no CSV table ({error}).") from error
    columns = set(rows[0]) if rows else set()
    paired = set(_SIDES) <= columns
    if not paired and "image" not in columns:
        raise UnreadableFileError(
            f"{path}: has the columns {', '.join(map(str, columns)) or 'none'}; expected image, or fixed and moving."
        )
    problems = [p for line, row in enumerate(rows, 2) for p in _bad_row(path, line, row, paired)]
    if problems:
        raise DataSetError(path, problems)
    if not paired:
        return DataSet(tuple(_case(path.parent, row, "") for row in rows), source=path)
    pairs = tuple(
        CasePair(
            _case(path.parent, row, "fixed"),
            _case(path.parent, row, "moving"),
            _file(path.parent, row.get("truth")),
        )
        for row in rows
    )
    return DataSet(tuple(dict.fromkeys(c for p in pairs for c in (p.fixed, p.moving))), pairs, path)


def _bad_row(path: Path, line: int, row: dict[str, str], paired: bool) -> list[Problem]:
    where = f"{path}, line {line}"
    empty = [column for column in (_SIDES if paired else ("image",)) if not (row.get(column) or "").strip()]
    problems = [Problem("missing", where, f"{where}: names no file under {column!r}.") for column in empty]
    part = (row.get("part") or "").strip()
    if part and part not in PARTS:
        problems.append(
            Problem("split", where, f"{where}: the part is {part!r}, expected {', '.join(PARTS)}.")
        )
    return problems


def _case(folder: Path, row: dict[str, str], side: str) -> Case:
    def cell(name: str) -> str:
        return (row.get(f"{side}_{name}" if side else name) or row.get(name) or "").strip()

    image = _file(folder, row[side or "image"])
    assert image is not None, "_bad_row refuses a row without"
    labels, mask, points = (_file(folder, row.get(f"{side}_{role}" if side else role)) for role in COMPANIONS)
    return Case(image, cell("subject") or _stem(image), labels, mask, points, cell("part"), cell("name"))


def _file(folder: Path, cell: str | None) -> Path | None:
    return folder / Path(cell.strip()).expanduser() if cell and cell.strip() else None


def _folder(folder: str | Path) -> Path:
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise MissingFileError(f"{root}: there is no such folder or table.")
    return root


def _is(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted((*SUFFIXES, ".csv"), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _role(path: Path, root: Path) -> str:
    """Which of the `COMPANIONS` a file is, by its name's end or by a folder above it; empty for an image."""
    folders = path.relative_to(root).parts[:-1]
    return next((r for r in COMPANIONS if r in folders or _stem(path).endswith(f"_{r}")), "")


def _key(path: Path, root: Path) -> tuple[str, ...]:
    """What an image and its companions have in common: folders, but for those that say what a file is, and the name."""
    folders = tuple(f for f in path.relative_to(root).parts[:-1] if f not in (*COMPANIONS, "images"))
    name = _stem(path)
    for role in COMPANIONS:
        name = name.removesuffix(f"_{role}")
    return (*folders, name)


def _companions(
    known: dict[tuple[str, tuple[str, ...]], Path], key: tuple[str, ...]
) -> tuple[Path | None, Path | None, Path | None]:
    """Labels, mask and points of the image with this `_key`."""
    return known.get(("labels", key)), known.get(("mask", key)), known.get(("points", key))


def _subject(path: Path, pattern: str) -> str:
    found = re.search(pattern or r"sub-([A-Za-z0-9]+)", str(path))
    if found:
        return found[1]
    folders = [f for f in path.parts[:-1] if f != "images"]
    return folders[0] if folders else _stem(path)
