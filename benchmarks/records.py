"""What has been run: one JSON object a line, appended as the runs end."""

from __future__ import annotations

import json
from pathlib import Path

Key = tuple[str, str, str, int]


def key(record: dict) -> Key:
    """What makes a run the same as another."""
    return record["case"], record["method"], record["version"], record["repeat"]


def read_rows(path: Path | None) -> list[dict]:
    """All that was appended to `path`; nothing where there is no file."""
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_records(path: Path) -> dict[Key, dict]:
    """All runs in `path`; the last of those with one key."""
    return {key(r): r for r in read_rows(path)}


def append(path: Path, record: dict) -> None:
    """Add one run to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
