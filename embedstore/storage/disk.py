"""Durable writes, and a full disk told as such."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedstore.errors import StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def storage_full(where: Path) -> StorageFull:
    """The error for a full disk at a path."""
    return StorageFull(
        f"no space left for {where}; what was stored before is intact: free some space and run it again"
    )


@contextmanager
def full_means_storage_full(where: Path) -> Iterator[None]:
    """Turn 'no space left', 'quota exceeded' and 'file too large' into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise storage_full(where) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable: after a new or renamed file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all, also after a power loss. Raises StorageFull."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_means_storage_full(path), temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
