"""Checksums of files, so that a record can name exactly what it is about."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any


def describe_file(path: str | os.PathLike) -> dict[str, Any]:
    """`path`, `sha256` (hexadecimal) and `bytes` of a file."""
    return {"path": str(path), "sha256": file_sha256(path), "bytes": Path(path).stat().st_size}


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
