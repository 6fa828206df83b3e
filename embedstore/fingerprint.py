"""Digests that name things by content: files, records, arrays. All are sha256 in lower-case hex."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK = 1 << 20


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, no NaN: equal values give equal text (after RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of a JSON-able value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def bytes_sha256(data: bytes | memoryview) -> str:
    """sha256 of bytes held in memory."""
    return hashlib.sha256(data).hexdigest()


def stream_sha256(stream: BinaryIO) -> str:
    """sha256 of a binary stream from its current position to its end."""
    found = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return stream_sha256(stream)
